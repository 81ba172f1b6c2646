public import Model
public import Wire

/// The receiving end of streams of one kind: applies each frame once, in order, and says what to acknowledgement.
///
/// A pure value. `accepts` tells which frame is next; its user reports with `committed` once all that it caused is
/// durable. A receiver without state starts at the low-water mark frame that the sender keeps.
public struct StreamReceiver: Sendable {
    /// Streams remembered: dead incarnations are forgotten, the one unheard of for longest first.
    public static let streamsMax = 4_096
    /// A gap is asked for at most so often.
    static let askAgainAfter = TimeSpan(milliseconds: 200)

    /// What to do with a frame.
    public enum Verdict: Equatable, Sendable {
        /// It is the next one: apply it.
        case apply
        /// It was applied before: nothing to do but the acknowledgement.
        case duplicate
        /// Something before it is missing; `askFrom` is set when it is time to ask.
        case gap(askFrom: Int?)
    }

    private struct Position: Sendable {
        var applied: Int
        var committed: Int
        var askedAt = Instant(nanoseconds: 0)
        var heardAt: Instant
    }

    private var positions: [StreamID: Position] = [:]
    private var owed: Set<StreamID> = []
    private var asks: [StreamAcknowledgement] = []

    public init() {}

    /// Whether a frame is the next of its stream and is to be applied now. What is missing before it is asked for with the next
    /// acknowledgements.
    public mutating func accepts(_ frame: StreamFrame<some Codable & Sendable>, now: Instant) -> Bool {
        switch judge(frame.id, seq: frame.seq, lowWaterMark: frame.lowWaterMark, hasBody: frame.body != nil, now: now) {
        case .apply: return true
        case .duplicate: return false
        case .gap(let from):
            if let from { asks.append(ask(frame.id, from: from)) }
            return false
        }
    }

    /// Remembers where a stream stands, from storage.
    public mutating func restore(_ id: StreamID, committed: Int, now: Instant) {
        positions[id] = Position(applied: committed, committed: committed, heardAt: now)
    }

    /// Judges a frame or an advertisement (`hasBody` false).
    public mutating func judge(_ id: StreamID, seq: Int, lowWaterMark: Int, hasBody: Bool, now: Instant) -> Verdict {
        // What no sender counts to is no frame.
        guard lowWaterMark >= 1, seq >= 0, seq < Int.max else { return .gap(askFrom: nil) }
        var position = positions[id] ?? Position(applied: lowWaterMark - 1, committed: lowWaterMark - 1, heardAt: now)
        position.heardAt = now
        // Frames below the low-water mark were acknowledged, perhaps by whoever received them before us.
        if position.applied < lowWaterMark - 1 {
            position.applied = lowWaterMark - 1
            position.committed = max(position.committed, lowWaterMark - 1)
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

    /// The acknowledgements to publish now: one for each stream that is owed one, in the order of their names, and what is asked for.
    public mutating func takeAcknowledgements() -> [StreamAcknowledgement] {
        guard !owed.isEmpty || !asks.isEmpty else { return [] }
        let acknowledgements = owed.sorted().compactMap { id in
            positions[id].map { StreamAcknowledgement(id: id, upTo: $0.committed, resendFrom: nil) }
        }
        defer {
            owed.removeAll(keepingCapacity: true)
            asks = []
        }
        return acknowledgements + asks
    }

    /// The connection is lost: what is missing is asked for when its sender speaks on the next one.
    public mutating func dropAsks() { asks = [] }

    /// The request to send again from `seq` on.
    public func ask(_ id: StreamID, from seq: Int) -> StreamAcknowledgement {
        StreamAcknowledgement(id: id, upTo: positions[id]?.committed ?? 0, resendFrom: seq)
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
