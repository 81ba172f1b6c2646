/// One wake as it was decided: everything the published wake says but its `deadline_at`.
///
/// It is frozen when first committed. `(agent, generation, attempt)` names it; every publication of it, the first and
/// each repeat, has a number of its own, which the report of its publication carries back.
public struct WakeOrder: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let generation: Int
    public let attempt: Int
    public var publication: Int
    public let maxAttempts: Int
    public let reason: WakeReason
    public let checkinDeadline: DurationText
    public let heartbeatInterval: DurationText
    public let resetSession: Bool
    public let templatesDigest: String?
    public let role: Role
    public let board: String?
    public let variables: [String: String]
    /// W3C Trace Context of the command that began the cycle.
    public let traceparent: String?

    public init(
        agent: AgentAddress, generation: Int, attempt: Int, publication: Int, maxAttempts: Int, reason: WakeReason,
        checkinDeadline: DurationText, heartbeatInterval: DurationText, resetSession: Bool, templatesDigest: String?,
        role: Role, board: String?, variables: [String: String], traceparent: String?
    ) {
        self.agent = agent
        self.generation = generation
        self.attempt = attempt
        self.publication = publication
        self.maxAttempts = maxAttempts
        self.reason = reason
        self.checkinDeadline = checkinDeadline
        self.heartbeatInterval = heartbeatInterval
        self.resetSession = resetSession
        self.templatesDigest = templatesDigest
        self.role = role
        self.board = board
        self.variables = variables
        self.traceparent = traceparent
    }

    /// As databases have it: some keys are older than the members' names.
    enum CodingKeys: String, CodingKey {
        case agent, generation, attempt, maxAttempts, reason, checkinDeadline, heartbeatInterval, resetSession,
            templatesDigest
        case role, board, variables, traceparent
        case publication = "issue"
    }

    /// How long an order may be on its way: older ones are answered `expired` and are issued again.
    public static let lifetime = TimeSpan.seconds(5)
}
