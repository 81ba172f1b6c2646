import API
internal import Lifecycle
internal import Model
public import Storage
internal import Wire

/// What a store does with its database in some lives of some agents, as steps; each is one transaction, or opens anew.
public enum WorkloadStep: Sendable {
    case grant(partition: Int, instance: String)
    case commit([ReceivedFrame], published: Int64)
    case deadLetter(DeadLetter)
    case tidy(published: Int64)
    /// Close the database and open it again: the log is copied into the file and deleted.
    case reopen
}

/// The steps, made once; everything in them is the same in each run.
public struct Workload: Sendable {
    public private(set) var steps: [WorkloadStep] = []

    private static let noon = Timestamp(millisecondsSince1970: 1_769_860_800_000)
    private static let ada = Partition.of(gateway: "gw", count: Partition.defaultCount)
    private static let otherGateway =
        (0..<100).map { "g\($0)" }.first { Partition.of(gateway: $0, count: Partition.defaultCount) != ada } ?? "g"
    private static let other = Partition.of(gateway: otherGateway, count: Partition.defaultCount)

    /// What of the outbox the broker has not acknowledged when a step begins.
    private static let lag: Int64 = 5

    /// The highest sequence of the outbox.
    public private(set) var last: Int64 = 0
    private var epochs: [Int: Int] = [:]
    private var seqs: [Int: Int] = [:]
    private var owners: [Int: String] = [:]
    private var revisions: [AgentAddress: Int] = [:]

    public init() {
        let (ada, other, otherGateway) = (Workload.ada, Workload.other, Workload.otherGateway)
        grant(ada, to: "r1")
        grant(other, to: "r1")
        commit([(ada, gateway("gw")), (other, gateway(otherGateway))])
        commit([(ada, provision("gw/a")), (ada, provision("gw/b")), (other, provision("\(otherGateway)/a"))])
        commit([(ada, woken("gw/a", 1)), (other, woken("\(otherGateway)/a", 1))])
        commit([(ada, online("gw/a")), (ada, seen(["gw/a", "gw/b"])), (ada, woken("gw/b", 1))])
        commit([(ada, retriggered("gw/b", attempt: 2)), (ada, woken("gw/b", 2))])
        // More than a page of everything, and several turns of the log.
        for round in 0..<4 {
            commit([(ada, (0..<25).flatMap { provision("gw/many-\(round)-\($0)") })])
        }
        steps.append(.reopen)
        commit([(ada, offline("gw/b")), (other, paused("\(otherGateway)/a"))])
        commit([(ada, deleted("gw/b")), (other, undertaken("\(otherGateway)/a"))])
        deadLetter(ada)
        grant(ada, to: "r2")
        commit([(ada, provision("gw/b")), (ada, provision("gw/c"))])
        steps.append(.tidy(published: last - Workload.lag))
        commit([(other, removed(otherGateway)), (ada, retriggered("gw/c", attempt: 2))])
        steps.append(.reopen)
        commit([(ada, online("gw/c"))])
    }

    /// Does one step.
    public static func perform(_ step: WorkloadStep, on database: any StatusDatabase) throws(StorageError) {
        switch step {
        case .grant(let partition, let instance):
            _ = try database.grant(partition, instance: instance, incarnation: "i", above: 0)
        case .commit(let frames, let published): _ = try database.commit(frames, published: published, now: noon)
        case .deadLetter(let letter): _ = try database.deadLetter(letter)
        case .tidy(let published):
            _ = try database.tidy(
                published: published, now: noon, historyBefore: noon - .seconds(60), historyBytesMax: .max, limit: 1_000
            )
        case .reopen: preconditionFailure("whoever holds the database opens it again")
        }
    }

    // MARK: Frames

    private mutating func grant(_ partition: Int, to instance: String) {
        steps.append(.grant(partition: partition, instance: instance))
        epochs[partition, default: 0] += 1
        seqs[partition] = 0
        owners[partition] = instance
    }

    private mutating func commit(_ frames: [(partition: Int, entries: [StoreEntry])]) {
        steps.append(.commit(frames.map { frame($0.partition, $0.entries) }, published: max(0, last - Workload.lag)))
        last += frames.reduce(0) { sum, frame in frame.entries.reduce(sum) { $0 + Workload.published(by: $1) } }
    }

    /// A frame that is never taken: what its sender believes is forgotten with its epoch.
    private mutating func deadLetter(_ partition: Int) {
        let before = revisions
        steps.append(.deadLetter(DeadLetter(frame(partition, provision("gw/c")), error: "never", at: Workload.noon)))
        revisions = before
        epochs[partition, default: 0] += 1
    }

    /// How much an entry puts into the outbox.
    private static func published(by entry: StoreEntry) -> Int64 {
        let published = entry.changes.count { change in
            switch change {
            case .agent(_, .some), .event, .removal, .gatewayEvent, .credential, .removedGateway, .answer: true
            case .agent(_, nil), .lastSeen, .seen, .order, .settledOrder, .gateway, .boardPause, .resumedBoard, .intent:
                false
            }
        }
        return Int64(published)
    }

    private mutating func frame(_ partition: Int, _ entries: [StoreEntry]) -> ReceivedFrame {
        seqs[partition, default: 0] += 1
        let epoch = epochs[partition] ?? 0
        return ReceivedFrame(
            stream: StreamID(
                service: "reconciler", instance: owners[partition] ?? "", incarnation: "i",
                stream: "events/\(partition)/\(epoch)"),
            seq: seqs[partition] ?? 0, frame: StoreFrame(partition: partition, epoch: epoch, entries: entries))
    }

    // MARK: Entries

    private static func address(_ text: String) -> AgentAddress {
        guard let address = AgentAddress(text) else { preconditionFailure("\(text) is no address") }
        return address
    }

    private static func credential(_ username: String, _ change: CredentialChange.Change) -> StoreEntry {
        StoreEntry(.credential(CredentialChange(username: username, change: change)))
    }

    private static func answer(_ id: String, _ outcome: CommandOutcome?) -> StoreEntry {
        StoreEntry(
            .answer(
                AnswerEntry(
                    requestID: id, requestDigest: "d", isKeyed: true, provisioner: "p1", outcome: outcome,
                    isFinal: true, mintedToken: "t")))
    }

    private func gateway(_ name: String) -> [StoreEntry] {
        [
            StoreEntry(.gateway(GatewayState(gateway: name))),
            Workload.credential(name, .set(digest: String(repeating: "ab", count: 32))),
            Workload.answer("add-\(name)", .gateway(name, minted: true)),
        ]
    }

    /// The agent's next record, and what has happened to it.
    private mutating func next(
        _ agent: String, _ event: LifecycleEvent, _ status: AgentStatus
    ) -> (record: AgentRecord, event: AgentEventEntry) {
        let address = Workload.address(agent)
        let revision = (revisions[address] ?? 0) + 1
        revisions[address] = revision
        var record = AgentRecord(
            address: address, board: nil, role: .main, status: status, policy: Policy(), createdAt: Workload.noon)
        record.revision = revision
        record.generation = 1
        let entry = AgentEventEntry(
            id: "\(agent)@\(revision)", event: event, agent: address, reason: nil, time: Workload.noon,
            source: "rollcall/reconciler/r1", traceparent: nil)
        return (record, entry)
    }

    private mutating func change(
        _ agent: String, _ event: LifecycleEvent, _ status: AgentStatus, with others: StoreChange...
    ) -> StoreEntry {
        let (record, event) = next(agent, event, status)
        return StoreEntry([.agent(Carried(AgentState(record: record)), event)] + others)
    }

    private static func order(_ agent: String, attempt: Int) -> StoreEntry {
        StoreEntry(
            .order(
                Carried(
                    WakeOrder(
                        agent: address(agent), generation: 1, attempt: attempt, publication: attempt, maxAttempts: 3,
                        reason: .provision, checkinDeadline: DurationText(30, .seconds),
                        heartbeatInterval: DurationText(60, .seconds), resetSession: false, templatesDigest: nil,
                        role: .main, board: nil, variables: [:], traceparent: nil))))
    }

    private mutating func provision(_ agent: String) -> [StoreEntry] {
        let (record, event) = next(agent, .provisioning, .provisioning)
        return [
            StoreEntry(.agent(Carried(AgentState(record: record)), event)),
            Workload.credential(agent, .set(digest: String(repeating: "cd", count: 32))),
            Workload.answer("provision-\(agent)", .record(record, minted: true)), Workload.order(agent, attempt: 1),
        ]
    }

    private mutating func woken(_ agent: String, _ attempt: Int) -> [StoreEntry] {
        [change(agent, .woken, .provisioning, with: .settledOrder(Workload.address(agent)))]
    }

    private mutating func online(_ agent: String) -> [StoreEntry] { [change(agent, .online, .online)] }

    private mutating func offline(_ agent: String) -> [StoreEntry] { [change(agent, .offline, .offline)] }

    private mutating func retriggered(_ agent: String, attempt: Int) -> [StoreEntry] {
        [change(agent, .retriggered, .updating), Workload.order(agent, attempt: attempt)]
    }

    private func seen(_ agents: [String]) -> [StoreEntry] {
        var seen = SeenAgents()
        seen.agents = agents
        seen.at = agents.map { _ in Workload.noon.millisecondsSince1970 + 7 }
        let rejected = LastSeenUpdate(
            agent: Workload.address(agents[0]), lastSeenAt: nil,
            lastRejection: Rejection(reason: .badToken, at: Workload.noon, count: 2))
        return [StoreEntry(.seen(seen), .lastSeen([rejected]))]
    }

    private mutating func paused(_ agent: String) -> [StoreEntry] {
        [
            change(agent, .paused, .provisioning), StoreEntry(.boardPause(BoardPause(board: "b", until: nil))),
            Workload.answer("pause", .paused(1)),
        ]
    }

    private func undertaken(_ agent: String) -> [StoreEntry] {
        let request = PartitionRequest(
            id: "resume", digest: "d", isKeyed: true, command: .resume(.agent(Workload.address(agent))), minted: nil,
            rendered: nil, traceparent: nil, provisioner: "p1")
        return [StoreEntry(.intent(IntentRecord(request: request, count: 1)))]
    }

    private mutating func deleted(_ agent: String) -> [StoreEntry] {
        let (deleting, event) = next(agent, .deleting, .deleting)
        let (record, gone) = next(agent, .deleted, .deleting)
        let tombstone = Tombstone(agent: Workload.address(agent), generation: 1, revision: record.revision)
        return [
            StoreEntry(.agent(Carried(AgentState(record: deleting)), event)),
            StoreEntry(.removal(Carried(AgentState(record: record)), gone, tombstone)),
            Workload.credential(agent, .remove),
            Workload.answer("delete-\(agent)", .record(deleting, minted: false)),
        ]
    }

    private mutating func removed(_ gateway: String) -> [StoreEntry] {
        deleted("\(gateway)/a") + [
            StoreEntry(.removedGateway(gateway)), Workload.credential(gateway, .remove),
        ]
    }
}
