public import Model

/// The agent that files are rendered for, and the variables that follow from it.
///
/// What a policy says (deadlines, intervals) is no variable: it comes with every wake and may change without a new
/// rendering.
public struct TemplateSubject: Hashable, Sendable {
    public let gatewayID: String
    public let agentID: String
    public let role: Role
    /// The agent's board: present for `lead` and `worker`, absent for `main`.
    public let boardID: String?
    /// The first levels of every topic, such as `rollcall/v1`.
    public let topicRoot: String

    public init(gatewayID: String, agentID: String, role: Role, boardID: String?, topicRoot: String) {
        self.gatewayID = gatewayID
        self.agentID = agentID
        self.role = role
        self.boardID = boardID
        self.topicRoot = topicRoot
    }

    /// The value of a built-in variable for this agent; `nil` for any other name, and for `board_id` without a board.
    public func value(ofBuiltIn name: String) -> String? {
        let topics = "\(topicRoot)/agents/\(gatewayID)/\(agentID)"
        return switch name {
        case "agent": "\(gatewayID)/\(agentID)"
        case "agent_id": agentID
        case "gateway_id": gatewayID
        case "role": role.rawValue
        case "board_id": role == .main ? nil : boardID
        case "topic_root": topicRoot
        case "heartbeat_topic": topics + "/heartbeat"
        case "wake_topic": topics + "/wake"
        case "files_topic": topics + "/files"
        case "status_topic": topics + "/status"
        default: nil
        }
    }
}

/// The rules for the names of template variables.
///
/// A name is 1 to 63 of `A-Z a-z 0-9 . _ -`, the first one a letter or digit: the rule of ids.
public enum TemplateVariables {
    /// The names no variable of an agent may have, whatever the agent's role is: a role can change.
    public static let builtIn: Set<String> = [
        "agent", "agent_id", "board_id", "files_topic", "gateway_id", "heartbeat_topic", "role", "status_topic",
        "topic_root", "wake_topic",
    ]

    /// Whether a placeholder can name this variable.
    public static func isValidName(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= TemplateLimits.variableNameBytesMax else { return false }
        return isLetterOrDigit(first) && name.utf8.allSatisfy(isPlain)
    }

    /// Refuses an agent's own variables if a name is invalid or built in; the bytewise first such name is reported.
    ///
    /// A command that sets variables is checked with this before it takes effect; rendering checks again.
    public static func check(_ variables: [String: String]) throws(TemplateError) {
        for name in variables.keys.sorted(by: precedesBytewise) {
            if builtIn.contains(name) { throw TemplateError(.shadowsBuiltIn, variable: name) }
            if !isValidName(name) { throw TemplateError(.invalidName, variable: name) }
        }
    }

    /// A byte of `A-Z a-z 0-9 . _ -`.
    static func isPlain(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}

/// The order of names everywhere here: by their UTF-8 bytes, the same on every machine.
func precedesBytewise(_ first: String, _ second: String) -> Bool {
    first.utf8.lexicographicallyPrecedes(second.utf8)
}
