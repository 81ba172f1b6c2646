public import API
public import Lifecycle
public import Model

/// What is known of a system at one moment, from its bus: all that a diagnosis looks at.
public struct Snapshot: Sendable {
    public enum Broker: Hashable, Sendable {
        case reached
        case unreachable(String)
        /// It does not let us in, or not read.
        case refused(String)
    }

    public struct Gateway: Hashable, Sendable {
        public let name: String
        public let state: GatewayState.Connection
        public let agents: Int

        public init(name: String, state: GatewayState.Connection, agents: Int) {
            self.name = name
            self.state = state
            self.agents = agents
        }
    }

    /// Something that happened to the agent that is asked about.
    public struct Event: Hashable, Sendable {
        public let event: String
        public let at: Timestamp
        /// Why its wake could not be sent.
        public let error: String?

        public init(event: String, at: Timestamp, error: String? = nil) {
            self.event = event
            self.at = at
            self.error = error
        }
    }

    public var at: Timestamp
    public var broker: Broker
    public var services: [Presence] = []
    public var incarnations = Incarnations()
    /// By service, by how many milliseconds its clock was ahead of ours when its newest presence came. It is up to ten seconds
    /// behind when that presence was retained.
    public var clocks: [String: Int64] = [:]
    /// Whether a lookup was answered; `nil`: none was asked.
    public var isAnswered: Bool?
    /// The broker's own counters by the end of their topic (`$SYS/broker/…`), at the beginning and now.
    public var observedFor = TimeSpan.zero
    public var countersBefore: [String: Int64] = [:]
    public var counters: [String: Int64] = [:]
    public var gateways: [Gateway] = []
    /// The agent that is asked about; `nil`: the whole system.
    public var subject: AgentAddress?
    /// Its record, or those of all agents that may not be well.
    public var records: [AgentRecord] = []
    /// What happened to it, newest first.
    public var events: [Event] = []

    public init(at: Timestamp, broker: Broker) {
        self.at = at
        self.broker = broker
    }
}
