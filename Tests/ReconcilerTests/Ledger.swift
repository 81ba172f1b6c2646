import API
import Lifecycle
import Model
import ReconcilerCore
import Wire

/// What a store would keep of the entries that were committed, and a clock: enough to let an owner die and be succeeded.
struct Ledger {
    private(set) var entries: [StoreEntry] = []
    private var agents: [AgentAddress: AgentState] = [:]
    private var tombstones: [AgentAddress: Tombstone] = [:]
    private var gateways: [String: GatewayState] = [:]
    private var boardPauses: [String: BoardPause] = [:]
    private var requests: [String: RememberedRequest] = [:]

    mutating func commit(_ entry: StoreEntry) {
        entries.append(entry)
        for change in entry.changes { commit(change) }
    }

    private mutating func commit(_ change: StoreChange) {
        switch change {
        case .agent(let state, _): if let state = state.value { agents[state.record.address] = state }
        case .removal(_, _, let tombstone):
            agents[tombstone.agent] = nil
            tombstones[tombstone.agent] = tombstone
        case .gateway(let gateway): gateways[gateway.gateway] = gateway
        case .removedGateway(let gateway): gateways[gateway] = nil
        case .boardPause(let pause): boardPauses[pause.board] = pause
        case .resumedBoard(let board): boardPauses[board] = nil
        case .intent(let intent):
            let request = intent.request
            var remembered = RememberedRequest(
                id: request.id, digest: request.digest, until: .distant, mintedFor: nil)
            remembered.intentRecord = intent
            requests[request.id] = remembered
        case .answer(let answer):
            guard answer.isFinal, answer.outcome != nil else { return }
            requests[answer.requestID] = RememberedRequest(
                id: answer.requestID, digest: answer.requestDigest, until: .distant, mintedFor: nil)
        case .event, .lastSeen, .seen, .order, .settledOrder, .gatewayEvent, .credential: break
        }
    }

    /// The snapshot that a successor is granted.
    func grant(epoch: Int) -> GrantChunk {
        var chunk = GrantChunk(partition: 0, epoch: epoch, incarnation: "i\(epoch)", index: 0, isLast: true)
        chunk.agents = agents.values.sorted { $0.record.address.description < $1.record.address.description }
        chunk.tombstones = Array(tombstones.values)
        chunk.gateways = Array(gateways.values)
        chunk.boardPauses = Array(boardPauses.values)
        chunk.requests = Array(requests.values)
        return chunk
    }

    /// `event agent`, in order.
    var events: [String] { entries.flatMap(\.changes).compactMap(\.event).map { "\($0.event.rawValue) \($0.agent)" } }

    /// The answers to a request.
    func answers(to id: String) -> [AnswerEntry] {
        entries.flatMap(\.changes).compactMap(\.answer).filter { $0.requestID == id }
    }
}

extension StoreChange {
    var event: AgentEventEntry? {
        switch self {
        case .agent(_, let event): event
        case .event(let event), .removal(_, let event, _): event
        default: nil
        }
    }

    var isIntent: Bool { if case .intent = self { true } else { false } }

    var answer: AnswerEntry? { if case .answer(let answer) = self { answer } else { nil } }
}

/// An owner whose decisions are committed at once.
struct Owned {
    var owner: PartitionOwner
    var ledger: Ledger
    var milliseconds: Int64

    init(
        epoch: Int = 1, _ ledger: Ledger = Ledger(), at milliseconds: Int64 = 0,
        sliceMax: Int = PartitionOwner.sliceMax
    ) {
        owner = PartitionOwner(
            partition: 0, epoch: epoch, instance: "r1", systemPolicy: Policy(), sliceMax: sliceMax)
        self.ledger = ledger
        self.milliseconds = milliseconds
        tell(.granted(ledger.grant(epoch: epoch)))
        tell(.observabilityRestored)
    }

    /// Handles an input and then, in at most so many slices, what there is to be done; what it decided.
    @discardableResult
    mutating func tell(_ event: PartitionEvent, slices: Int = .max) -> [StoreEntry] {
        var directives: [PartitionDirective] = []
        let (now, wallTime) = (
            Instant(nanoseconds: milliseconds * 1_000_000), Timestamp(millisecondsSince1970: milliseconds)
        )
        owner.handle(event, now: now, wallTime: wallTime, into: &directives)
        var left = slices
        while left > 0, let due = owner.nextWork, due <= now {
            left -= 1
            owner.handle(.roomCame, now: now, wallTime: wallTime, into: &directives)
        }
        let entries = directives.compactMap { directive in
            if case .commit(let entry) = directive { return entry }
            return nil
        }
        for entry in entries { ledger.commit(entry) }
        return entries
    }

    mutating func pass(_ seconds: Int64) {
        for _ in 0..<seconds * 10 {
            milliseconds += 100
            tell(.timePassed)
            tell(.barrierPassed(asOf: Instant(nanoseconds: milliseconds * 1_000_000)))
        }
    }
}

extension Timestamp {
    static let distant = Timestamp(millisecondsSince1970: 1_000_000_000_000)
}

func agent(_ text: String) -> AgentAddress {
    guard let address = AgentAddress(text) else { preconditionFailure("'\(text)' is no address") }
    return address
}

func request(_ id: String, _ command: Command, digest: String = "d") -> PartitionRequest {
    var rendered: RenderedTemplates?
    if case .provision(let change) = command, let role = change.role {
        rendered = RenderedTemplates(
            inputs: RenderInputs(role: role, board: change.board, variables: [:]), digest: "files")
    }
    return PartitionRequest(
        id: id, digest: digest, isKeyed: true, command: command, minted: MintedToken(digest: "secret", id: "t1"),
        rendered: rendered, traceparent: nil, provisioner: "p1")
}
