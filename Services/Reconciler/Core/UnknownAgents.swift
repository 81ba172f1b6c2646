internal import Lifecycle
internal import Model

/// Names of nobody in whose name heartbeats came: the rejection of each is told once in a while.
struct UnknownAgents: Sendable {
    /// Names that are remembered; beyond it the memory of them is cleared.
    static let namesMax = 10_000

    private var told: [AgentAddress: Instant] = [:]

    /// When a rejection in this name was told last.
    func toldAt(_ agent: AgentAddress) -> Instant? { told[agent] }

    func mayTell(_ agent: AgentAddress, _ now: Instant) -> Bool {
        told[agent].map { now >= $0 + AgentMachine.rejectionEventInterval } ?? true
    }

    mutating func noteTold(_ agent: AgentAddress, _ now: Instant) {
        if told.count >= UnknownAgents.namesMax { told = [:] }
        told[agent] = now
    }

    /// An agent that is gone: it has been told of until then.
    mutating func remember(_ agent: AgentAddress, toldAt: Instant?) { told[agent] = toldAt }

    mutating func purge(_ now: Instant) {
        told = told.filter { now < $0.value + AgentMachine.rejectionEventInterval }
    }
}
