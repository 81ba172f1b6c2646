public import Contract
public import Lifecycle

/// All streams of one kind that a service sends, one for each destination, with their topics, receipts and repeats.
///
/// Belongs to the loop's thread. Publishing while disconnected only keeps the frame: `reconnected` sends it.
public final class StreamOutlet<Body: Codable & Sendable> {
    private struct Key: Hashable {
        let destination: StreamDestination
        let stream: String
    }

    private let topics: Topics
    private let service: ServiceName
    private let instance: String
    private let incarnation: String
    private var senders: [Key: StreamSender<Body>] = [:]
    private var announcedAt = Instant(nanoseconds: 0)
    private var progressedAt = Instant(nanoseconds: 0)
    private let windowMax: Int
    private let windowOfAll: Int
    /// The newest frame of each stream that was too large.
    private var oversized: [Key: Int] = [:]
    /// Called once for each frame that is too large to be published, with its size. It is kept, and whatever comes behind it
    /// waits for ever: who made it did not divide what it sends.
    public var frameTooLarge: (_ stream: String, _ seq: Int, _ bytes: Int) -> Void = { _, _, _ in }
    /// The connection frames go out on; the service sets it.
    public weak var connection: Connection?

    /// - Parameters:
    ///   - windowMax: frames of one stream under way at once.
    ///   - windowOfAll: of all streams together, shared by those that have any, but one of each: when large frames go to one
    ///     receiver, so that a turn in which all are sent, as on a new connection, takes a bounded time.
    public init(
        topics: Topics, service: ServiceName, instance: String, incarnation: String,
        windowMax: Int = StreamSender<Body>.windowMax, windowOfAll: Int = .max
    ) {
        self.topics = topics
        self.service = service
        self.instance = instance
        self.incarnation = incarnation
        self.windowMax = windowMax
        self.windowOfAll = windowOfAll
    }

    /// Sends a body on a stream that begins with its first frame; the frame's seq.
    @discardableResult
    public func send(_ body: Body, to destination: StreamDestination, stream: String, now: Instant) -> Int {
        let key = Key(destination: destination, stream: stream)
        // In its place: a copy of the sender would copy all that it keeps.
        if senders[key] == nil { senders[key] = StreamSender(identifier(stream), windowMax: windowMax) }
        share(key)
        let frame = senders[key]?.send(body, now: now)
        if let frame { publish([frame], to: destination) }
        return senders[key]?.highestSeq ?? 0
    }

    /// The stream a receipt is for has gone on; `nil` when it is none of ours, else everything up to here is committed.
    public func receive(_ receipt: StreamReceipt, now: Instant) -> (
        destination: StreamDestination, stream: String, upTo: Int
    )? {
        guard receipt.id.incarnation == incarnation,
            let key = senders.keys.first(where: { $0.stream == receipt.id.stream })
        else { return nil }
        share(key)
        let before = senders[key]?.receiptedSeq ?? 0
        let frames = senders[key]?.receive(receipt, now: now) ?? []
        if senders[key]?.receiptedSeq ?? 0 > before { progressedAt = now }
        publish(frames, to: key.destination)
        return (key.destination, key.stream, senders[key]?.receiptedSeq ?? receipt.upTo)
    }

    /// Repeats what waited too long and announces what is kept. Call it every 200 ms or so.
    public func tick(now: Instant) {
        let announces = now.milliseconds(since: announcedAt) >= 1_000
        if announces { announcedAt = now }
        for key in senders.keys {
            guard let frames = senders[key]?.due(now: now) else { continue }
            publish(frames, to: key.destination)
            if announces, frames.isEmpty, let announcement = senders[key]?.announcement() {
                publish([announcement], to: key.destination)
            }
        }
    }

    /// Sends what has no receipt again, as far as the windows go: after each reconnection.
    public func reconnected(now: Instant) {
        for key in senders.keys {
            share(key)
            publish(senders[key]?.resendAll(now: now) ?? [], to: key.destination)
        }
    }

    /// Gives a stream its part of the window of all.
    private func share(_ key: Key) {
        guard windowOfAll < .max else { return }
        let others = senders.reduce(0) { $0 + ($1.key != key && $1.value.keptCount > 0 ? 1 : 0) }
        senders[key]?.windowMax = max(1, min(windowMax, windowOfAll / (others + 1)))
    }

    /// Ends a stream: what it keeps is nobody's any more.
    public func end(stream: String) {
        for key in senders.keys where key.stream == stream {
            senders[key] = nil
            oversized[key] = nil
        }
    }

    /// Frames without a receipt, of one stream or of all.
    public func keptCount(stream: String? = nil) -> Int {
        senders.reduce(0) { $0 + (stream == nil || $1.key.stream == stream ? $1.value.keptCount : 0) }
    }

    /// The newest frame of a stream, when it has no receipt yet.
    public func newestKept(stream: String) -> Int? {
        senders.first { $0.key.stream == stream && $0.value.keptCount > 0 }?.value.highestSeq
    }

    public func isFull(stream: String) -> Bool {
        senders.contains { $0.key.stream == stream && $0.value.isFull }
    }

    /// Since when a frame of any stream has waited for its receipt.
    public var oldestKept: Instant? {
        senders.values.compactMap(\.oldestKept).min()
    }

    /// Since when frames have waited and none was receipted, of any stream: a receiver that is behind goes on, one that is
    /// not there does not.
    public var stuckSince: Instant? {
        oldestKept.map { max($0, progressedAt) }
    }

    private func identifier(_ stream: String) -> StreamID {
        StreamID(service: service.rawValue, instance: instance, incarnation: incarnation, stream: stream)
    }

    private func publish(_ frames: [StreamFrame<Body>], to destination: StreamDestination) {
        guard let connection, connection.isConnected else { return }
        let topic = topics.stream(to: destination)
        for frame in frames {
            let payload = JSON.bytes(frame)
            do throws(BusError) {
                try connection.publish(Publication(topic: topic, payload: payload))
            } catch {
                // Else the connection is lost or full: the frame is kept and goes out later.
                guard error.isTooLarge else { continue }
                let key = Key(destination: destination, stream: frame.id.stream)
                guard frame.seq > oversized[key] ?? 0 else { continue }
                oversized[key] = frame.seq
                frameTooLarge(frame.id.stream, frame.seq, payload.count)
            }
        }
    }
}

/// All streams of one kind that a service receives.
public final class StreamInlet<Body: Codable & Sendable> {
    private let topics: Topics
    private var receiver = StreamReceiver()
    public weak var connection: Connection?

    public init(topics: Topics) {
        self.topics = topics
    }

    /// A body to apply, with its stream, its seq and how long its sender kept it.
    public struct Arrival {
        public let id: StreamID
        public let seq: Int
        public let held: TimeSpan
        public let body: Body
    }

    /// Decodes and judges a payload: what is to be applied now; `nil` for repeats, gaps and announcements.
    ///
    /// - Parameter dispensable: the kinds of body (the one member of it) whose stream is to go on without them when they cannot
    ///   be read.
    /// - Throws: `UnreadableBody` when the next frame is one of these; it counts as applied. Else what `JSON.describe` puts into
    ///   words, for a payload that is no frame.
    public func receive(_ payload: [UInt8], now: Instant, dispensable: Set<String> = []) throws -> Arrival? {
        do {
            let frame = try JSON.decode(StreamFrame<Body>.self, from: payload)
            guard judge(frame, now), let body = frame.body else { return nil }
            return Arrival(id: frame.id, seq: frame.seq, held: TimeSpan(milliseconds: frame.held), body: body)
        } catch {
            guard let frame = try? JSON.decode(StreamFrame<AnyBody>.self, from: payload),
                let kind = frame.body?.kind, dispensable.contains(kind)
            else { throw error }
            guard judge(frame, now) else { return nil }
            throw UnreadableBody(id: frame.id, seq: frame.seq, kind: kind, error: error)
        }
    }

    /// Whether it is to be applied now.
    private func judge(_ frame: StreamFrame<some Codable & Sendable>, _ now: Instant) -> Bool {
        switch receiver.judge(frame.id, seq: frame.seq, lowest: frame.lowest, hasBody: frame.body != nil, now: now) {
        case .apply: return true
        case .duplicate: return false
        case .gap(let from):
            if let from { publish(receiver.ask(frame.id, from: from)) }
            return false
        }
    }

    /// Whether everything of a stream up to this frame was given out.
    public func hasGiven(_ id: StreamID, upTo seq: Int) -> Bool {
        receiver.hasApplied(id, upTo: seq)
    }

    public func restore(_ id: StreamID, committed: Int, now: Instant) {
        receiver.restore(id, committed: committed, now: now)
    }

    /// All that the frames up to `seq` caused is committed.
    public func committed(_ id: StreamID, upTo seq: Int) {
        receiver.committed(id, upTo: seq)
    }

    /// Publishes the receipts that are owed. Call it at the end of a turn.
    public func publishReceipts() {
        for receipt in receiver.takeReceipts() { publish(receipt) }
    }

    /// Forgets all streams that `isForgotten` names: their senders begin anew at the lowest frame they keep.
    public func forget(where isForgotten: (StreamID) -> Bool) {
        receiver.forget(where: isForgotten)
    }

    private func publish(_ receipt: StreamReceipt) {
        guard let connection, connection.isConnected else { return }
        let topic = topics.receipts(service: receipt.id.service, instance: receipt.id.instance)
        // Lost with the connection: the sender repeats its frame and is receipted again.
        _ = try? connection.publish(Publication(topic: topic, payload: JSON.bytes(receipt)))
    }
}

/// The next frame of a stream has a body that cannot be read: sent by another version, it never will be.
public struct UnreadableBody: Error {
    public let id: StreamID
    public let seq: Int
    /// The one member of the body.
    public let kind: String
    public let error: any Error
}

/// A body of which only the kind is read.
private struct AnyBody: Codable, Sendable {
    let kind: String?

    init(from decoder: any Decoder) throws {
        kind = try decoder.container(keyedBy: Member.self).allKeys.first?.stringValue
    }

    func encode(to encoder: any Encoder) throws {}

    private struct Member: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}
