public import Lifecycle

// What crosses the bus between services. It is ours alone and may change with any version: all services of one system
// run the same version, which `config_digest` shows.

/// Identifies one gapless stream of frames: who sends, in which life, and which of its streams.
public struct StreamID: Codable, Hashable, Sendable {
    public let service: String
    public let instance: String
    public let incarnation: String
    public let stream: String

    public init(service: String, instance: String, incarnation: String, stream: String) {
        self.service = service
        self.instance = instance
        self.incarnation = incarnation
        self.stream = stream
    }
}

/// One message of a stream, or, without a body, the announcement of what its sender keeps.
public struct StreamFrame<Body: Codable & Sendable>: Codable, Sendable {
    public let id: StreamID
    /// Grows by one with each frame; of an announcement, the highest that was sent.
    public let seq: Int
    /// The lowest seq that the sender still keeps.
    public let lowest: Int
    /// How long the frame was kept before this sending, in milliseconds: ages inside the body grow by it.
    public let held: Int64
    public let body: Body?

    public init(id: StreamID, seq: Int, lowest: Int, held: Int64, body: Body?) {
        self.id = id
        self.seq = seq
        self.lowest = lowest
        self.held = held
        self.body = body
    }
}

/// What the receiver of a stream tells its sender.
public struct StreamReceipt: Codable, Hashable, Sendable {
    public let id: StreamID
    /// Everything up to this seq is committed; the sender may forget it.
    public let upTo: Int
    /// Send again from this seq on; absent when nothing is missing.
    public let resendFrom: Int?

    public init(id: StreamID, upTo: Int, resendFrom: Int?) {
        self.id = id
        self.upTo = upTo
        self.resendFrom = resendFrom
    }
}

// MARK: - To the owner of a partition

/// Everything that the owner of a partition is told.
public enum PartitionMessage: Codable, Sendable {
    case request(PartitionRequest)
    case report(WakeReport)
    case batch(HeartbeatBatch)
}

/// A secret that was minted for this request: what of it may travel and be stored.
public struct MintedToken: Codable, Hashable, Sendable {
    public let digest: String
    public let id: String

    public init(digest: String, id: String) {
        self.digest = digest
        self.id = id
    }
}

/// What the templates were rendered from.
public struct RenderInputs: Codable, Hashable, Sendable {
    public let role: Role
    public let board: String?
    public let variables: [String: String]

    public init(role: Role, board: String?, variables: [String: String]) {
        self.role = role
        self.board = board
        self.variables = variables
    }
}

/// The digest of rendered files, with what they were rendered from: the owner takes it only if it would have used the same.
public struct RenderedTemplates: Codable, Hashable, Sendable {
    public let inputs: RenderInputs
    public let digest: String

    public init(inputs: RenderInputs, digest: String) {
        self.inputs = inputs
        self.digest = digest
    }
}

/// A command on its way to the owner of a partition.
public struct PartitionRequest: Codable, Hashable, Sendable {
    /// The idempotency key with its username, or a random one: the owner executes one id once.
    public let id: String
    /// SHA-256 of verb and payload: the same id with another digest is a `conflict`.
    public let digest: String
    /// Whether a client chose the id and may ask again: then it is remembered for 24 h, else for 10 minutes.
    public let isKeyed: Bool
    public let command: Command
    /// A candidate secret: it counts only if the command needs a new one.
    public let minted: MintedToken?
    public let rendered: RenderedTemplates?
    public let traceparent: String?
    /// The provisioner that answers the client.
    public let provisioner: String

    public init(
        id: String, digest: String, isKeyed: Bool, command: Command, minted: MintedToken?, rendered: RenderedTemplates?,
        traceparent: String?, provisioner: String
    ) {
        self.id = id
        self.digest = digest
        self.isKeyed = isKeyed
        self.command = command
        self.minted = minted
        self.rendered = rendered
        self.traceparent = traceparent
        self.provisioner = provisioner
    }
}

/// What became of a wake order.
public struct WakeReport: Codable, Hashable, Sendable {
    public enum Outcome: Codable, Hashable, Sendable {
        /// Published and acknowledged by the broker.
        case woken(sentAt: Timestamp, deadlineAt: Timestamp, delivery: WakeDelivery)
        /// It could not be rendered or published.
        case failed(at: Timestamp, error: String)
        /// It was too old to be published.
        case expired
    }

    public let agent: AgentAddress
    public let generation: Int
    public let attempt: Int
    public let issue: Int
    public let outcome: Outcome
    /// Milliseconds from the publication (the failure) to the making of this report.
    public let age: Int64

    public init(_ order: WakeOrder, outcome: Outcome, age: Int64) {
        agent = order.agent
        generation = order.generation
        attempt = order.attempt
        issue = order.issue
        self.outcome = outcome
        self.age = age
    }
}

/// Heartbeats that one ingest received in a short while, in the order received, all for one partition.
public struct HeartbeatBatch: Codable, Sendable {
    /// Heartbeats of one moment: plain ones are names alone.
    public struct Segment: Codable, Sendable {
        /// When they were received: on the ingest's wall clock, in milliseconds since 1970.
        public var at: Int64
        /// Milliseconds from their reception to the making of the batch.
        public var age: Int64
        /// The gateway of `names`; without one each name is a full address.
        public var gateway: String?
        /// Agents whose heartbeat says nothing but that they are alive and well.
        public var names: [String]
        /// A heartbeat that says more; such a segment has no names.
        public var detail: HeartbeatDetail?

        public init(at: Int64, age: Int64, gateway: String?, names: [String], detail: HeartbeatDetail?) {
            self.at = at
            self.age = age
            self.gateway = gateway
            self.names = names
            self.detail = detail
        }
    }

    public var segments: [Segment]

    public init(segments: [Segment]) {
        self.segments = segments
    }

    /// How many heartbeats it carries.
    public var count: Int {
        segments.reduce(0) { $0 + $1.names.count + ($1.detail == nil ? 0 : 1) }
    }
}

/// A heartbeat with members, or one that ingest rejects for its form: the owner counts it on the agent it names.
public struct HeartbeatDetail: Codable, Hashable, Sendable {
    public var agent: AgentAddress
    public var status: HeartbeatStatus?
    public var extend: DurationText?
    public var generation: Int?
    public var attempt: Int?
    public var bootID: String?
    public var seq: Int64?
    public var templatesDigest: String?
    public var tokenDigest: String?
    /// Its form was wrong: `malformed` or `too_large`.
    public var rejected: RejectionReason?

    public init(agent: AgentAddress) {
        self.agent = agent
    }
}

/// A reconciler asks an ingest: is all that you have received handed over, and is your way still whole?
public struct BarrierQuestion: Codable, Hashable, Sendable {
    public let number: Int
    public let reconciler: String

    public init(number: Int, reconciler: String) {
        self.number = number
        self.reconciler = reconciler
    }
}

/// Sent once a canary went through the broker on the connection on which heartbeats come.
public struct BarrierAnswer: Codable, Hashable, Sendable {
    public let number: Int
    public let ingest: String
    public let incarnation: String
    /// The subscription that the canary came through.
    public let session: Int
    /// The newest batch for each partition, by its number, as far as batches are without a receipt.
    public let batches: [String: Int]

    public init(number: Int, ingest: String, incarnation: String, session: Int, batches: [String: Int]) {
        self.number = number
        self.ingest = ingest
        self.incarnation = incarnation
        self.session = session
        self.batches = batches
    }
}

// MARK: - From the owner of a partition to the store

/// What one step of a partition's owner changes, in one frame: committed whole or not at all.
public struct StoreFrame: Codable, Sendable {
    public let partition: Int
    public let epoch: Int
    public var entries: [StoreEntry]

    public init(partition: Int, epoch: Int, entries: [StoreEntry]) {
        self.partition = partition
        self.epoch = epoch
        self.entries = entries
    }
}

/// One change. What is absent stays as it is.
public struct StoreEntry: Codable, Sendable {
    /// An agent's new state.
    public var state: AgentState?
    /// The event that goes with it: history, a lifecycle message and, with a state, the retained status.
    public var event: AgentEventEntry?
    /// The agent is gone: its state is removed, its retained status cleared, its numbers kept.
    public var tombstone: Tombstone?
    /// The agent's one outstanding wake order: a new one replaces the one before.
    public var order: WakeOrder?
    /// The agent has no outstanding wake order any more.
    public var settledOrder: AgentAddress?
    public var credential: CredentialChange?
    public var gateway: GatewayState?
    public var removedGateway: String?
    public var gatewayEvent: GatewayEventEntry?
    public var boardPause: BoardPause?
    public var resumedBoard: String?
    public var answer: AnswerEntry?
    /// A command that was begun: whoever owns the partition carries it on until it is answered.
    public var undertaking: Undertaking?
    /// What changed without an event: written behind.
    public var sightings: [Sighting]?
    /// The common case of them: when agents were last seen.
    public var seen: SeenAgents?

    public init() {}
}

public struct AgentEventEntry: Codable, Sendable {
    public let id: String
    public let event: LifecycleEvent
    public let agent: AgentAddress
    public let reason: String?
    public let time: Timestamp
    public let source: String
    public let traceparent: String?

    public init(
        id: String, event: LifecycleEvent, agent: AgentAddress, reason: String?, time: Timestamp, source: String,
        traceparent: String?
    ) {
        self.id = id
        self.event = event
        self.agent = agent
        self.reason = reason
        self.time = time
        self.source = source
        self.traceparent = traceparent
    }
}

public struct GatewayEventEntry: Codable, Sendable {
    public let id: String
    public let time: Timestamp
    public let source: String
    public let message: GatewayLifecycleMessage

    public init(id: String, time: Timestamp, source: String, message: GatewayLifecycleMessage) {
        self.id = id
        self.time = time
        self.source = source
        self.message = message
    }
}

/// What the broker must know of an identity before the answer goes out.
public struct CredentialChange: Codable, Hashable, Sendable {
    public enum Change: Codable, Hashable, Sendable {
        case set(digest: String)
        /// The new secret works at once, the old one until the new one is used, at most so many seconds.
        case overlap(digest: String, seconds: Int)
        case remove
    }

    public let username: String
    public let change: Change

    public init(username: String, change: Change) {
        self.username = username
        self.change = change
    }
}

/// The answer to a request, sent once its effect is committed.
public struct AnswerEntry: Codable, Sendable {
    public let requestID: String
    public let requestDigest: String
    public let isKeyed: Bool
    public let provisioner: String
    /// `nil`: the request was executed before; the stored outcome is the answer.
    public let outcome: CommandOutcome?
    /// Whether the outcome ends the request: a render question does not.
    public let isFinal: Bool
    /// With a repeated outcome: whether the token minted for this repeat is the agent's now.
    public let minted: Bool

    public init(
        requestID: String, requestDigest: String, isKeyed: Bool, provisioner: String, outcome: CommandOutcome?,
        isFinal: Bool,
        minted: Bool
    ) {
        self.requestID = requestID
        self.requestDigest = requestDigest
        self.isKeyed = isKeyed
        self.provisioner = provisioner
        self.outcome = outcome
        self.isFinal = isFinal
        self.minted = minted
    }
}

/// A command whose effect is complete, and answered, only later: committed before the first of its effects.
public struct Undertaking: Codable, Hashable, Sendable {
    public let request: PartitionRequest
    /// The agents that it was about.
    public let count: Int

    public init(request: PartitionRequest, count: Int) {
        self.request = request
        self.count = count
    }
}

/// What a command came to.
public enum CommandOutcome: Codable, Sendable {
    /// `minted`: the candidate secret of the request is the agent's now.
    case record(AgentRecord, minted: Bool)
    case paused(Int)
    case gateway(String, minted: Bool)
    case gatewayRemoved(String, deletedAgents: Int)
    case refused(Problem)
    /// The owner needs the digest of files rendered from these; the request is to be sent again with it.
    case render(RenderInputs)
}

/// When agents were last seen, as two columns: half the bytes and a fifth of the decoding of one object each.
public struct SeenAgents: Codable, Hashable, Sendable {
    /// Full addresses.
    public var agents: [String] = []
    /// Milliseconds since 1970, one for each.
    public var at: [Int64] = []

    public init() {}
}

public struct Sighting: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let lastSeenAt: Timestamp?
    public let lastRejection: Rejection?

    public init(agent: AgentAddress, lastSeenAt: Timestamp?, lastRejection: Rejection?) {
        self.agent = agent
        self.lastSeenAt = lastSeenAt
        self.lastRejection = lastRejection
    }
}

// MARK: - From the store

/// A partition given to a reconciler, with all it needs, in chunks: it owns it once it has every chunk.
public struct GrantChunk: Codable, Sendable {
    public let partition: Int
    public let epoch: Int
    /// The reconciler's life that it is meant for.
    public let incarnation: String
    public let index: Int
    public let count: Int
    public var agents: [AgentState] = []
    public var tombstones: [Tombstone] = []
    public var gateways: [GatewayState] = []
    public var boardPauses: [BoardPause] = []
    public var requests: [RememberedRequest] = []

    public init(partition: Int, epoch: Int, incarnation: String, index: Int, count: Int) {
        self.partition = partition
        self.epoch = epoch
        self.incarnation = incarnation
        self.index = index
        self.count = count
    }
}

/// A request that was executed: the same id is not executed again.
public struct RememberedRequest: Codable, Hashable, Sendable {
    public let id: String
    public let digest: String
    public let until: Timestamp
    /// What it minted a secret for, when it did: a repeat may mint again while that one was never used.
    public let mintedFor: String?
    /// What is not answered yet.
    public var undertaking: Undertaking?

    public init(id: String, digest: String, until: Timestamp, mintedFor: String?) {
        self.id = id
        self.digest = digest
        self.until = until
        self.mintedFor = mintedFor
    }
}

/// What the store sends to one reconciler.
public enum ReconcilerMessage: Codable, Sendable {
    case grant(GrantChunk)
    /// The partition is somebody else's now, or a frame came under an old epoch: forget it.
    case revoke(partition: Int, epoch: Int)
}

/// A wake order on its way to any provisioner.
public struct OrderMessage: Codable, Sendable {
    public let order: WakeOrder
    /// How old it was when it was sent, in milliseconds.
    public let age: Int64

    public init(order: WakeOrder, age: Int64) {
        self.order = order
        self.age = age
    }
}

/// From the store to the provisioner that forwarded a request or asked a question.
public enum ProvisionerMessage: Codable, Sendable {
    /// `minted`: the token that this provisioner minted for the request is in force.
    case answer(requestID: String, outcome: CommandOutcome, minted: Bool)
    case found(questionID: String, AgentRecord?)
}

/// A question of a provisioner: the committed record of an agent.
public struct RecordQuestion: Codable, Sendable {
    public let questionID: String
    public let agent: AgentAddress
    public let provisioner: String

    public init(questionID: String, agent: AgentAddress, provisioner: String) {
        self.questionID = questionID
        self.agent = agent
        self.provisioner = provisioner
    }
}

/// What a service counted since its start, and the processor time it used; published once a second for benchmarks.
public struct CounterMessage: Codable, Sendable {
    public let service: String
    public let instance: String
    public let counters: [String: Int64]
    public let cpuSeconds: Double

    public init(service: String, instance: String, counters: [String: Int64], cpuSeconds: Double) {
        self.service = service
        self.instance = instance
        self.counters = counters
        self.cpuSeconds = cpuSeconds
    }
}
