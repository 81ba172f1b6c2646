internal import Lifecycle
internal import Model

/// When the agents of a partition come due.
struct Deadlines: Sendable {
    enum Kind: Sendable {
        /// What heartbeats decide: judged behind a barrier, and never while suspended.
        case judged
        /// What time alone decides.
        case clock
    }

    private(set) var judged = DeadlineQueue()
    private(set) var clock = DeadlineQueue()

    /// Puts the agent's deadline into its queue unless an entry comes up early enough.
    mutating func arm(_ index: Int, of agents: inout AgentTable) {
        guard let (due, kind, generation) = agents[index]?.queueDeadline() else { return }
        let entry = DeadlineQueue.Entry(due: due, slot: index, generation: generation)
        if kind == .judged { judged.push(entry) } else { clock.push(entry) }
    }

    /// Takes out the next entry that comes up by then; its agent may be gone, or due later.
    mutating func pop(_ kind: Kind, dueAt instant: Instant) -> DeadlineQueue.Entry? {
        kind == .judged ? judged.pop(dueAt: instant) : clock.pop(dueAt: instant)
    }
}
