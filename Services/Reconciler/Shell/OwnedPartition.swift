internal import Bus
internal import Contract
internal import Lifecycle
internal import ReconcilerCore
internal import Streams

/// A partition that this reconciler owns, or is being given: its core, its streams, and which inputs wait for which commit.
final class OwnedPartition {
    var owner: PartitionOwner
    let epoch: Int
    let inlet: StreamInlet<PartitionMessage>
    /// The next chunk of the snapshot; `nil` once it is complete.
    var nextChunk: Int? = 0

    private var ledger = CommitLedger()

    init(owner: PartitionOwner, epoch: Int, topics: Topics, connection: Connection?) {
        self.owner = owner
        self.epoch = epoch
        inlet = StreamInlet(topics: topics)
        inlet.connection = connection
    }

    /// One stream for each epoch: its frames are numbered from 1.
    var stream: String { "events/\(owner.partition)/\(epoch)" }
    var isComplete: Bool { nextChunk == nil }

    var fillsFrame: Bool { ledger.fillsFrame }

    func add(_ entry: StoreEntry) {
        ledger.add(entry)
    }

    /// All that the owner's newest step caused has been added.
    func endStep() {
        ledger.endStep(owner.step)
    }

    /// What was handled last came as this frame.
    func handled(_ id: StreamID, _ seq: Int) {
        ledger.handled(id, seq, dependingOn: owner.dependence)
    }

    /// Sends what this turn decided, and receipts what it did not have to wait for.
    func flush(into outlet: StreamOutlet<StoreFrame>, now: Instant) {
        let (partition, epoch, stream) = (owner.partition, epoch, stream)
        receipt(
            ledger.flush { entries in
                outlet.send(
                    StoreFrame(partition: partition, epoch: epoch, entries: entries), to: .store, stream: stream,
                    now: now)
            })
    }

    /// The store has committed the frames up to this seq.
    func committed(upTo seq: Int) {
        receipt(ledger.committed(upTo: seq))
    }

    private func receipt(_ inputs: [CommitLedger.Input]) {
        for input in inputs { inlet.committed(input.id, upTo: input.seq) }
        inlet.publishReceipts()
    }
}

extension PartitionCounters {
    mutating func add(_ other: PartitionCounters) {
        heartbeats += other.heartbeats
        rejections += other.rejections
        events += other.events
        orders += other.orders
    }
}
