internal import Model

/// New tokens that a gateway asks for: once for each time that it is told to, and again until the answer is written.
struct TokenRotations: Sendable {
    static let askAgainAfter = TimeSpan.seconds(10)
    static let lookInterval = TimeSpan.seconds(1)
    /// One look asks for so many again.
    static let perLookMax = 50

    /// What each agent's newest one was asked for by.
    private var newest: [AgentAddress: String] = [:]
    private var askedAt: [AgentAddress: Instant] = [:]

    /// Whether it is to be asked now: the same rotation may be told of again, also by another provisioner.
    mutating func ask(for agent: AgentAddress, _ rotation: String, now: Instant) -> Bool {
        guard newest.updateValue(rotation, forKey: agent) != rotation else { return false }
        askedAt[agent] = now
        return true
    }

    mutating func settled(_ agent: AgentAddress) { askedAt[agent] = nil }

    /// Whose answers are overdue: they are asked for now.
    mutating func takeDue(_ now: Instant) -> [AgentAddress] {
        let due = askedAt.filter { $0.value + TokenRotations.askAgainAfter <= now }.keys
            .sorted().prefix(TokenRotations.perLookMax)
        for agent in due { askedAt[agent] = now }
        return Array(due)
    }
}
