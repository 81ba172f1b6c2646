import API
import Bus
import Model
import Streams
import Wire

/// Streams on a connection: what `StreamSenders` decides is published at once, and only kept while there is none.
///
/// Belongs to the loop's thread.
final class StreamOutlet<Body: Codable & Sendable> {
    private var senders: StreamSenders<Body>
    /// How its frames are published.
    let publisher: FramePublisher
    /// The connection frames go out on; the service sets it.
    weak var connection: Connection?

    /// `windowMax`, `windowOfAll`: those of `StreamSenders`.
    init(
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
    func send(_ body: Body, to destination: StreamDestination, stream: String, now: Instant) -> Int {
        defer { publish() }
        return senders.send(body, to: destination, stream: stream, now: now)
    }

    /// The stream that an acknowledgement is for; `nil` when it is none of ours.
    func receive(_ acknowledgement: StreamAcknowledgement, now: Instant) -> StreamSenders<Body>.Progress? {
        defer { publish() }
        return senders.receive(acknowledgement, now: now)
    }

    /// Repeats what waited too long and announces what is unacknowledged. Call it every 200 ms or so.
    func tick(now: Instant) {
        senders.tick(now: now)
        publish()
    }

    /// Sends what has no acknowledgement again, as far as the windows go: after each reconnection.
    func reconnected(now: Instant) {
        senders.reconnected(now: now)
        publish()
    }

    /// Ends a stream: what it keeps is nobody's any more.
    func end(stream: String) {
        senders.end(stream: stream)
    }

    /// Frames without an acknowledgement.
    var unacknowledgedCount: Int { senders.unacknowledgedCount }

    private func publish() {
        for outgoing in senders.takeFrames() { publisher.publish(outgoing, on: connection) }
    }
}

/// All streams of one kind that are received on a connection.
final class StreamInlet<Body: Codable & Sendable> {
    private let topics: Topics
    private var receiver = StreamReceiver()
    weak var connection: Connection?

    init(topics: Topics) {
        self.topics = topics
    }

    /// The frame that is to be applied now; `nil` for repeats, gaps and advertisements.
    func receive(_ payload: [UInt8], now: Instant) throws -> (id: StreamID, seq: Int, body: Body)? {
        let frame = try WireFormat.decode(StreamFrame<Body>.self, from: payload)
        guard receiver.accepts(frame, now: now), let body = frame.body else { return nil }
        return (frame.id, frame.seq, body)
    }

    func committed(_ id: StreamID, upTo seq: Int) { receiver.committed(id, upTo: seq) }

    func publishAcknowledgements() {
        let acknowledgements = receiver.takeAcknowledgements()
        guard let connection, connection.isConnected else { return }
        for acknowledgement in acknowledgements {
            let topic = topics.acknowledgements(
                service: acknowledgement.id.service, instance: acknowledgement.id.instance)
            // Lost with the connection: the sender repeats its frame and is acknowledged again.
            _ = try? connection.publish(Publication(topic: topic, payload: JSON.bytes(acknowledgement)))
        }
    }
}
