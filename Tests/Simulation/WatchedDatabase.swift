import API
import MemoryStorage
import Model
import SQLiteStorage
import Storage
import Wire

/// The database that a store has in one run.
enum SimDatabase {
    /// One seed in so many runs on the real one, in memory.
    static let realSeedsEvery: UInt64 = 100

    static func make(seed: UInt64, partitionCount: Int) -> any StatusDatabase {
        guard seed.isMultiple(of: realSeedsEvery) else {
            return MemoryDatabase(partitionCount: partitionCount, identity: "d")
        }
        do {
            return try SQLiteStatusDatabase(path: ":memory:", partitions: partitionCount, newIdentity: "d")
        } catch {
            preconditionFailure(error.description)
        }
    }
}

/// Passes on what the store does with its database, tells the oracle of it, and fails while its disk is full.
final class WatchedDatabase: DatabaseProxy {
    /// Nothing can be written until then.
    var failsUntil: Int64 = 0

    private unowned let oracle: Oracle
    /// Where grants have no epochs of their own: the epoch of each partition that everybody is told.
    private var onlyEpochs: [Int: Int] = [:]

    init(_ inner: any StatusDatabase, _ oracle: Oracle) {
        self.oracle = oracle
        super.init(inner)
    }

    private var world: World { oracle.world }

    /// Reads what is really there.
    func read<Value>(_ body: (any StatusDatabase) throws -> Value) -> Value {
        do {
            return try body(inner)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// Of all agents, by address.
    var records: [AgentRecord] {
        read {
            try $0.records(.init(), after: nil, limit: .max, scanning: .max).records.map { try $0.record.decoded() }
        }
    }

    /// Who owns each partition.
    var ownership: [Int: (epoch: Int, incarnation: String)] {
        let owners = read { try $0.owners() }
        return Dictionary(uniqueKeysWithValues: owners.map { ($0.partition, ($0.epoch, $0.incarnation)) })
    }

    /// Those that are gone.
    var deletedAgents: [AgentAddress] {
        read { try $0.statuses(changedAfter: 0, upTo: .max, limit: .max) }.filter { $0.record == nil }.map(\.agent)
            .sorted()
    }

    private func checkDisk(_ operation: String) throws(StorageError) {
        guard world.time < failsUntil else { return }
        throw StorageError(.full, message: "the disk is full", operation: operation)
    }

    // MARK: Writing

    override func commit(
        _ frames: [ReceivedFrame], published: Int64, now: Timestamp
    ) throws(StorageError) -> CommitReport {
        try checkDisk("commit")
        let report = try inner.commit(altered(frames), published: published, now: now)
        for (frame, result) in zip(frames, report.results) {
            switch result {
            case .applied:
                for entry in frame.frame.entries {
                    oracle.committed(entry, epoch: frame.frame.epoch, partition: frame.frame.partition)
                }
            case .failed(let error): oracle.violate("\(frame.stream) \(frame.seq) cannot be applied: \(error)")
            case .duplicate, .refused, .blocked: break
            }
        }
        guard world.isBroken(.refusedOwnersReload) else { return report }
        // Whoever is refused is not told, and waits.
        return CommitReport(
            results: report.results.map { $0 == .refused ? .blocked : $0 }, orders: report.orders,
            outbox: report.outbox)
    }

    override func deadLetter(_ letter: DeadLetter) throws(StorageError) -> [EndedEpoch] {
        try checkDisk("deadLetter")
        return try inner.deadLetter(letter)
    }

    override func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot {
        try checkDisk("grant")
        let granted = try inner.grant(partition, instance: instance, incarnation: incarnation, above: known)
        let epoch = world.isBroken(.epochsAreNew) ? onlyEpochs[partition] ?? granted.epoch : granted.epoch
        onlyEpochs[partition] = epoch
        var snapshot = PartitionSnapshot(partition: partition, epoch: epoch)
        snapshot.gateways = granted.gateways
        snapshot.boardPauses = granted.boardPauses
        snapshot.agentPlaces = granted.agentPlaces
        if !world.isBroken(.tombstonesAreKept) { snapshot.tombstones = granted.tombstones }
        if !world.isBroken(.requestsAreRemembered) { snapshot.requestPlaces = granted.requestPlaces }
        world.note("store grants \(partition) under \(epoch) to \(incarnation)")
        return snapshot
    }

    override func noteUse(of tokens: [UsedToken]) throws(StorageError) {
        try checkDisk("note")
        try inner.noteUse(of: tokens)
    }

    override func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String] {
        try checkDisk("claim")
        return try inner.claim(claims, now: now)
    }

    override func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, historyBytesMax: Int64, limit: Int
    ) throws(StorageError) -> Bool {
        try checkDisk("tidy")
        return try inner.tidy(
            published: published, now: now, historyBefore: historyBefore, historyBytesMax: historyBytesMax, limit: limit
        )
    }

    // MARK: Reading

    override func owners() throws(StorageError) -> [PartitionOwner] {
        try inner.owners().map { owner in
            let isForgotten = world.isBroken(.framesApplyOnce)
            return PartitionOwner(
                partition: owner.partition,
                epoch: world.isBroken(.epochsAreNew) ? onlyEpochs[owner.partition] ?? owner.epoch : owner.epoch,
                instance: owner.instance, incarnation: owner.incarnation, stream: isForgotten ? "" : owner.stream,
                appliedSeq: owner.appliedSeq)
        }
    }

    override func requests(of partition: Int, at places: ArraySlice<Int64>) throws(StorageError) -> [RememberedRequest]
    {
        let requests = try inner.requests(of: partition, at: places)
        return world.isBroken(.intentRecordsSurvive) ? requests.filter { $0.intentRecord == nil } : requests
    }

    override func statuses(
        changedAfter sequence: Int64, upTo last: Int64, limit: Int
    ) throws(StorageError) -> [StatusEntry] {
        if world.isBroken(.statusesAreRepublished) { return [] }
        let entries = try inner.statuses(changedAfter: sequence, upTo: last, limit: limit)
        return world.isBroken(.tombstonesAreRepublished) ? entries.filter { $0.record != nil } : entries
    }

    // MARK: Rules that are switched off

    /// Frames as the database takes them for what they should not count as.
    private func altered(_ frames: [ReceivedFrame]) throws(StorageError) -> [ReceivedFrame] {
        let rules: [Rule] = [.epochIsChecked, .incarnationsDiffer, .framesApplyOnce, .epochsAreNew]
        guard rules.contains(where: world.isBroken) else { return frames }
        var applied: [Int: (stream: String, seq: Int)] = [:]
        let owners = try inner.owners()
        for owner in owners { applied[owner.partition] = (owner.stream, owner.appliedSeq) }
        return frames.map { frame in
            guard let owner = owners.first(where: { $0.partition == frame.frame.partition }) else { return frame }
            var (stream, seq, body) = (frame.stream, frame.seq, frame.frame)
            if world.isBroken(.epochsAreNew), body.epoch == onlyEpochs[owner.partition] {
                body = StoreFrame(partition: body.partition, epoch: owner.epoch, entries: body.entries)
            }
            if world.isBroken(.incarnationsDiffer), owner.instance == stream.instance {
                stream = launch(owner, of: stream)
            }
            if world.isBroken(.epochIsChecked) {
                stream = launch(owner, of: stream)
                body = StoreFrame(partition: body.partition, epoch: owner.epoch, entries: body.entries)
            }
            if world.isBroken(.framesApplyOnce), body.epoch == owner.epoch, stream == launch(owner, of: stream) {
                let last = applied[owner.partition].map { $0.stream == stream.stream ? $0.seq : 0 } ?? 0
                seq = last + 1
                applied[owner.partition] = (stream.stream, seq)
            }
            return ReceivedFrame(stream: stream, seq: seq, frame: body)
        }
    }

    /// The stream as one of this owner's.
    private func launch(_ owner: PartitionOwner, of stream: StreamID) -> StreamID {
        StreamID(
            service: stream.service, instance: owner.instance, incarnation: owner.incarnation, stream: stream.stream)
    }
}
