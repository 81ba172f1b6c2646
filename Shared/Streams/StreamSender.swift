public import Model
public import Wire

/// The sending end of one stream: numbers frames without a gap and keeps each until its acknowledgement.
///
/// A pure value. What `due` and `resendAll` return is to be published; frames are kept in memory only, so a promise
/// ends with the process: the receiver's state and the next incarnation begin anew.
public struct StreamSender<Body: Codable & Sendable>: Sendable {
    /// Frames kept without an acknowledgement before `isFull`: the sender's own input is then to wait.
    public static var unacknowledgedMax: Int { 4_096 }
    /// What is not acknowledged so long after its last sending is sent again.
    public static var resendAfter: TimeSpan { .seconds(1) }
    /// Frames under way at once, unless less is asked for: the rest follows with the next acknowledgements. What waits here ages by
    /// the sender's clock; what waits in sockets would look young.
    public static var windowMax: Int { 64 }

    public let id: StreamID
    private var unacknowledged = Queue<(seq: Int, made: Instant, body: Body)>()
    /// The seq of the newest frame.
    public private(set) var highWaterMark = 0
    /// The highest seq sent on this connection.
    private var sentUpTo = 0
    private var sentAt = Instant(nanoseconds: 0)
    /// Frames under way at once from now on, at least one; what is under way already stays so.
    public var windowMax: Int

    public init(_ id: StreamID, windowMax: Int = StreamSender.windowMax) {
        self.id = id
        self.windowMax = windowMax
    }

    public var unacknowledgedCount: Int { unacknowledged.count }
    public var isFull: Bool { unacknowledged.count >= StreamSender.unacknowledgedMax }
    /// Everything up to here is committed at the receiver.
    public var acknowledgedSeq: Int { unacknowledged.first.map { $0.seq - 1 } ?? highWaterMark }
    /// When the oldest frame without an acknowledgement was made.
    public var oldestUnacknowledged: Instant? { unacknowledged.first?.made }

    /// Numbers a frame and keeps it; to be published at once, or `nil` when it has to wait for acknowledgements.
    public mutating func send(_ body: Body, now: Instant) -> StreamFrame<Body>? {
        highWaterMark += 1
        unacknowledged.append((highWaterMark, now, body))
        guard unacknowledged.count <= windowMax, sentUpTo == highWaterMark - 1 else { return nil }
        sentAt = now
        sentUpTo = highWaterMark
        return frame(unacknowledged.count - 1, now)
    }

    /// Forgets what is committed; what is asked for again.
    public mutating func receive(_ acknowledgement: StreamAcknowledgement, now: Instant) -> [StreamFrame<Body>] {
        guard acknowledgement.id == id else { return [] }
        if let first = unacknowledged.first, acknowledgement.upTo >= first.seq {
            unacknowledged.removeFirst(acknowledgement.upTo - first.seq + 1)
            sentAt = now
        }
        guard let first = unacknowledged.first else { return [] }
        if let from = acknowledgement.resendFrom {
            sentAt = now
            return frames(from: max(from, first.seq) - first.seq, now)
        }
        // What the window had no room for.
        guard sentUpTo < highWaterMark else { return [] }
        return frames(from: max(0, sentUpTo + 1 - first.seq), now)
    }

    /// What is to be published when nothing was acknowledged for too long: the oldest frame, and how far the others go, so that the
    /// receiver asks for what it misses. All of them would be more than a receiver that is only behind can take. Call it a few
    /// times a second.
    public mutating func due(now: Instant) -> [StreamFrame<Body>] {
        guard !unacknowledged.isEmpty, now.milliseconds(since: sentAt) >= StreamSender.resendAfter.milliseconds else {
            return []
        }
        sentAt = now
        let oldest = frame(0, now)
        sentUpTo = max(sentUpTo, oldest.seq)
        guard sentUpTo > oldest.seq, let advertisement = advertisement() else { return [oldest] }
        return [oldest, advertisement]
    }

    /// Everything unacknowledged, for a new connection, as far as the window goes.
    public mutating func resendAll(now: Instant) -> [StreamFrame<Body>] {
        sentAt = now
        sentUpTo = acknowledgedSeq
        return frames(from: 0, now)
    }

    /// The range under way, so that a receiver sees a gap at the tail; `nil` when nothing is unacknowledged.
    public func advertisement() -> StreamFrame<Body>? {
        guard let first = unacknowledged.first else { return nil }
        return StreamFrame(id: id, seq: sentUpTo, lowWaterMark: first.seq, age: 0, body: nil)
    }

    private mutating func frames(from index: Int, _ now: Instant) -> [StreamFrame<Body>] {
        let end = min(unacknowledged.count, windowMax)
        guard index < end else { return [] }
        sentUpTo = max(sentUpTo, unacknowledged[end - 1].seq)
        return (index..<end).map { frame($0, now) }
    }

    private func frame(_ index: Int, _ now: Instant) -> StreamFrame<Body> {
        let item = unacknowledged[index]
        return StreamFrame(
            id: id, seq: item.seq, lowWaterMark: unacknowledged[0].seq, age: max(0, now.milliseconds(since: item.made)),
            body: item.body)
    }
}
