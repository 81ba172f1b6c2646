public import API
public import Streams
internal import Wire

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
        let payload = WireFormat.bytes(outgoing.frame)
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
}
