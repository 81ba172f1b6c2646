/// The contract's table of rights in prose: filters relative to the topic root, absolute when they begin with `$`.
///
/// Everybody also reads the answers below `replies/{own username}/`; ``Rights`` adds that.
struct RightsTable {
    var publish: [String] = []
    var read: [String] = []
    /// The part of `publish` that may also be a Last Will.
    var wills: [String] = []
    /// Everything below the root but `internal` and the answers to others.
    var readsWidely = false

    init(of username: Username) {
        let name = username.description
        switch username.kind {
        case .agent:
            publish = ["agents/\(name)/heartbeat", "agents/\(name)/files"]
            read = ["agents/\(name)/wake", "agents/\(name)/templates", "agents/\(name)/status"]
            wills = ["agents/\(name)/heartbeat"]
        case .gateway:
            publish = [
                "agents/\(name)/+/heartbeat", "agents/\(name)/+/files", "agents/\(name)/+/credentials",
                "gateways/\(name)/status", "gateways/\(name)/heartbeats",
            ]
            read = [
                "agents/\(name)/+/wake", "agents/\(name)/+/templates", "agents/\(name)/+/status",
                "agents/\(name)/+/lifecycle/+",
                "gateways/\(name)/status",
            ]
            wills = ["agents/\(name)/+/heartbeat", "gateways/\(name)/status", "gateways/\(name)/heartbeats"]
        case .operator:
            publish = ["commands/+"]
            readsWidely = true
        case .service:
            self = RightsTable(ofService: username.service ?? "")
            publish += ["internal/#", "services/\(name.dropFirst("svc:".count))"]
            read += ["internal/#", "services/#"]
            wills = publish.filter { !$0.hasPrefix("$") }
        }
    }

    private init(ofService service: String) {
        switch service {
        case "provisioner":
            read = ["commands/+", "agents/+/+/files", "agents/+/+/credentials"]
            publish = ["agents/+/+/wake", "agents/+/+/templates", "replies/#"]
        case "heartbeat-ingest":
            read = ["agents/+/+/heartbeat", "gateways/+/heartbeats"]
        case "reconciler":
            read = ["gateways/+/status"]
        case "status-store":
            read = ["commands/+", "agents/+/+/status", "gateways/+/status"]
            publish = [
                "agents/+/+/lifecycle/+", "agents/+/+/status", "gateways/+/lifecycle/+", "gateways/+/status",
                "replies/#", ControlTopic.name,
            ]
        case "control-api":
            publish = ["commands/+", "agents/+/+/heartbeat"]
            read = [
                "$SYS/broker/publish/messages/dropped", "$SYS/broker/store/messages/count",
                "$SYS/broker/retained messages/count",
            ]
            readsWidely = true
        default:
            break
        }
    }
}

/// The topic on which the status store tells the broker who agents and gateways are.
public enum ControlTopic {
    public static let name = "$CONTROL/rollcall/v1"
}

extension TopicRoot {
    /// Where a question of the status store is answered.
    public var accessAnswers: String { "\(text)/internal/access" }
    /// Where the status store is told which new secrets were used.
    public var usedSecrets: String { "\(text)/internal/used-secrets" }
    /// Where heartbeat-ingest is told which agents the broker refused, and why.
    public var refusals: String { "\(text)/internal/refusals" }
}

/// The topic below which everything of one Rollcall lives, `rollcall/v1` unless configured.
public struct TopicRoot: Sendable {
    public static let standard = TopicRoot(unchecked: "rollcall/v1")

    let text: String

    /// A root of one or more levels; `nil` for an empty level, a wildcard, white space or a leading `$`.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        let isClean = bytes.allSatisfy { $0 > .space && $0 != 127 && $0 != .plus && $0 != .hash }
        let levels = bytes.split(separator: .slash, omittingEmptySubsequences: false)
        guard isClean, !text.hasPrefix("$"), levels.allSatisfy({ !$0.isEmpty }) else { return nil }
        self.text = text
    }

    private init(unchecked text: String) { self.text = text }
}
