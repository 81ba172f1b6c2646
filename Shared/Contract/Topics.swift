public import Lifecycle

/// The topics of one system, below its root.
public struct Topics: Hashable, Sendable {
    public static let defaultRoot = "rollcall/v1"

    public let root: String

    public init(root: String = Topics.defaultRoot) {
        self.root = root
    }

    /// Whether `text` may be a root: one or two plain levels (MQTT 5 §4.7), so that no topic has more than eight.
    public static func isValidRoot(_ text: String) -> Bool {
        let levels = text.split(separator: "/", omittingEmptySubsequences: false)
        return levels.count <= 2
            && levels.allSatisfy { level in
                !level.isEmpty && level.utf8.count <= 63 && !level.hasPrefix("$")
                    && level.utf8.allSatisfy {
                        $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#")
                    }
            }
    }

    // MARK: Agents and gateways

    public func heartbeat(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/heartbeat" }
    public func wake(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/wake" }
    public func templates(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/templates" }
    public func files(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/files" }
    public func credentials(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/credentials" }
    public func status(_ agent: AgentAddress) -> String { "\(root)/agents/\(agent)/status" }
    public func lifecycle(_ agent: AgentAddress, _ event: LifecycleEvent) -> String {
        "\(root)/agents/\(agent)/lifecycle/\(event.rawValue)"
    }
    public func gatewayStatus(_ gateway: String) -> String { "\(root)/gateways/\(gateway)/status" }
    public func gatewayHeartbeats(_ gateway: String) -> String { "\(root)/gateways/\(gateway)/heartbeats" }
    public func gatewayLifecycle(_ gateway: String, _ event: GatewayEvent) -> String {
        "\(root)/gateways/\(gateway)/lifecycle/\(event.rawValue)"
    }

    // MARK: Commands

    public func command(_ verb: String) -> String { "\(root)/commands/\(verb)" }
    /// Where answers to `username` go; a request's response topic lies below it.
    public func replies(to username: String) -> String { "\(root)/replies/\(username)" }
    public var repliesPrefix: String { "\(root)/replies/" }

    // MARK: Services

    public func presence(service: String, instance: String) -> String { "\(root)/services/\(service)/\(instance)" }
    public func stream(to destination: StreamDestination) -> String {
        "\(root)/internal/streams/\(destination.topicLevels)"
    }
    public func acknowledgements(service: String, instance: String) -> String {
        "\(root)/internal/acknowledgements/\(service)/\(instance)"
    }
    /// Wake orders: level-triggered, from the store to any provisioner.
    public var orders: String { "\(root)/internal/orders" }
    /// Answers from the store to the provisioner that forwarded the request.
    public func answers(instance: String) -> String { "\(root)/internal/answers/\(instance)" }
    /// Answers from the owners of agents to the control-api that handed a heartbeat in (`HeartbeatAnswer`).
    public func heartbeatAnswers(asker: String) -> String { "\(root)/internal/heartbeat-answers/\(asker)" }
    /// Questions from a provisioner to the store, answered on `answers`.
    public var lookups: String { "\(root)/internal/lookups" }
    /// Questions from control-api to the store (`EventQuestion`), answered where they say (`EventPage`).
    public var eventQuestions: String { "\(root)/internal/event-questions" }
    /// Claims of idempotency keys, from a provisioner to the store, answered on `answers` (`KeyClaim`).
    public var claims: String { "\(root)/internal/claims" }
    /// Where an instance is asked whether all that it received is handed over (`BarrierQuestion`), or is told
    /// (`BarrierAnswer`).
    public func barriers(service: String, instance: String) -> String {
        "\(root)/internal/barriers/\(service)/\(instance)"
    }
    /// Where an ingest's connection for heartbeats leaves its Last Will (`HeartbeatSubscriptionEnded`).
    public func heartbeatSubscription(instance: String) -> String { "\(root)/internal/subscriptions/\(instance)" }
    /// What an ingest notes, retained, of how its incarnations have ended.
    public func endings(service: String, instance: String) -> String {
        "\(root)/internal/endings/\(service)/\(instance)"
    }
    /// The store's retained note of what it has published.
    public var cursor: String { "\(root)/internal/cursor" }
    /// What an instance sends to itself, to know that all that was queued for it before has reached it.
    public func canary(service: String, instance: String) -> String { "\(root)/internal/canary/\(service)/\(instance)" }
    /// Counters of a service, once a second, not retained.
    public func counters(service: String, instance: String) -> String {
        "\(root)/internal/counters/\(service)/\(instance)"
    }

    // MARK: Filters

    public var allHeartbeats: String { "\(root)/agents/+/+/heartbeat" }
    public var allGatewayHeartbeats: String { "\(root)/gateways/+/heartbeats" }
    public var allGatewayStatus: String { "\(root)/gateways/+/status" }
    public var allAgentStatus: String { "\(root)/agents/+/+/status" }
    public var allCommands: String { "\(root)/commands/+" }
    public var allPresence: String { "\(root)/services/+/+" }
    public var allHeartbeatSubscriptions: String { "\(root)/internal/subscriptions/+" }
    public var allFiles: String { "\(root)/agents/+/+/files" }
    public var allCredentials: String { "\(root)/agents/+/+/credentials" }
    public func allLifecycle(gateway: String? = nil) -> String { "\(root)/agents/\(gateway ?? "+")/+/lifecycle/+" }
    public func allGatewayLifecycle(gateway: String? = nil) -> String {
        "\(root)/gateways/\(gateway ?? "+")/lifecycle/+"
    }

    /// A filter shared by all instances of a service (MQTT 5 §4.8.2).
    public func shared(_ filter: String, by service: String) -> String { "$share/rollcall-\(service)/\(filter)" }

    /// What the broker's access plugin listens to.
    public static let accessControl = "$CONTROL/rollcall/v1"

    /// Where the plugin answers the store's `answer WORD` with the word: it is there, and has applied what came before.
    public var accessAnswers: String { "\(root)/internal/access" }

    /// Where the plugin tells which new tokens were used: `USERNAME SHA256HEX`, one a line.
    public var usedSecrets: String { "\(root)/internal/used-secrets" }

    /// Where the plugin names agents that it refused, each at most once a second: `GW/AGENT bad_token`, or
    /// `GW/AGENT rate_limited COUNT`, one a line.
    public var refusals: String { "\(root)/internal/refusals" }

    /// The levels of `topic` below the root; `nil` when it lies elsewhere.
    public func levels(of topic: String) -> [Substring]? {
        guard topic.hasPrefix(root), topic.utf8.dropFirst(root.utf8.count).first == UInt8(ascii: "/") else {
            return nil
        }
        return topic.dropFirst(root.count + 1).split(separator: "/", omittingEmptySubsequences: false)
    }

    /// The agent of `R/agents/{gw}/{agent}/…`; `nil` for any other topic.
    public func agent(of topic: String) -> AgentAddress? {
        guard let levels = levels(of: topic), levels.count >= 4, levels[0] == "agents" else { return nil }
        return AgentAddress(gateway: String(levels[1]), agent: String(levels[2]))
    }

    /// The gateway of `R/gateways/{gw}/…`; `nil` for any other topic.
    public func gateway(of topic: String) -> String? {
        guard let levels = levels(of: topic), levels.count >= 3, levels[0] == "gateways", Identifier.isValid(levels[1])
        else { return nil }
        return String(levels[1])
    }
}

/// Where a stream goes: to whoever owns a partition, to the store, or to one reconciler.
public enum StreamDestination: Hashable, Sendable {
    case partition(Int)
    case store
    case reconciler(String)

    var topicLevels: String {
        switch self {
        case .partition(let number): "partition/\(number)"
        case .store: "store"
        case .reconciler(let instance): "reconciler/\(instance)"
        }
    }
}

/// The names of the services, as in presence and usernames.
public enum ServiceName: String, CaseIterable, Sendable, Codable {
    case provisioner, reconciler
    case heartbeatIngest = "heartbeat-ingest"
    case statusStore = "status-store"
    case controlAPI = "control-api"
}
