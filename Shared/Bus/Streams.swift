public import Contract
public import Lifecycle

/// The sending end of one stream: numbers frames without a gap and keeps each until its receipt.
///
/// A pure value. What `due` and `resendAll` return is to be published; frames are kept in memory only, so a promise
/// ends with the process: the receiver's state and the next incarnation begin anew.
public struct StreamSender<Body: Codable & Sendable> {
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

/// The receiving end of streams of one kind: applies each frame once, in order, and says what to receipt.
///
/// A pure value. `accept` gives a frame that is next; its user reports with `committed` once all that it caused is
/// durable. A receiver without state starts at the lowest frame that the sender keeps.
public struct StreamReceiver {
    /// Streams remembered: dead incarnations are forgotten, the one unheard of for longest first.
    public static let streamsMax = 4_096
    /// A gap is asked for at most so often.
    static let askAgainAfter = TimeSpan(milliseconds: 200)

    /// What to do with a frame.
    public enum Verdict: Equatable, Sendable {
        /// It is the next one: apply it.
        case apply
        /// It was applied before: nothing to do but the receipt.
        case duplicate
        /// Something before it is missing; `askFrom` is set when it is time to ask.
        case gap(askFrom: Int?)
    }

    private struct Position {
        var applied: Int
        var committed: Int
        var askedAt = Instant(nanoseconds: 0)
        var heardAt: Instant
    }

    private var positions: [StreamID: Position] = [:]
    private var owed: Set<StreamID> = []

    public init() {}

    /// Remembers where a stream stands, from storage.
    public mutating func restore(_ id: StreamID, committed: Int, now: Instant) {
        positions[id] = Position(applied: committed, committed: committed, heardAt: now)
    }

    /// Judges a frame or an announcement (`hasBody` false).
    public mutating func judge(_ id: StreamID, seq: Int, lowest: Int, hasBody: Bool, now: Instant) -> Verdict {
        // What no sender counts to is no frame.
        guard lowest >= 1, seq >= 0, seq < Int.max else { return .gap(askFrom: nil) }
        var position = positions[id] ?? Position(applied: lowest - 1, committed: lowest - 1, heardAt: now)
        position.heardAt = now
        // Frames below the lowest were receipted, perhaps by whoever received them before us.
        if position.applied < lowest - 1 {
            position.applied = lowest - 1
            position.committed = max(position.committed, lowest - 1)
        }
        defer {
            positions[id] = position
            if positions.count > StreamReceiver.streamsMax { forgetOldest() }
        }
        if seq <= position.applied {
            if seq <= position.committed { owed.insert(id) }
            return .duplicate
        }
        if hasBody, seq == position.applied + 1 {
            position.applied = seq
            return .apply
        }
        guard now.milliseconds(since: position.askedAt) >= StreamReceiver.askAgainAfter.milliseconds else {
            return .gap(askFrom: nil)
        }
        position.askedAt = now
        return .gap(askFrom: position.applied + 1)
    }

    public func hasApplied(_ id: StreamID, upTo seq: Int) -> Bool {
        positions[id].map { $0.applied >= seq } ?? false
    }

    /// All that the frames up to `seq` caused is committed.
    public mutating func committed(_ id: StreamID, upTo seq: Int) {
        guard var position = positions[id], seq > position.committed else { return }
        position.committed = min(seq, position.applied)
        positions[id] = position
        owed.insert(id)
    }

    /// The receipts to publish now, one for each stream that is owed one.
    public mutating func takeReceipts() -> [StreamReceipt] {
        defer { owed.removeAll(keepingCapacity: true) }
        return owed.compactMap { id in
            positions[id].map { StreamReceipt(id: id, upTo: $0.committed, resendFrom: nil) }
        }
    }

    /// The request to send again from `seq` on.
    public func ask(_ id: StreamID, from seq: Int) -> StreamReceipt {
        StreamReceipt(id: id, upTo: positions[id]?.committed ?? 0, resendFrom: seq)
    }

    public mutating func forget(_ id: StreamID) {
        positions[id] = nil
        owed.remove(id)
    }

    /// Forgets all streams that `isForgotten` names.
    public mutating func forget(where isForgotten: (StreamID) -> Bool) {
        for id in positions.keys where isForgotten(id) { forget(id) }
    }

    private mutating func forgetOldest() {
        guard let oldest = positions.min(by: { $0.value.heardAt < $1.value.heardAt }) else { return }
        forget(oldest.key)
    }
}
