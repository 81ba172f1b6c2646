import API
import Foundation
import Lifecycle
import MemoryStorage
import Model
import SQLiteStorage
import Storage
import Testing
import Wire

/// Every implementation of `StatusDatabase`: each passes the same suite.
enum Implementation: String, CaseIterable, CustomTestStringConvertible {
    case sqlite, memory

    var testDescription: String { rawValue }

    func open(_ place: Place, partitions: Int? = nil) throws(StorageError) -> any StatusDatabase {
        switch self {
        case .sqlite:
            try SQLiteStatusDatabase(
                path: place.path, partitions: partitions, newIdentity: UUID().uuidString, waitingAtMost: 100)
        case .memory:
            MemoryDatabase(partitionCount: partitions ?? Partition.defaultCount, identity: UUID().uuidString)
        }
    }
}

/// A directory of one test, gone with it.
final class Place {
    let directory: URL
    var path: String { directory.appendingPathComponent("status.db").path }

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("storage-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit {
        // A directory that stays behind harms nobody.
        try? FileManager.default.removeItem(at: directory)
    }
}

let noon = Timestamp("2026-01-31T12:00:00Z")!
let partition = Partition.of(gateway: "gw", count: Partition.defaultCount)

func address(_ text: String) -> AgentAddress { AgentAddress(text)! }

func digest(_ byte: String) -> String { String(repeating: byte, count: 32) }

func state(
    _ agent: String, revision: Int, status: AgentStatus = .provisioning, board: String? = nil, role: Role = .main
) -> AgentState {
    var record = AgentRecord(
        address: address(agent), board: board, role: role, status: status, policy: Policy(), createdAt: noon)
    record.revision = revision
    record.generation = 1
    return AgentState(record: record)
}

func event(
    _ agent: String, _ revision: Int, _ event: LifecycleEvent = .changed, at time: Timestamp = noon
) -> AgentEventEntry {
    AgentEventEntry(
        id: "\(agent)@\(revision)", event: event, agent: address(agent), reason: nil, time: time,
        source: "rollcall/reconciler/r1", traceparent: nil)
}

/// A change of an agent with its event, and with what belongs to it.
func change(
    _ agent: String, _ revision: Int, status: AgentStatus = .provisioning, board: String? = nil, role: Role = .main,
    at time: Timestamp = noon, with others: StoreChange...
) -> StoreEntry {
    let state = state(agent, revision: revision, status: status, board: board, role: role)
    return StoreEntry([.agent(Carried(state), event(agent, revision, at: time))] + others)
}

func removal(_ agent: String, _ revision: Int, with others: StoreChange...) -> StoreEntry {
    let tombstone = Tombstone(agent: address(agent), generation: 1, revision: revision)
    let state = state(agent, revision: revision, status: .deleting)
    return StoreEntry([.removal(Carried(state), event(agent, revision, .deleted), tombstone)] + others)
}

func gatewayEntry(_ gateway: String) -> StoreEntry { StoreEntry(.gateway(GatewayState(gateway: gateway))) }

func stream(_ name: String = "events", incarnation: String = "i1") -> StreamID {
    StreamID(service: "reconciler", instance: "r1", incarnation: incarnation, stream: name)
}

func frame(
    _ seq: Int, epoch: Int = 1, in number: Int = partition, stream name: StreamID = stream(), _ entries: StoreEntry...
) -> ReceivedFrame {
    ReceivedFrame(
        stream: name, seq: seq, frame: StoreFrame(partition: number, epoch: epoch, entries: entries))
}

func order(_ agent: String, publication: Int) -> WakeOrder {
    WakeOrder(
        agent: address(agent), generation: 1, attempt: 1, publication: publication, maxAttempts: 3, reason: .provision,
        checkinDeadline: DurationText(30, .seconds), heartbeatInterval: DurationText(60, .seconds), resetSession: false,
        templatesDigest: nil, role: .main, board: nil, variables: [:], traceparent: nil)
}

func answer(_ id: String, _ outcome: CommandOutcome?, minted: Bool = false, isKeyed: Bool = true) -> StoreEntry {
    StoreEntry(
        .answer(
            AnswerEntry(
                requestID: id, requestDigest: "d", isKeyed: isKeyed, provisioner: "p1", outcome: outcome, isFinal: true,
                mintedToken: minted ? "t" : nil)))
}

extension StatusDatabase {
    @discardableResult
    func commit(_ frames: ReceivedFrame..., published: Int64 = 0) throws(StorageError) -> CommitReport {
        try commit(frames, published: published, now: noon)
    }

    /// Gives a partition to a reconciler under the next epoch that is stored.
    func grant(_ partition: Int, instance: String, incarnation: String) throws(StorageError) -> PartitionSnapshot {
        try grant(partition, instance: instance, incarnation: incarnation, above: 0)
    }

    /// The partition of gateway `gw`, granted to `r1`.
    @discardableResult
    func grantToFirst() throws(StorageError) -> PartitionSnapshot {
        try grant(partition, instance: "r1", incarnation: "i1")
    }

    func agents(of snapshot: PartitionSnapshot) throws(StorageError) -> [Carried<AgentState>] {
        try agents(of: snapshot.partition, at: snapshot.agentPlaces[...])
    }

    func requests(of snapshot: PartitionSnapshot) throws(StorageError) -> [RememberedRequest] {
        try requests(of: snapshot.partition, at: snapshot.requestPlaces[...])
    }

    func history(of agent: AgentAddress, before: Int64?, limit: Int) throws(StorageError) -> [StoredEvent] {
        try history(of: .agent(agent), since: nil, before: before, limit: limit)
    }

    /// The outbox as words.
    func outboxWords() throws(StorageError) -> [String] {
        try outbox(after: 0, limit: 1_000).map(\.words)
    }
}

extension OutboxEntry {
    var words: String {
        switch content {
        case .event(let event): "\(event.event.rawValue) \(event.agent) \(event.revision) \(event.status)"
        case .gatewayEvent(let event): "\(event.message.event.rawValue) \(event.message.gateway)"
        case .answer(let provisioner, _): "answer \(provisioner)"
        case .credential(let change): "credential \(change.username)"
        case .gatewayCleared(let gateway): "cleared \(gateway)"
        }
    }
}
