internal import Lifecycle
public import Model
public import Storage
internal import Wire

/// All that a status store keeps, for as long as the object lives: what the simulator runs the store on.
///
/// A frame is looked through before any of it is written, so that nothing ever has to be undone.
public final class MemoryDatabase: StatusDatabase {
    public let partitionCount: Int
    public let identity: String

    struct Owner {
        var epoch: Int
        let instance: String
        let incarnation: String
        var stream = ""
        var appliedSeq = 0
    }

    struct Agent {
        /// Given when it came, and kept while it is there.
        let place: Int64
        let partition: Int
        var state: AgentState
        /// The sequence of its last change of status.
        var changedAt: Int64
    }

    struct Deleted {
        let tombstone: Tombstone
        let partition: Int
        let changedAt: Int64
    }

    struct RequestKey: Hashable {
        let partition: Int
        let id: String
    }

    struct Request {
        let place: Int64
        let remembered: RememberedRequest
        /// `nil` while it is begun and not answered.
        let outcome: CommandOutcome?
    }

    struct Key {
        let digest: String
        let until: Timestamp
    }

    var ownership: [Int: Owner] = [:]
    var agents: [AgentAddress: Agent] = [:]
    var deleted: [AgentAddress: Deleted] = [:]
    var gatewayStates: [String: GatewayState] = [:]
    var boardPauses: [Int: [String: BoardPause]] = [:]
    var requests: [RequestKey: Request] = [:]
    var keys: [String: Key] = [:]
    var alertPositions: [String: Int64] = [:]
    var credentials: [String: Identity] = [:]
    var orders: [AgentAddress: OutstandingOrder] = [:]
    /// Ordered by sequence, as is `history`.
    var outbox: [OutboxEntry] = []
    var history: [(sequence: Int64, event: PastEvent)] = []
    var eventIDs: Set<String> = []
    var letters: [StoredDeadLetter] = []
    var lettersTotal = 0
    var kept: RetentionTime?
    /// Which events were committed by when.
    var historyMarks: [(sequence: Int64, at: Timestamp)] = []
    var sequence: Int64 = 0
    private var position: Int64 = 0
    private var place: Int64 = 0

    /// An empty one.
    public init(partitionCount: Int, identity: String) {
        self.partitionCount = partitionCount
        self.identity = identity
    }

    // MARK: Frames

    public func commit(
        _ frames: [ReceivedFrame], published: Int64, now: Timestamp
    ) throws(StorageError) -> CommitReport {
        forgetOutbox(upTo: published)
        let before = outbox.count
        var results: [FrameResult] = []
        var changes: [OrderChange] = []
        var blocked: Set<StreamID> = []
        for frame in frames {
            guard !blocked.contains(frame.stream) else {
                results.append(.blocked)
                continue
            }
            var result = judge(frame)
            if result == .applied {
                do throws(StorageError) {
                    try lookThrough(frame)
                    for change in frame.frame.entries.flatMap(\.changes) {
                        apply(change, frame.frame.partition, now, &changes)
                    }
                    ownership[frame.frame.partition]?.stream = frame.stream.stream
                    ownership[frame.frame.partition]?.appliedSeq = frame.seq
                } catch {
                    blocked.insert(frame.stream)
                    result = .failed(error)
                }
            }
            results.append(result)
        }
        return CommitReport(results: results, orders: changes, outbox: Array(outbox[before...]))
    }

    private func judge(_ received: ReceivedFrame) -> FrameResult {
        // Of whose partition it is nothing is known: it must fail, not be refused, or it would come again for ever.
        if received.defect?.hasPlace == false { return .applied }
        guard let owner = ownership[received.frame.partition], owner.epoch == received.frame.epoch,
            owner.instance == received.stream.instance, owner.incarnation == received.stream.incarnation
        else { return .refused }
        let appliedSeq = owner.stream == received.stream.stream ? owner.appliedSeq : 0
        guard received.seq > appliedSeq else { return .duplicate }
        return received.seq == appliedSeq + 1 ? .applied : .refused
    }

    public func deadLetter(_ letter: DeadLetter) throws(StorageError) -> [EndedEpoch] {
        let (frame, stream) = (letter.frame, letter.frame.stream)
        lettersTotal += 1
        letters.append(
            StoredDeadLetter(
                number: lettersTotal, at: letter.at,
                stream: "\(stream.instance)/\(stream.incarnation)/\(stream.stream)", seq: frame.seq,
                error: letter.error))
        letters = letters.suffix(DeadLetter.keptMax)
        let hasPlace = frame.defect?.hasPlace ?? true
        var ended: [EndedEpoch] = []
        for (partition, owner) in ownership.sorted(by: { $0.key < $1.key })
        where owner.instance == stream.instance && owner.incarnation == stream.incarnation
            && (!hasPlace || (partition == frame.frame.partition && owner.epoch == frame.frame.epoch))
        {
            ended.append(EndedEpoch(partition: partition, epoch: owner.epoch))
            // The next grant gets another epoch still: nobody ever owns a partition under this one.
            ownership[partition] = Owner(
                epoch: owner.epoch + 1, instance: owner.instance, incarnation: owner.incarnation)
        }
        return ended
    }

    // MARK: Ownership

    public func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot {
        let epoch = max(ownership[partition]?.epoch ?? 0, known) + 1
        ownership[partition] = Owner(epoch: epoch, instance: instance, incarnation: incarnation)
        var snapshot = PartitionSnapshot(partition: partition, epoch: epoch)
        snapshot.agentPlaces = agents.values.filter { $0.partition == partition }.map(\.place).sorted()
        snapshot.requestPlaces = requests.filter { $0.key.partition == partition }.map(\.value.place).sorted()
        snapshot.tombstones = deleted.values.filter { $0.partition == partition }.map(\.tombstone)
            .sorted { $0.agent < $1.agent }
        snapshot.gateways = gatewayStates.values.filter { lies($0.gateway, in: partition) }
            .sorted { $0.gateway < $1.gateway }.map { Carried($0) }
        snapshot.boardPauses = (boardPauses[partition] ?? [:]).values.sorted { $0.board < $1.board }
        return snapshot
    }

    // MARK: Numbers

    func lies(_ gateway: String, in partition: Int) -> Bool {
        Partition.of(gateway: gateway, count: partitionCount) == partition
    }

    @discardableResult
    func publish(_ content: OutboxEntry.Content) -> Int64 {
        sequence += 1
        outbox.append(OutboxEntry(sequence: sequence, content: content))
        return sequence
    }

    func nextPosition() -> Int64 {
        position += 1
        return position
    }

    func nextPlace() -> Int64 {
        place += 1
        return place
    }

    func forgetOutbox(upTo published: Int64) {
        outbox.removeFirst(outbox.prefix { $0.sequence <= published }.count)
    }
}
