internal import API
public import Lifecycle
public import Model

// From the store. Internal, as all of `StreamMessages.swift`.

/// A partition given to a reconciler, with all it needs, in chunks: it owns it once it has every chunk.
public struct GrantChunk: Codable, Sendable {
    public let partition: Int
    public let epoch: Int
    /// The reconciler's incarnation that it is meant for.
    public let incarnation: String
    public let index: Int
    public let isLast: Bool
    /// As they are stored: the store reads none of them.
    public var carriedAgents: [Carried<AgentState>] = []
    public var tombstones: [Tombstone] = []
    public var gateways: [GatewayState] = []
    public var boardPauses: [BoardPause] = []
    public var requests: [RememberedRequest] = []

    public init(partition: Int, epoch: Int, incarnation: String, index: Int, isLast: Bool) {
        self.partition = partition
        self.epoch = epoch
        self.incarnation = incarnation
        self.index = index
        self.isLast = isLast
    }

    /// What is carried, read. A frame with one that cannot be read is refused as a whole.
    public var agents: [AgentState] {
        get { carriedAgents.compactMap(\.value) }
        set { carriedAgents = newValue.map { Carried($0) } }
    }

    enum CodingKeys: String, CodingKey {
        case partition, epoch, incarnation, index, isLast, tombstones, gateways, boardPauses, requests
        case carriedAgents = "agents"
    }
}

/// A request that was executed: the same id is not executed again.
public struct RememberedRequest: Codable, Hashable, Sendable {
    public let id: String
    public let digest: String
    /// By the store's own clock, which is nobody else's.
    public let until: Timestamp
    /// What was left of its time when it was granted, in milliseconds. Its owner remembers it for at least the shorter lifetime.
    public private(set) var left: Int64?
    /// What it minted a secret for, when it did: a repeat may mint again while that one was never used.
    public let mintedFor: String?
    /// What is not answered yet.
    public var intentRecord: IntentRecord?

    /// How long a request is remembered: with a key for a day, else for longer than it may be repeated.
    public static func lifetime(isKeyed: Bool) -> TimeSpan {
        .seconds(isKeyed ? Int64(Limits.idempotencyHours) * 3_600 : 600)
    }

    public init(id: String, digest: String, until: Timestamp, mintedFor: String?) {
        self.id = id
        self.digest = digest
        self.until = until
        self.mintedFor = mintedFor
    }

    /// As it is granted when the store's clock says `kept`.
    public func with(kept: Timestamp) -> RememberedRequest {
        var request = self
        request.left = until.span(since: kept).milliseconds
        return request
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
    /// `digest`: of the request that is answered; an id may have been used for another one as well. `mintedToken`: the id of the
    /// token that was minted for the request and is in force; a repeat of the request may have brought another one since.
    case answer(requestID: String, digest: String?, outcome: CommandOutcome, mintedToken: String?)
    case found(questionID: String, AgentRecord?)
    /// The key is kept for the request with this digest, the first that claimed it; it is committed.
    case claimed(requestID: String, digest: String)
}

/// A provisioner's claim of an idempotency key, before it forwards the request.
///
/// Owners know what was executed in their own partition; a key belongs to one request of all partitions.
public struct KeyClaim: Codable, Hashable, Sendable {
    public let requestID: String
    /// SHA-256 of verb and payload, as in `PartitionRequest`.
    public let digest: String
    public let provisioner: String

    public init(requestID: String, digest: String, provisioner: String) {
        self.requestID = requestID
        self.digest = digest
        self.provisioner = provisioner
    }
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

/// How hard a service works; published once a second for benchmarks.
public struct CounterMessage: Codable, Sendable {
    public let service: String
    public let instance: String
    /// Received by an ingest, accepted by a reconciler, since its start.
    public let heartbeats: Int64
    /// Since its start.
    public let stalls: Int64
    /// Of the turns since the message before, in milliseconds; and for how long of it one had a processor.
    public let longestTurn: Int64
    public let longestWork: Int64
    public let cpuSeconds: Double

    public init(
        service: String, instance: String, heartbeats: Int64, stalls: Int64, longestTurn: Int64, longestWork: Int64,
        cpuSeconds: Double
    ) {
        self.service = service
        self.instance = instance
        self.heartbeats = heartbeats
        self.stalls = stalls
        self.longestTurn = longestTurn
        self.longestWork = longestWork
        self.cpuSeconds = cpuSeconds
    }
}
