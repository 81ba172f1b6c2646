internal import API
public import Model
internal import Streams
internal import Wire

/// What a reconciler needs of the owner of a partition. `PartitionOwner` is one; the simulator's breaks rules on purpose.
public protocol PartitionOwning {
    var partition: Int { get }
    var epoch: Int { get }
    var agentCount: Int { get }
    var counters: PartitionCounters { get }
    var tally: FleetTally { get }
    var step: Int { get }
    var dependence: Int { get }
    var nextVerdict: Instant? { get }
    var nextDue: Instant? { get }
    var nextWork: Instant? { get }

    mutating func handle(
        _ event: PartitionEvent, now: Instant, wallTime: Timestamp, into output: inout [PartitionDirective])
}

extension PartitionOwner: PartitionOwning {}

/// A partition that a reconciler owns, or is being given: its owner, its streams, and which inputs wait for which commit.
///
/// An object, since code that is generic over the owner would copy a value wherever it looks at one. It belongs to one core alone.
final class OwnedPartition<Owner: PartitionOwning> {
    var owner: Owner
    var receiver = StreamReceiver()
    /// The next chunk of the snapshot; `nil` once it is complete.
    var nextChunk: Int? = 0
    private var ledger = AcknowledgementTracker()
    /// What is to be answered to the input that is handled, then to those that wait for their commits, and then at once.
    private var answers: [HeartbeatAnswer] = []
    private var waitingAnswers: [AcknowledgementTracker.Input: [HeartbeatAnswer]] = [:]
    private var readyAnswers: [HeartbeatAnswer] = []
    /// Frames with events that are not committed, each with when it was decided.
    private var decided = Queue<(seq: Int, at: Instant)>()

    init(_ owner: Owner) {
        self.owner = owner
    }

    var number: Int { owner.partition }
    var epoch: Int { owner.epoch }
    /// One stream for each epoch: its frames are numbered from 1.
    var stream: String { "events/\(number)/\(epoch)" }
    var isComplete: Bool { nextChunk == nil }
    var fillsFrame: Bool { ledger.fillsFrame }

    func hasWork(now: Instant) -> Bool { isComplete && owner.nextWork.map { $0 <= now } ?? false }

    func add(_ entry: StoreEntry) { ledger.add(entry) }

    func add(_ answer: HeartbeatAnswer) { answers.append(answer) }

    /// The answers whose inputs have nothing more to wait for.
    func takeAnswers() -> [HeartbeatAnswer] {
        defer { readyAnswers = [] }
        return readyAnswers
    }

    /// All that the owner's newest step caused has been added.
    func endStep() { ledger.endStep(owner.step) }

    /// What was handled last came as this frame.
    func handled(_ id: StreamID, _ seq: Int) {
        ledger.handled(id, seq, dependingOn: owner.dependence)
        guard !answers.isEmpty else { return }
        waitingAnswers[AcknowledgementTracker.Input(id: id, seq: seq)] = answers
        answers = []
    }

    /// Sends what was decided since the last time; what did not have to wait for it is acknowledged.
    func flush(into senders: inout StreamSenders<StoreFrame>, now: Instant) {
        let (number, epoch, stream) = (number, epoch, stream)
        settle(
            ledger.flush { entries in
                let seq = senders.send(
                    StoreFrame(partition: number, epoch: epoch, entries: entries), to: .store, stream: stream, now: now)
                if entries.contains(where: \.hasEvent) { decided.append((seq, now)) }
                return seq
            })
    }

    /// The store has committed the frames up to this seq; how long that took those with events.
    func committed(upTo seq: Int, now: Instant, _ commits: inout Histogram) {
        while let first = decided.first, first.seq <= seq {
            commits.add(nanoseconds: now.nanoseconds(since: first.at))
            _ = decided.popFirst()
        }
        settle(ledger.committed(upTo: seq))
    }

    private func settle(_ inputs: [AcknowledgementTracker.Input]) {
        for input in inputs {
            receiver.committed(input.id, upTo: input.seq)
            if let answers = waitingAnswers.removeValue(forKey: input) { readyAnswers += answers }
        }
    }
}
