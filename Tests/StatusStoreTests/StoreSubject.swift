import API
import Lifecycle
import MemoryStorage
import Model
import StatusStoreCore
import Storage
import Streams
import Wire

/// A database of which some operations fail.
final class FailingDatabase: DatabaseProxy {
    enum Operation { case commit, grant, claim, read, note }

    var failing: [Operation: StorageError.Kind] = [:]
    /// The next commit works, and its report is lost.
    var losesReport = false
    /// The content of events that can never be stored.
    var poison: String?

    private func check(_ operation: Operation) throws(StorageError) {
        guard let kind = failing[operation] else { return }
        throw StorageError(kind, message: "\(kind)", operation: "\(operation)")
    }

    private static func firstEvent(_ frame: ReceivedFrame) -> String? {
        guard case .agent(_, let event) = frame.frame.entries.first?.changes.first else { return nil }
        return event?.id
    }

    override func commit(
        _ frames: [ReceivedFrame], published: Int64, now: Timestamp
    ) throws(StorageError) -> CommitReport {
        try check(.commit)
        if losesReport {
            losesReport = false
            _ = try super.commit(frames, published: published, now: now)
            throw StorageError(.replaced, message: "replaced", operation: "commit")
        }
        guard let poison, frames.contains(where: { FailingDatabase.firstEvent($0) == poison }) else {
            return try super.commit(frames, published: published, now: now)
        }
        let error = StorageError(.content, message: "poison", operation: "commit")
        return CommitReport(results: frames.map { _ in .failed(error) }, orders: [], outbox: [])
    }

    override func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot {
        try check(.grant)
        return try super.grant(partition, instance: instance, incarnation: incarnation, above: known)
    }

    override func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String] {
        try check(.claim)
        return try super.claim(claims, now: now)
    }

    override func note(_ time: RetentionTime) throws(StorageError) {
        try check(.note)
        try super.note(time)
    }

    override func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>? {
        try check(.read)
        return try super.record(of: agent)
    }
}

/// A core on a database with one partition, and what of its messages has no acknowledgement yet.
struct StoreSubject {
    static let stream = StreamID(service: "reconciler", instance: "r1", incarnation: "i1", stream: "events")
    static let digest = String(repeating: "ab", count: 32)

    let database: FailingDatabase
    var core: StoreCore
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var wallTime = Timestamp(millisecondsSince1970: 1_700_000_000_000)
    /// In words, each with its ticket.
    private(set) var underWay: [(words: String, ticket: Int)] = []
    private var sent: [StreamFrame<ReconcilerMessage>] = []
    /// Whether the broker has the access plugin, which answers with its acknowledgement.
    var hasPlugin = true
    private var questions: [Int: String] = [:]

    init(
        _ database: FailingDatabase = FailingDatabase(MemoryDatabase(partitionCount: 1, identity: "d")),
        access: AccessMode = .plugin
    )
        throws
    {
        self.database = database
        core = try StoreCore(
            database, topics: Topics(), instance: "1", incarnation: "s1", historyDays: 30, access: access, now: now,
            wallTime: wallTime)
    }

    /// Hands an input in; what is wanted, in words.
    @discardableResult
    mutating func handle(_ input: StoreInput) -> [String] {
        var actions: [StoreAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        return actions.compactMap { action in
            if case .publish(.accessQuestion(let question), let ticket?) = action { questions[ticket] = question }
            let words = words(action)
            return words == "question" ? nil : words
        }
    }

    /// All steps of the end of a turn.
    @discardableResult
    mutating func turn() -> [String] { StoreStep.allCases.flatMap { turn($0) } }

    mutating func turn(_ step: StoreStep) -> [String] {
        var all: [String] = []
        repeat { all += handle(.turnEnded(step)) } while core.isUnfinished
        return all
    }

    mutating func pass(_ seconds: Double) { now = now + TimeSpan(milliseconds: Int64(seconds * 1_000)) }

    /// The broker has taken what is under way.
    mutating func acknowledge(_ acknowledgement: Acknowledgement = .heard) -> [String] {
        let all = underWay
        underWay = []
        return all.flatMap { message in
            let words = handle(.acknowledged(message.ticket, acknowledgement))
            guard hasPlugin, let question = questions.removeValue(forKey: message.ticket) else { return words }
            return words + handle(.accessAnswered(question))
        }
    }

    /// Everything that a reconciler was sent is acknowledged.
    mutating func takeGrants() {
        for frame in sent {
            handle(.acknowledgementReceived(StreamAcknowledgement(id: frame.id, upTo: frame.seq, resendFrom: nil)))
        }
        sent = []
    }

    mutating func hear(_ service: ServiceName, epochs: [Int: Int] = [:]) {
        let name = service == .reconciler ? "r1" : "p1"
        handle(.presenceReceived(presence(name, epochs: epochs, service: service), isRetained: false))
    }

    mutating func receive(_ seq: Int, epoch: Int = 1, _ entries: StoreEntry...) {
        let frame = StreamFrame(
            id: StoreSubject.stream, seq: seq, lowWaterMark: 1, age: 0,
            body: StoreFrame(partition: 0, epoch: epoch, entries: entries))
        handle(.frameReceived(.decoded(frame)))
    }

    private mutating func words(_ action: StoreAction) -> String {
        switch action {
        case .subscribe: return "subscribe"
        case .send(let outgoing):
            sent.append(outgoing.frame)
            switch outgoing.frame.body {
            case .grant(let chunk): return "grant \(chunk.epoch) with \(chunk.carriedAgents.count) agents"
            case .revoke(_, let epoch): return "revoke \(epoch)"
            case nil: return "advertisement"
            }
        case .acknowledgement(let acknowledgement):
            return acknowledgement.resendFrom.map { "ask from \($0)" } ?? "acknowledge \(acknowledgement.upTo)"
        case .publish(let message, let ticket):
            let words = words(message)
            if let ticket { underWay.append((words, ticket)) }
            return words
        case .announce: return "announce"
        case .log(let log): return "log \(name(of: log))"
        case .fail: return "fail"
        case .drained: return "drained"
        }
    }

    private func words(_ message: StoreMessage) -> String {
        switch message {
        case .event(let event): "event \(event.event.rawValue) \(event.agent) \(event.revision)"
        case .status(let agent, let record): record == nil ? "clear \(agent)" : "status \(agent)"
        case .gatewayEvent(let event): "\(event.message.event.rawValue) \(event.message.gateway)"
        case .gatewayCleared(let gateway): "clear \(gateway)"
        case .answer(let message, let provisioner):
            switch message.value {
            case .answer(let id, _, _, _): "answer \(id) to \(provisioner)"
            case .found(let id, let record): "found \(id) \(record?.revision ?? 0)"
            case .claimed(let id, let digest): "claimed \(id) by \(digest)"
            case nil: "unreadable"
            }
        case .credentials(let changes): "credentials of \(changes.map(\.username).joined(separator: ","))"
        case .accessTable: "table"
        case .accessQuestion: "question"
        case .order(let order): "order \(order.value?.publication ?? 0)"
        case .note(let note): "note \(note.published)"
        case .reply(.success, let address): "reply to \(address.topic)"
        case .reply(.failure(let problem), _): "problem \(problem.type.rawValue)"
        }
    }

    /// The name of a case, without what it carries.
    private func name(of log: StoreLog) -> String { String("\(log)".prefix { $0 != "(" }) }
}
