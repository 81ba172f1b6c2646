public import API
public import Lifecycle
public import Model
public import Wire

// What a database tells.

/// An epoch of a partition under which nothing is taken any more.
public struct EndedEpoch: Hashable, Sendable {
    public let partition: Int
    public let epoch: Int

    package init(partition: Int, epoch: Int) {
        self.partition = partition
        self.epoch = epoch
    }
}

public struct PartitionOwner: Hashable, Sendable {
    public let partition: Int
    public let epoch: Int
    public let instance: String
    public let incarnation: String
    /// The stream that its frames come on, empty before the first.
    public let stream: String
    public let appliedSeq: Int

    package init(partition: Int, epoch: Int, instance: String, incarnation: String, stream: String, appliedSeq: Int) {
        self.partition = partition
        self.epoch = epoch
        self.instance = instance
        self.incarnation = incarnation
        self.stream = stream
        self.appliedSeq = appliedSeq
    }
}

/// All that lies in a partition at the moment of its grant.
public struct PartitionSnapshot: Sendable {
    public let partition: Int
    public let epoch: Int
    public var tombstones: [Tombstone] = []
    public var gateways: [Carried<GatewayState>] = []
    public var boardPauses: [BoardPause] = []
    /// Where its agents and requests lie.
    public var agentPlaces: [Int64] = []
    public var requestPlaces: [Int64] = []

    package init(partition: Int, epoch: Int) {
        self.partition = partition
        self.epoch = epoch
    }
}

/// One thing to publish; `sequence` orders it among all others.
public struct OutboxEntry: Sendable {
    public enum Content: Sendable {
        case event(PublishedEvent)
        case gatewayEvent(GatewayEventEntry)
        case answer(provisioner: String, Carried<ProvisionerMessage>)
        case credential(CredentialChange)
        /// A gateway was removed: what it said last of its connection is cleared.
        case gatewayCleared(String)
    }

    public let sequence: Int64
    public let content: Content

    package init(sequence: Int64, content: Content) {
        self.sequence = sequence
        self.content = content
    }
}

/// An event of an agent with what it does to its retained status.
public struct PublishedEvent: Sendable {
    public enum StatusChange: Int, Sendable {
        case none, set, clear
    }

    public let id: String
    public let event: LifecycleEvent
    public let agent: AgentAddress
    public let revision: Int
    public let reason: String?
    public let time: Timestamp
    public let source: String
    public let traceparent: String?
    public let record: Carried<AgentRecord>?
    public let status: StatusChange

    package init(
        id: String, event: LifecycleEvent, agent: AgentAddress, revision: Int, reason: String?, time: Timestamp,
        source: String, traceparent: String?, record: Carried<AgentRecord>?, status: StatusChange
    ) {
        self.id = id
        self.event = event
        self.agent = agent
        self.revision = revision
        self.reason = reason
        self.time = time
        self.source = source
        self.traceparent = traceparent
        self.record = record
        self.status = status
    }
}

/// What an agent's retained status is; `nil`: there is none.
public struct StatusEntry: Sendable {
    public let agent: AgentAddress
    public let sequence: Int64
    public let record: Carried<AgentRecord>?

    package init(agent: AgentAddress, sequence: Int64, record: Carried<AgentRecord>?) {
        self.agent = agent
        self.sequence = sequence
        self.record = record
    }
}

public struct Identity: Hashable, Sendable {
    /// Digests before the newest that are kept: the oldest, and the newest of the others.
    public static let supersededMax = 4

    /// Tokens before the newest count until it is used, at most until a moment of the wall clock.
    public struct Overlap: Hashable, Sendable {
        /// Oldest first. Of a second rotation in this time the one before the first may be in use.
        public let superseded: [String]
        public let until: Timestamp

        package init(superseded: [String], until: Timestamp) {
            self.superseded = superseded
            self.until = until
        }
    }

    public let username: String
    public let digest: String
    /// The newest rotation with an overlap, be it over or not.
    public let overlap: Overlap?

    package init(username: String, digest: String, overlap: Overlap?) {
        self.username = username
        self.digest = digest
        self.overlap = overlap
    }
}

/// A token of an identity that was used, by its digest.
public struct UsedToken: Hashable, Sendable {
    public let username: String
    public let digest: String

    public init(username: String, digest: String) {
        self.username = username
        self.digest = digest
    }
}

public struct OutstandingOrder: Sendable {
    public let agent: AgentAddress
    public let position: Int64
    public let order: Carried<WakeOrder>

    package init(agent: AgentAddress, position: Int64, order: Carried<WakeOrder>) {
        self.agent = agent
        self.position = position
        self.order = order
    }
}

public struct StoredRecord: Sendable {
    public let agent: AgentAddress
    public let record: Carried<AgentRecord>

    package init(agent: AgentAddress, record: Carried<AgentRecord>) {
        self.agent = agent
        self.record = record
    }
}

public struct StoredEvent: Sendable {
    public let sequence: Int64
    /// Of what agent the event is, or of what gateway: `GATEWAY/`.
    public let agent: String
    public let kind: String
    public let event: Carried<HistoryEvent>

    package init(sequence: Int64, agent: String, kind: String, event: Carried<HistoryEvent>) {
        self.sequence = sequence
        self.agent = agent
        self.kind = kind
        self.event = event
    }
}

public struct StoredGateway: Sendable {
    public let gateway: String
    public let state: Carried<GatewayState>
    /// How many of its agents are in each status; kept with each commit.
    public let counts: [AgentStatus: Int]

    package init(gateway: String, state: Carried<GatewayState>, counts: [AgentStatus: Int]) {
        self.gateway = gateway
        self.state = state
        self.counts = counts
    }

    public var agents: Int { counts.values.reduce(0, +) }
}
