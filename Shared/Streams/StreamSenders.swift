public import API
public import Model
public import Wire

/// All streams of one kind that a service sends, one for each destination and name.
///
/// A pure value without a connection: what is to be published gathers in the order in which it was decided, until `takeFrames`.
/// Frames that are taken while there is no connection are lost; `reconnected` sends what has no acknowledgement again.
public struct StreamSenders<Body: Codable & Sendable>: Sendable {
    /// A frame on its way.
    public struct Outgoing: Sendable {
        public let destination: StreamDestination
        public let frame: StreamFrame<Body>

        public init(destination: StreamDestination, frame: StreamFrame<Body>) {
            self.destination = destination
            self.frame = frame
        }
    }

    /// A stream has gone on.
    public struct Progress: Hashable, Sendable {
        public let destination: StreamDestination
        public let stream: String
        /// Everything up to here is committed.
        public let upTo: Int
    }

    private struct Lane: Sendable {
        let destination: StreamDestination
        let stream: String
        var sender: StreamSender<Body>
    }

    private struct Key: Hashable, Sendable {
        let destination: StreamDestination
        let stream: String
    }

    private let service: ServiceName
    private let instance: String
    private let incarnation: String
    private let windowMax: Int
    private let windowOfAll: Int
    /// In the order in which they began: nothing here depends on the order of a dictionary.
    private var lanes: [Lane] = []
    private var indices: [Key: Int] = [:]
    private var frames: [Outgoing] = []
    private var announcedAt = Instant(nanoseconds: 0)
    private var progressedAt = Instant(nanoseconds: 0)

    /// - Parameters:
    ///   - windowMax: frames of one stream under way at once.
    ///   - windowOfAll: of all streams together, shared by those that have any, but one of each: when large frames go to one
    ///     receiver, so that a turn in which all are sent, as on a new connection, takes a bounded time.
    public init(
        service: ServiceName, instance: String, incarnation: String, windowMax: Int = StreamSender<Body>.windowMax,
        windowOfAll: Int = .max
    ) {
        self.service = service
        self.instance = instance
        self.incarnation = incarnation
        self.windowMax = windowMax
        self.windowOfAll = windowOfAll
    }

    /// Sends a body on a stream that begins with its first frame; the frame's seq.
    @discardableResult
    public mutating func send(_ body: Body, to destination: StreamDestination, stream: String, now: Instant) -> Int {
        let index = lane(destination, stream)
        share(index)
        if let frame = lanes[index].sender.send(body, now: now) { add([frame], index) }
        return lanes[index].sender.highWaterMark
    }

    /// The stream that an acknowledgement is for; `nil` when it is none of ours.
    public mutating func receive(_ acknowledgement: StreamAcknowledgement, now: Instant) -> Progress? {
        guard acknowledgement.id.incarnation == incarnation,
            let index = lanes.firstIndex(where: { $0.stream == acknowledgement.id.stream })
        else { return nil }
        share(index)
        let before = lanes[index].sender.acknowledgedSeq
        add(lanes[index].sender.receive(acknowledgement, now: now), index)
        let upTo = lanes[index].sender.acknowledgedSeq
        if upTo > before { progressedAt = now }
        return Progress(destination: lanes[index].destination, stream: lanes[index].stream, upTo: upTo)
    }

    /// Repeats what waited too long and announces what is unacknowledged. Call it every 200 ms or so.
    public mutating func tick(now: Instant) {
        let announces = now.milliseconds(since: announcedAt) >= 1_000
        if announces { announcedAt = now }
        for index in lanes.indices {
            let due = lanes[index].sender.due(now: now)
            add(due, index)
            if announces, due.isEmpty, let advertisement = lanes[index].sender.advertisement() {
                add([advertisement], index)
            }
        }
    }

    /// Sends what has no acknowledgement again, as far as the windows go: after each reconnection.
    public mutating func reconnected(now: Instant) {
        for index in lanes.indices {
            share(index)
            add(lanes[index].sender.resendAll(now: now), index)
        }
    }

    /// Ends a stream: what it keeps is nobody's any more.
    public mutating func end(stream: String) {
        lanes.removeAll { $0.stream == stream }
        indices = [:]
        for (index, lane) in lanes.enumerated() {
            indices[Key(destination: lane.destination, stream: lane.stream)] = index
        }
    }

    /// What is to be published now, in order.
    public mutating func takeFrames() -> [Outgoing] {
        guard !frames.isEmpty else { return [] }
        defer { frames.removeAll(keepingCapacity: true) }
        return frames
    }

    // MARK: What has no acknowledgement

    /// How many frames have no acknowledgement.
    public var unacknowledgedCount: Int { lanes.reduce(0) { $0 + $1.sender.unacknowledgedCount } }

    /// How many of one stream.
    public func unacknowledgedCount(stream: String) -> Int {
        lanes.first { $0.stream == stream }?.sender.unacknowledgedCount ?? 0
    }

    /// The newest frame of a stream, when it has no acknowledgement yet.
    public func newestUnacknowledged(stream: String) -> Int? {
        lanes.first { $0.stream == stream && $0.sender.unacknowledgedCount > 0 }?.sender.highWaterMark
    }

    /// Since when a frame of any stream has waited for its acknowledgement.
    public var oldestUnacknowledged: Instant? {
        // A key path in generic code is made anew at each call.
        lanes.reduce(nil) { oldest, lane in
            guard let unacknowledged = lane.sender.oldestUnacknowledged else { return oldest }
            return oldest.map { min($0, unacknowledged) } ?? unacknowledged
        }
    }

    /// What is to be said of the oldest of them, once it has waited for too long.
    public func warning(now: Instant) -> ServiceWarning? {
        guard
            let lane = lanes.min(by: {
                ($0.sender.oldestUnacknowledged ?? now, $0.stream) < ($1.sender.oldestUnacknowledged ?? now, $1.stream)
            }), let oldest = lane.sender.oldestUnacknowledged, now > oldest + ServiceWarning.patience
        else { return nil }
        let seconds = now.milliseconds(since: oldest) / 1_000
        return ServiceWarning(
            .streamBehind,
            "\(lane.stream) has waited \(seconds) s for an acknowledgement, \(unacknowledgedCount) frames wait")
    }

    /// Since when frames have waited and none was acknowledged, of any stream: a receiver that is behind goes on, one that is
    /// not there does not.
    public var stuckSince: Instant? { oldestUnacknowledged.map { max($0, progressedAt) } }

    /// The id of one of our streams.
    public func id(of stream: String) -> StreamID? { lanes.first { $0.stream == stream }?.sender.id }

    // MARK: Inside

    private mutating func lane(_ destination: StreamDestination, _ stream: String) -> Int {
        let key = Key(destination: destination, stream: stream)
        if let index = indices[key] { return index }
        let id = StreamID(service: service.rawValue, instance: instance, incarnation: incarnation, stream: stream)
        lanes.append(
            Lane(destination: destination, stream: stream, sender: StreamSender(id, windowMax: windowMax)))
        indices[key] = lanes.count - 1
        return lanes.count - 1
    }

    /// Gives a stream its part of the window of all.
    private mutating func share(_ index: Int) {
        guard windowOfAll < .max else { return }
        let busy = lanes.indices.reduce(0) { $0 + ($1 != index && lanes[$1].sender.unacknowledgedCount > 0 ? 1 : 0) }
        lanes[index].sender.windowMax = max(1, min(windowMax, windowOfAll / (busy + 1)))
    }

    private mutating func add(_ frames: [StreamFrame<Body>], _ index: Int) {
        for frame in frames { self.frames.append(Outgoing(destination: lanes[index].destination, frame: frame)) }
    }
}
