public import Contract
public import Lifecycle

/// The sending end of one stream: numbers frames without a gap and keeps each until its receipt.
///
/// A pure value. What `due` and `resendAll` return is to be published; frames are kept in memory only, so a promise
/// ends with the process: the receiver's state and the next incarnation begin anew.
public struct StreamSender<Body: Codable & Sendable>: Sendable {
    /// Frames kept without a receipt before `isFull`: the sender's own input is then to wait.
    public static var keptMax: Int { 4_096 }
    /// What is not receipted so long after its last sending is sent again.
    public static var resendAfter: TimeSpan { .seconds(1) }
    /// Frames under way at once, unless less is asked for: the rest follows with the next receipts. What waits here ages by
    /// the sender's clock; what waits in sockets would look young.
    public static var windowMax: Int { 64 }

    public let id: StreamID
    private var kept = Queue<(seq: Int, made: Instant, body: Body)>()
    private var highest = 0
    /// The highest seq sent on this connection.
    private var sentUpTo = 0
    private var sentAt = Instant(nanoseconds: 0)
    /// Frames under way at once from now on, at least one; what is under way already stays so.
    public var windowMax: Int

    public init(_ id: StreamID, windowMax: Int = StreamSender.windowMax) {
        self.id = id
        self.windowMax = windowMax
    }

    public var keptCount: Int { kept.count }
    public var isFull: Bool { kept.count >= StreamSender.keptMax }
    public var highestSeq: Int { highest }
    /// Everything up to here is committed at the receiver.
    public var receiptedSeq: Int { kept.first.map { $0.seq - 1 } ?? highest }
    /// When the oldest frame without a receipt was made.
    public var oldestKept: Instant? { kept.first?.made }

    /// Numbers a frame and keeps it; to be published at once, or `nil` when it has to wait for receipts.
    public mutating func send(_ body: Body, now: Instant) -> StreamFrame<Body>? {
        highest += 1
        kept.append((highest, now, body))
        guard kept.count <= windowMax, sentUpTo == highest - 1 else { return nil }
        sentAt = now
        sentUpTo = highest
        return frame(kept.count - 1, now)
    }

    /// Forgets what is committed; what is asked for again.
    public mutating func receive(_ receipt: StreamReceipt, now: Instant) -> [StreamFrame<Body>] {
        guard receipt.id == id else { return [] }
        if let first = kept.first, receipt.upTo >= first.seq {
            kept.removeFirst(receipt.upTo - first.seq + 1)
            sentAt = now
        }
        guard let first = kept.first else { return [] }
        if let from = receipt.resendFrom {
            sentAt = now
            return frames(from: max(from, first.seq) - first.seq, now)
        }
        // What the window had no room for.
        guard sentUpTo < highest else { return [] }
        return frames(from: max(0, sentUpTo + 1 - first.seq), now)
    }

    /// What is to be published when nothing was receipted for too long: the oldest frame, and how far the others go, so that the
    /// receiver asks for what it misses. All of them would be more than a receiver that is only behind can take. Call it a few
    /// times a second.
    public mutating func due(now: Instant) -> [StreamFrame<Body>] {
        guard !kept.isEmpty, now.milliseconds(since: sentAt) >= StreamSender.resendAfter.milliseconds else { return [] }
        sentAt = now
        let oldest = frame(0, now)
        sentUpTo = max(sentUpTo, oldest.seq)
        guard sentUpTo > oldest.seq, let announcement = announcement() else { return [oldest] }
        return [oldest, announcement]
    }

    /// Everything kept, for a new connection, as far as the window goes.
    public mutating func resendAll(now: Instant) -> [StreamFrame<Body>] {
        sentAt = now
        sentUpTo = receiptedSeq
        return frames(from: 0, now)
    }

    /// The range under way, so that a receiver sees a gap at the tail; `nil` when nothing is kept.
    public func announcement() -> StreamFrame<Body>? {
        guard let first = kept.first else { return nil }
        return StreamFrame(id: id, seq: sentUpTo, lowest: first.seq, held: 0, body: nil)
    }

    private mutating func frames(from index: Int, _ now: Instant) -> [StreamFrame<Body>] {
        let end = min(kept.count, windowMax)
        guard index < end else { return [] }
        sentUpTo = max(sentUpTo, kept[end - 1].seq)
        return (index..<end).map { frame($0, now) }
    }

    private func frame(_ index: Int, _ now: Instant) -> StreamFrame<Body> {
        let item = kept[index]
        return StreamFrame(
            id: id, seq: item.seq, lowest: kept[0].seq, held: max(0, now.milliseconds(since: item.made)),
            body: item.body)
    }
}
