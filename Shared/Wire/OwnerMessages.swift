public import API
internal import Lifecycle
public import Model

// To the owner of a partition, from provisioners and ingests. Internal, as all of `StreamMessages.swift`.

/// Everything that the owner of a partition is told.
public enum PartitionMessage: Codable, Sendable {
    case request(PartitionRequest)
    case report(WakeReport)
    case batch(HeartbeatBatch)
    /// An ingest is about to take heartbeats by its subscription of this number; its acknowledgement says that the owner knows it.
    case introduction(subscription: Int)
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
    /// The agent's record must have one of these revisions when the command is executed, whatever it is then.
    public let revisions: [Int]?

    public init(
        id: String, digest: String, isKeyed: Bool, command: Command, minted: MintedToken?, rendered: RenderedTemplates?,
        traceparent: String?, provisioner: String, revisions: [Int]? = nil
    ) {
        self.id = id
        self.digest = digest
        self.isKeyed = isKeyed
        self.command = command
        self.minted = minted
        self.rendered = rendered
        self.traceparent = traceparent
        self.provisioner = provisioner
        self.revisions = revisions
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
    public let publication: Int
    public let outcome: Outcome
    /// Milliseconds from the publication (the failure) to the making of this report.
    public let age: Int64

    public init(_ order: WakeOrder, outcome: Outcome, age: Int64) {
        agent = order.agent
        generation = order.generation
        attempt = order.attempt
        publication = order.publication
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
        public var names: NameRun
        /// A heartbeat that says more; such a segment has no names.
        public var detail: HeartbeatDetail?

        public init(at: Int64, age: Int64, gateway: String?, names: NameRun, detail: HeartbeatDetail?) {
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
    public var reason: StoppingReason?
    public var exitStatus: Int?
    public var extend: DurationText?
    public var generation: Int?
    public var attempt: Int?
    public var bootID: String?
    public var seq: Int64?
    public var templatesDigest: String?
    public var note: String?
    public var tokenDigest: String?
    /// Its form was wrong: `malformed` or `too_large`.
    public var rejected: RejectionReason?
    /// What is wrong with it, for people.
    public var rejectionDetail: String?
    /// Who waits to be told what becomes of it.
    public var asker: HeartbeatAsker?

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
    /// The subscription that the canary came through; `nil` when it has none, and there was no way to prove.
    public let session: Int?
    /// The newest batch for each partition, by its number, as far as batches are without an acknowledgement.
    public let batches: [String: Int]
    /// It takes no new heartbeats any more, and hands over what it has; absent: it does not say so.
    public let isStopping: Bool?

    public init(
        number: Int, ingest: String, incarnation: String, session: Int?, batches: [String: Int],
        isStopping: Bool = false
    ) {
        self.number = number
        self.ingest = ingest
        self.incarnation = incarnation
        self.session = session
        self.batches = batches
        self.isStopping = isStopping ? true : nil
    }
}

/// The Last Will of the connection on which an ingest takes heartbeats: from now on nothing is given to it there.
public struct HeartbeatSubscriptionEnded: Codable, Hashable, Sendable {
    public let ingest: String
    public let incarnation: String
    /// The number of the subscription; its subscription has the same.
    public let subscription: Int

    public init(ingest: String, incarnation: String, subscription: Int) {
        self.ingest = ingest
        self.incarnation = incarnation
        self.subscription = subscription
    }
}
