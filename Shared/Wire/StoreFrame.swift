public import API
public import Lifecycle
public import Model

// From the owner of a partition to the store. Internal, as all of `StreamMessages.swift`.

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

/// What belongs together: committed whole or not at all, in the order of the cases of `StoreChange`.
///
/// - Precondition: at most one change of an agent or event, and of every other kind; in that order.
public struct StoreEntry: Sendable {
    public private(set) var changes: [StoreChange]

    public init(_ changes: StoreChange...) {
        self.init(changes)
    }

    public init(_ changes: [StoreChange]) {
        self.changes = changes
    }

    public mutating func append(_ change: StoreChange) { changes.append(change) }

    /// Whether an agent's event goes out with it.
    public var hasEvent: Bool {
        changes.contains { change in
            switch change {
            case .agent(_, .some), .event, .removal: true
            default: false
            }
        }
    }
}

public enum StoreChange: Sendable {
    /// An agent's new state. With an event: history, a lifecycle message and the retained status.
    case agent(Carried<AgentState>, AgentEventEntry?)
    /// An event that changes no state.
    case event(AgentEventEntry)
    /// The agent is gone: its last state and event go out, its retained status is cleared, its numbers are kept.
    case removal(Carried<AgentState>, AgentEventEntry, Tombstone)
    /// What changed without an event, written behind: when agents were last seen.
    case seen(SeenAgents)
    /// The same of those with a rejection.
    case lastSeen([LastSeenUpdate])
    /// The agent's one outstanding wake order: it replaces the one before.
    case order(Carried<WakeOrder>)
    /// The agent has no outstanding wake order any more.
    case settledOrder(AgentAddress)
    case gatewayEvent(GatewayEventEntry)
    case gateway(GatewayState)
    case boardPause(BoardPause)
    case resumedBoard(String)
    case credential(CredentialChange)
    /// After its credential is gone it can say nothing more.
    case removedGateway(String)
    /// A command that was begun: whoever owns the partition carries it on until it is answered.
    case intent(IntentRecord)
    case answer(AnswerEntry)
}

/// A value that the store keeps as it came, and does not decode: its JSON as bytes.
///
/// To decode a state and encode it again took the store more than half of its time. Where nothing is encoded at all, it is the
/// value itself.
public struct Carried<Value: Codable & Sendable>: Codable, Sendable {
    private enum Form: Sendable {
        case value(Value)
        case encoded([UInt8])
    }

    private let form: Form

    public init(_ value: Value) {
        form = .value(value)
    }

    /// One whose JSON these bytes are, or should be.
    public init(encoded bytes: [UInt8]) {
        form = .encoded(bytes)
    }

    public init(from decoder: any Decoder) throws {
        self.init(try Value(from: decoder))
    }

    public func encode(to encoder: any Encoder) throws {
        if case .encoded(let bytes) = form, JSON.insert(bytes, into: encoder) { return }
        try decode().encode(to: encoder)
    }

    /// Its JSON.
    public var bytes: [UInt8] {
        switch form {
        case .value(let value): WireFormat.bytes(value)
        case .encoded(let bytes): bytes
        }
    }

    /// How many bytes its JSON has; `nil` while it has none.
    public var encodedSize: Int? {
        switch form {
        case .value: nil
        case .encoded(let bytes): bytes.count
        }
    }

    /// The value.
    ///
    /// - Throws: what `JSON.describe` puts into words, when what came is no such value.
    public func decode() throws -> Value {
        switch form {
        case .value(let value): value
        case .encoded(let bytes): try WireFormat.decode(Value.self, from: bytes)
        }
    }

    /// `nil` when what came is no such value.
    public var value: Value? { try? decode() }
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
    /// The id of the token that is in force by this: it was minted for this request, or for this repeat of it.
    public let mintedToken: String?

    public init(
        requestID: String, requestDigest: String, isKeyed: Bool, provisioner: String, outcome: CommandOutcome?,
        isFinal: Bool,
        mintedToken: String?
    ) {
        self.requestID = requestID
        self.requestDigest = requestDigest
        self.isKeyed = isKeyed
        self.provisioner = provisioner
        self.outcome = outcome
        self.isFinal = isFinal
        self.mintedToken = mintedToken
    }
}

/// A command whose effect is complete, and answered, only later: committed before the first of its effects, or with it.
public struct IntentRecord: Codable, Hashable, Sendable {
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
    /// The next names of the agents whose templates are meant; none when there are no more.
    case members([String])
    /// `isChanged`: it was to run others before, or this was forced.
    case templatesSynced(Role, isChanged: Bool)
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

public struct LastSeenUpdate: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let lastSeenAt: Timestamp?
    public let lastRejection: Rejection?

    public init(agent: AgentAddress, lastSeenAt: Timestamp?, lastRejection: Rejection?) {
        self.agent = agent
        self.lastSeenAt = lastSeenAt
        self.lastRejection = lastRejection
    }
}
