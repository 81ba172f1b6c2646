internal import API
public import Model
public import Wire

/// Between a deadline and its verdict: the proof that every heartbeat received before it is in.
///
/// When something is due, every ingest that receives heartbeats is asked. Each sends a canary through the broker on the
/// connection on which heartbeats reach it, hands over what came before it, and answers with its newest batches. Once all
/// have answered and all those batches are applied, what was due when the question went out may be judged. One barrier is
/// open at a time, for all partitions of a reconciler.
public struct VerdictBarrier: Sendable {
    /// At most so often a barrier is begun: deadlines that fall together are judged together.
    public static let interval = TimeSpan(milliseconds: 5)
    /// An unanswered question is asked again so often.
    public static let repeatInterval = TimeSpan(milliseconds: 500)
    /// Unanswered for so long, the way of the heartbeats is not whole: suspension. On a slow way it is more: `patience`.
    public static let answerLimit = TimeSpan.seconds(1)
    /// The most that it becomes: a way that takes longer than a third of it is never observable.
    public static let patienceMax = TimeSpan.seconds(5)
    /// How many barriers tell how long the way takes: one that waited for a process that stood still tells nothing.
    private static let waysMax = 4

    /// A batch that must be applied before the verdict.
    struct Needed: Hashable, Sendable {
        let partition: Int
        let id: StreamID
        let seq: Int
    }

    private struct Open: Sendable {
        let number: Int
        let asOf: Instant
        var waiting: Set<String>
        var needed: [Needed] = []
    }

    private var open: Open?
    private var number = 0
    private var begunAt: Instant?
    private var askedAt: Instant?
    /// The incarnations that were there last.
    private var incarnations: Set<String> = []
    /// How long the newest barriers waited for their answers.
    private var ways: [TimeSpan] = []

    public init() {}

    /// How long to wait for others: three times the shortest of the newest answers, six legs of the way each.
    public var patience: TimeSpan {
        let way = ways.map(\.milliseconds).min() ?? 0
        return min(
            max(VerdictBarrier.answerLimit, TimeSpan(milliseconds: 3 * way)), VerdictBarrier.patienceMax)
    }

    public var isOpen: Bool { open != nil }
    /// Since when an answer has been missing.
    public var unansweredSince: Instant? { open.flatMap { $0.waiting.isEmpty ? nil : $0.asOf } }
    /// The earliest instant at which the next barrier may begin.
    public var mayBeginAt: Instant? { begunAt.map { $0 + VerdictBarrier.interval } }

    /// Begins a barrier for what is due now; the number to ask all `ingests` with, `nil` when it is not time.
    public mutating func begin(now: Instant, ingests: [String]) -> Int? {
        guard open == nil, !ingests.isEmpty, mayBeginAt.map({ $0 <= now }) ?? true else { return nil }
        number += 1
        begunAt = now
        askedAt = now
        open = Open(number: number, asOf: now, waiting: Set(ingests))
        return number
    }

    /// Whom to ask again, with the open barrier's number: a question or its answer may have been lost, or a batch that was
    /// named have been taken by the partition's owner before us, which nobody sends again.
    public mutating func askAgain(now: Instant) -> (number: Int, ingests: [String])? {
        guard let present = open, let askedAt, now >= askedAt + VerdictBarrier.repeatInterval else { return nil }
        let missing = present.waiting.isEmpty ? Set(present.needed.map(\.id.instance)) : present.waiting
        guard !missing.isEmpty else { return nil }
        self.askedAt = now
        return (present.number, missing.sorted())
    }

    /// Takes an answer; whether it is one that was waited for. A second one tells what the ingest keeps no more, since an owner
    /// has taken it: that is not waited for.
    @discardableResult
    public mutating func answered(_ answer: BarrierAnswer, now: Instant) -> Bool {
        guard let asked = open, asked.number == answer.number else { return false }
        guard open?.waiting.remove(answer.ingest) != nil else {
            open?.needed.removeAll {
                $0.id.instance == answer.ingest && $0.id.incarnation == answer.incarnation
                    && answer.batches[String($0.partition)] == nil
            }
            return false
        }
        for (text, seq) in answer.batches {
            guard let partition = Int(text) else { continue }
            let id = StreamID(
                service: ServiceName.heartbeatIngest.rawValue, instance: answer.ingest, incarnation: answer.incarnation,
                stream: "batches/\(partition)")
            open?.needed.append(Needed(partition: partition, id: id, seq: seq))
        }
        if asked.waiting == [answer.ingest] {
            ways =
                ways.suffix(VerdictBarrier.waysMax - 1) + [TimeSpan(milliseconds: now.milliseconds(since: asked.asOf))]
        }
        return true
    }

    /// Waits for these alone, incarnations by instance: who has ended since it was asked has handed everything over, or
    /// can no more. What it had in hand came before its subscription ended, which was a moment of suspension.
    public mutating func wait(onlyFor ingests: [String: String]) {
        let gone = incarnations.subtracting(ingests.values)
        incarnations = Set(ingests.values)
        open?.waiting.formIntersection(ingests.keys)
        open?.needed.removeAll { gone.contains($0.id.incarnation) }
    }

    /// Ends the barrier once nothing is missing; the instant up to which may be judged.
    ///
    /// - Parameter hasApplied: whether a batch was applied, or its partition is not ours.
    public mutating func pass(_ hasApplied: (_ partition: Int, _ id: StreamID, _ seq: Int) -> Bool) -> Instant? {
        guard let present = open, present.waiting.isEmpty else { return nil }
        let missing = present.needed.filter { !hasApplied($0.partition, $0.id, $0.seq) }
        open?.needed = missing
        guard missing.isEmpty else { return nil }
        open = nil
        return present.asOf
    }

    /// Forgets the open barrier: what it was begun for is not judged by it.
    public mutating func abandon() {
        open = nil
    }
}
