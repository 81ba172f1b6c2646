public import Model

/// A wake as it is published: the frozen order and this publication's deadline.
public struct WakeMessage: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let generation: Int
    public let attempt: Int
    public let maxAttempts: Int
    public let reason: WakeReason
    public let deadlineAt: Timestamp
    public let heartbeatTopic: String
    public let heartbeatInterval: DurationText
    public let resetSession: Bool
    public let templatesDigest: String?

    public init(_ order: WakeOrder, deadlineAt: Timestamp, topics: Topics) {
        agent = order.agent
        generation = order.generation
        attempt = order.attempt
        maxAttempts = order.maxAttempts
        reason = order.reason
        self.deadlineAt = deadlineAt
        heartbeatTopic = topics.heartbeat(order.agent)
        heartbeatInterval = order.heartbeatInterval
        resetSession = order.resetSession
        templatesDigest = order.templatesDigest
    }

    enum CodingKeys: String, CodingKey {
        case agent, generation, attempt, reason
        case maxAttempts = "max_attempts"
        case deadlineAt = "deadline_at"
        case heartbeatTopic = "heartbeat_topic"
        case heartbeatInterval = "heartbeat_interval"
        case resetSession = "reset_session"
        case templatesDigest = "templates_digest"
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(agent, forKey: .agent)
        try container.encode(generation, forKey: .generation)
        try container.encode(attempt, forKey: .attempt)
        try container.encode(reason, forKey: .reason)
        try container.encode(maxAttempts, forKey: .maxAttempts)
        try container.encode(deadlineAt, forKey: .deadlineAt)
        try container.encode(heartbeatTopic, forKey: .heartbeatTopic)
        try container.encode(heartbeatInterval, forKey: .heartbeatInterval)
        try container.encode(resetSession, forKey: .resetSession)
        try container.encode(templatesDigest, forKey: .templatesDigest)
    }
}

/// The payload of a lifecycle event of an agent.
public struct LifecycleMessage: Codable, Hashable, Sendable {
    public let event: LifecycleEvent
    public let reason: String?
    public let record: AgentRecord?

    public init(event: LifecycleEvent, reason: String?, record: AgentRecord?) {
        self.event = event
        self.reason = reason
        self.record = record
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(event, forKey: .event)
        try container.encode(reason, forKey: .reason)
        try container.encode(record, forKey: .record)
    }

    enum CodingKeys: String, CodingKey { case event, reason, record }
}

/// The payload of a lifecycle event of a gateway.
public struct GatewayLifecycleMessage: Codable, Hashable, Sendable {
    public let event: GatewayEvent
    public let gateway: String
    /// How many agents are behind it.
    public let agents: Int
    /// How many events of it came too fast to be told since the one before; absent when none did.
    public let leftOut: Int?

    public init(event: GatewayEvent, gateway: String, agents: Int, leftOut: Int? = nil) {
        self.event = event
        self.gateway = gateway
        self.agents = agents
        self.leftOut = leftOut
    }

    enum CodingKeys: String, CodingKey {
        case event, gateway, agents
        case leftOut = "left_out"
    }
}

/// The CloudEvents 1.0 attributes of a lifecycle event; over MQTT 5 each is a user property with its plain name
/// (CloudEvents MQTT binding §3.1.3).
public struct CloudEventAttributes: Hashable, Sendable {
    public let id: String
    public let source: String
    public let type: String
    public let subject: String
    public let time: Timestamp
    public let sequence: String?
    public let traceparent: String?

    public init(
        id: String, source: String, type: String, subject: String, time: Timestamp, revision: Int?, traceparent: String?
    ) {
        self.id = id
        self.source = source
        self.type = type
        self.subject = subject
        self.time = time
        sequence = revision.map(CloudEventAttributes.sequence(of:))
        self.traceparent = traceparent
    }

    public static func type(of event: LifecycleEvent) -> String { "dev.rollcall.agent.\(event.rawValue).v1" }
    public static func type(of event: GatewayEvent) -> String { "dev.rollcall.gateway.\(event.rawValue).v1" }

    /// A revision as 20 digits, so that text order is number order.
    public static func sequence(of revision: Int) -> String {
        let digits = String(revision)
        return String(repeating: "0", count: max(0, 20 - digits.utf8.count)) + digits
    }

    public var userProperties: [(String, String)] {
        var properties = [
            ("specversion", "1.0"), ("id", id), ("source", source), ("type", type), ("subject", subject),
            ("time", time.description),
        ]
        if let sequence { properties.append(("sequence", sequence)) }
        if let traceparent { properties.append(("traceparent", traceparent)) }
        return properties
    }
}

/// One event of an agent or a gateway, as `history` and `watch --json` show it.
public struct HistoryEvent: Codable, Hashable, Sendable {
    public let id: String
    public let event: String
    public let time: Timestamp
    public let source: String
    /// An agent's address, or a gateway.
    public let subject: String
    public let reason: String?
    public let record: AgentRecord?
    /// Of a gateway's event, as in its message.
    public private(set) var gateway: String?
    public private(set) var agents: Int?
    public private(set) var leftOut: Int?

    public init(
        id: String, event: LifecycleEvent, time: Timestamp, source: String, subject: AgentAddress, reason: String?,
        record: AgentRecord?
    ) {
        self.id = id
        self.event = event.rawValue
        self.time = time
        self.source = source
        self.subject = subject.description
        self.reason = reason
        self.record = record
    }

    public init(id: String, time: Timestamp, source: String, _ message: GatewayLifecycleMessage) {
        self.id = id
        event = message.event.rawValue
        self.time = time
        self.source = source
        subject = message.gateway
        reason = nil
        record = nil
        gateway = message.gateway
        agents = message.agents
        leftOut = message.leftOut
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(event, forKey: .event)
        try container.encode(time, forKey: .time)
        try container.encode(source, forKey: .source)
        try container.encode(subject, forKey: .subject)
        try container.encode(reason, forKey: .reason)
        try container.encode(record, forKey: .record)
        try container.encodeIfPresent(gateway, forKey: .gateway)
        try container.encodeIfPresent(agents, forKey: .agents)
        try container.encodeIfPresent(leftOut, forKey: .leftOut)
    }

    enum CodingKeys: String, CodingKey {
        case id, event, time, source, subject, reason, record, gateway, agents
        case leftOut = "left_out"
    }
}

/// What a gateway says of its connection, retained and as its Last Will. Other members are ignored.
public struct GatewayStatusMessage: Codable, Hashable, Sendable {
    public enum State: String, Codable, Sendable, CaseIterable { case connected, lost, stopped }
    public let state: State
    /// New at each start of the gateway.
    public let bootID: String?

    public init(state: State, bootID: String? = nil) {
        self.state = state
        self.bootID = bootID
    }

    /// As a gateway has written it.
    ///
    /// - Throws: the member and what is wrong with it.
    public init(reading payload: [UInt8]) throws(JSONFault) {
        let value = try JSON.read(payload)
        guard let members = value.object else { throw JSONFault("is \(value.typeName), not an object") }
        guard let state = members["state"]?.string.flatMap(State.init) else {
            throw JSONFault(
                member: "state", "is none of \(State.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        let boot = members["boot_id"] ?? .null
        guard boot == .null || boot.string != nil else { throw JSONFault(member: "boot_id", "is not a text") }
        self.init(state: state, bootID: boot.string)
    }

    enum CodingKeys: String, CodingKey {
        case state
        case bootID = "boot_id"
    }
}

/// What the status store could never commit and put aside: it is kept in the database, counted, and listed here.
public struct DeadLetterReport: Codable, Hashable, Sendable {
    public struct Letter: Codable, Hashable, Sendable {
        /// They are counted from 1, and never anew.
        public let number: Int
        public let at: Timestamp
        /// `instance/incarnation/stream` of the reconciler that sent it, and its number there.
        public let stream: String
        public let seq: Int
        public let error: String

        public init(number: Int, at: Timestamp, stream: String, seq: Int, error: String) {
            self.number = number
            self.at = at
            self.stream = stream
            self.seq = seq
            self.error = error
        }
    }

    /// How many there ever were, and how many are kept.
    public let total: Int
    public let kept: Int
    public let newest: [Letter]

    public init(total: Int, kept: Int, newest: [Letter]) {
        self.total = total
        self.kept = kept
        self.newest = newest
    }
}

/// What a service says of itself, retained, refreshed every 2 s, with a Last Will.
public struct Presence: Codable, Hashable, Sendable {
    public enum State: String, Codable, Sendable { case running, stopped, lost }

    public var service: String
    public var instance: String
    public var state: State
    public var version: String
    public var startedAt: Timestamp
    /// Covers what must be equal everywhere.
    public var configDigest: String
    /// New at each start of the process.
    public var incarnation: String
    /// Of a reconciler: the partitions it owns, each with its epoch, in decimal.
    public var partitions: [String: Int]?
    /// Of the status store: how many partitions there are.
    public var partitionCount: Int?
    /// Of a heartbeat-ingest: the number of its subscription to heartbeats, new whenever some may have passed it by; absent
    /// while it has none.
    public var heartbeatSession: Int?
    /// Of a reconciler: why nothing is judged just now; absent while all is well.
    public var suspended: String?
    /// Since when nothing is judged, while it is not.
    public var suspendedSince: Timestamp?
    /// How often nothing could be judged since the start, the start included, and how long in all.
    public var suspensions: Int?
    public var suspendedMilliseconds: Int?
    /// Deadlines put off because of it.
    public var deferredDeadlines: Int?
    /// Of the status store: why nothing can be committed just now; absent while all is well.
    public var trouble: String?
    /// Of the status store: why it serves nobody; absent while it does.
    public var unserved: String?
    /// Of the status store: the frames that were put aside; absent when none is kept.
    public var deadLetters: DeadLetterReport?
    /// What somebody has to see to before it does harm; absent while there is nothing.
    public var warnings: [ServiceWarning]?
    /// When it said so, by its own clock; absent when it does not run.
    public var time: Timestamp?

    /// As on its topic: `SERVICE/INSTANCE`.
    public var name: String { "\(service)/\(instance)" }

    public init(
        service: ServiceName, instance: String, state: State, startedAt: Timestamp, configDigest: String,
        incarnation: String
    ) {
        self.service = service.rawValue
        self.instance = instance
        self.state = state
        version = ContractVersion.product
        self.startedAt = startedAt
        self.configDigest = configDigest
        self.incarnation = incarnation
    }

    enum CodingKeys: String, CodingKey {
        case service, instance, state, version, incarnation, partitions, trouble, unserved, warnings, time
        case suspended = "blind"
        case deadLetters = "dead_letters"
        case startedAt = "started_at"
        case configDigest = "config_digest"
        case partitionCount = "partition_count"
        case heartbeatSession = "heartbeat_session"
        case suspendedSince = "blind_since"
        case suspensions = "blind_spells"
        case suspendedMilliseconds = "blind_milliseconds"
        case deferredDeadlines = "deferred_deadlines"
    }

    public mutating func warn(_ warning: ServiceWarning?) {
        if let warning { warnings = (warnings ?? []) + [warning] }
    }

    public static let refreshInterval = TimeSpan.seconds(2)
    public static let expirySeconds: UInt32 = 10
}
