public import Model

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

    // MARK: Filters

    public var allHeartbeats: String { "\(root)/agents/+/+/heartbeat" }
    public var allGatewayHeartbeats: String { "\(root)/gateways/+/heartbeats" }
    public var allGatewayStatus: String { "\(root)/gateways/+/status" }
    public var allAgentStatus: String { "\(root)/agents/+/+/status" }
    public var allCommands: String { "\(root)/commands/+" }
    public var allPresence: String { "\(root)/services/+/+" }
    public var allFiles: String { "\(root)/agents/+/+/files" }
    public var allCredentials: String { "\(root)/agents/+/+/credentials" }
    public func allLifecycle(gateway: String? = nil) -> String { "\(root)/agents/\(gateway ?? "+")/+/lifecycle/+" }
    public func allGatewayLifecycle(gateway: String? = nil) -> String {
        "\(root)/gateways/\(gateway ?? "+")/lifecycle/+"
    }

    /// A filter shared by all instances of a service (MQTT 5 §4.8.2).
    public func shared(_ filter: String, by service: String) -> String { "$share/rollcall-\(service)/\(filter)" }

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

/// The names of the services, as in presence and usernames.
public enum ServiceName: String, CaseIterable, Sendable, Codable {
    case provisioner, reconciler
    case heartbeatIngest = "heartbeat-ingest"
    case statusStore = "status-store"
    case controlAPI = "control-api"
}
