public import Contract
public import Lifecycle
public import Streams

/// Streams on a connection: what `StreamSenders` decides is published at once, and only kept while there is none.
///
/// Belongs to the loop's thread.
public final class StreamOutlet<Body: Codable & Sendable> {
    private var senders: StreamSenders<Body>
    /// How its frames are published.
    public let publisher: FramePublisher
    /// The connection frames go out on; the service sets it.
    public weak var connection: Connection?

    /// `windowMax`, `windowOfAll`: those of `StreamSenders`.
    public init(
        topics: Topics, service: ServiceName, instance: String, incarnation: String,
        windowMax: Int = StreamSender<Body>.windowMax, windowOfAll: Int = .max
    ) {
        publisher = FramePublisher(topics: topics)
        senders = StreamSenders(
            service: service, instance: instance, incarnation: incarnation, windowMax: windowMax,
            windowOfAll: windowOfAll)
    }

    /// Sends a body on a stream that begins with its first frame; the frame's seq.
    @discardableResult
    public func send(_ body: Body, to destination: StreamDestination, stream: String, now: Instant) -> Int {
        defer { publish() }
        return senders.send(body, to: destination, stream: stream, now: now)
    }

    /// The stream that a receipt is for; `nil` when it is none of ours.
    public func receive(_ receipt: StreamReceipt, now: Instant) -> StreamSenders<Body>.Progress? {
        defer { publish() }
        return senders.receive(receipt, now: now)
    }

    /// Repeats what waited too long and announces what is kept. Call it every 200 ms or so.
    public func tick(now: Instant) {
        senders.tick(now: now)
        publish()
    }

    /// Sends what has no receipt again, as far as the windows go: after each reconnection.
    public func reconnected(now: Instant) {
        senders.reconnected(now: now)
        publish()
    }

    /// Ends a stream: what it keeps is nobody's any more.
    public func end(stream: String) {
        senders.end(stream: stream)
        publisher.forget(stream: stream)
    }

    /// Frames without a receipt.
    public var keptCount: Int { senders.keptCount }
    /// The newest frame of a stream, when it has no receipt yet.
    public func newestKept(stream: String) -> Int? { senders.newestKept(stream: stream) }
    /// Since when a frame of any stream has waited for its receipt.
    public var oldestKept: Instant? { senders.oldestKept }
    /// Since when frames have waited and none was receipted (`StreamSenders.stuckSince`).
    public var stuckSince: Instant? { senders.stuckSince }

    private func publish() {
        for outgoing in senders.takeFrames() { publisher.publish(outgoing, on: connection) }
    }
}

/// Publishes frames of streams. One that there is no connection for is kept by its stream, and comes again.
public final class FramePublisher {
    private let topics: Topics
    /// The newest frame of each stream that was too large.
    private var oversized: [String: Int] = [:]
    /// Called once for each frame that is too large to be published, with its size. It is kept, and whatever comes behind it
    /// waits for ever: who made it did not divide what it sends.
    public var frameTooLarge: (_ stream: String, _ seq: Int, _ bytes: Int) -> Void = { _, _, _ in }

    public init(topics: Topics) {
        self.topics = topics
    }

    public func publish<Body>(_ outgoing: StreamSenders<Body>.Outgoing, on connection: Connection?) {
        guard let connection, connection.isConnected else { return }
        let payload = JSON.bytes(outgoing.frame)
        do throws(BusError) {
            try connection.publish(
                Publication(topic: topics.stream(to: outgoing.destination), payload: payload))
        } catch {
            // Else the connection is lost or full: the frame is kept and goes out later.
            let (stream, seq) = (outgoing.frame.id.stream, outgoing.frame.seq)
            guard error.isTooLarge, seq > oversized[stream] ?? 0 else { return }
            oversized[stream] = seq
            frameTooLarge(stream, seq, payload.count)
        }
    }

    func forget(stream: String) { oversized[stream] = nil }
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
            guard receiver.accepts(frame, now: now), let body = frame.body else { return nil }
            return Arrival(id: frame.id, seq: frame.seq, held: TimeSpan(milliseconds: frame.held), body: body)
        } catch {
            guard let frame = try? JSON.decode(StreamFrame<AnyBody>.self, from: payload),
                let kind = frame.body?.kind, dispensable.contains(kind)
            else { throw error }
            guard receiver.accepts(frame, now: now) else { return nil }
            throw UnreadableBody(id: frame.id, seq: frame.seq, kind: kind, error: error)
        }
    }

    /// Whether everything of a stream up to this frame was given out.
    public func hasGiven(_ id: StreamID, upTo seq: Int) -> Bool {
        receiver.hasApplied(id, upTo: seq)
    }

    /// All that the frames up to `seq` caused is committed.
    public func committed(_ id: StreamID, upTo seq: Int) {
        receiver.committed(id, upTo: seq)
    }

    /// Publishes the receipts that are owed, and asks for what is missing. Call it at the end of a turn.
    public func publishReceipts() {
        let receipts = receiver.takeReceipts()
        guard let connection, connection.isConnected else { return }
        for receipt in receipts {
            let topic = topics.receipts(service: receipt.id.service, instance: receipt.id.instance)
            // Lost with the connection: the sender repeats its frame and is receipted again.
            _ = try? connection.publish(Publication(topic: topic, payload: JSON.bytes(receipt)))
        }
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
