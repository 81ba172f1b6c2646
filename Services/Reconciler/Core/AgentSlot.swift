package import Lifecycle
package import Model

/// One agent of the partition.
package struct AgentSlot: Sendable {
    package var machine: AgentMachine
    /// Tells this generation of the slot from earlier ones.
    let generation: Int
    /// This agent's entries in the queue of each kind, each earlier than the one before: the next one comes up last.
    private var queuedJudged: [Instant] = []
    private var queuedClock: [Instant] = []
    var isInPermitQueue = false
    /// Bulk operations that have not come to this agent yet, in their order.
    var pending: [Int] = []
    var hasUnsavedLastSeen = false
    /// The owner's newest step with an entry about it.
    var changedIn = 0
    var traceparent: String?
    /// The return of its gateway, by when it was heard, for which it was woken again.
    var toldOfReturn: Instant?

    package var address: AgentAddress { machine.record.address }

    init(machine: AgentMachine, generation: Int) {
        self.machine = machine
        self.generation = generation
    }

    // These change the slot where it lies: to read one member of it from outside would copy all of it.

    /// Notes a heartbeat that says nothing new; `false` when the machine is to judge it.
    mutating func note(_ reception: Reception, _ dependence: inout Int) -> Bool {
        dependence = max(dependence, changedIn)
        return machine.noteHeartbeat(
            receivedAt: reception.at, receivedWallTime: reception.wallTime, ingest: reception.ingest)
    }

    /// Its deadline, as an entry that is to be queued; `nil` when it has none, or one comes up early enough.
    mutating func queueDeadline() -> (due: Instant, kind: Deadlines.Kind, generation: Int)? {
        guard let due = machine.due else { return nil }
        let kind: Deadlines.Kind = machine.isDueJudged ? .judged : .clock
        if let earliest = kind == .judged ? queuedJudged.last : queuedClock.last, earliest <= due { return nil }
        if kind == .judged { queuedJudged.append(due) } else { queuedClock.append(due) }
        return (due, kind, generation)
    }

    /// Its next entry has come up.
    mutating func cameUp(_ kind: Deadlines.Kind) {
        if kind == .judged { queuedJudged.removeLast() } else { queuedClock.removeLast() }
    }

    /// Whether there was no last-seen update to hand over yet.
    mutating func beginsLastSeenUpdate() -> Bool {
        defer { hasUnsavedLastSeen = true }
        return !hasUnsavedLastSeen
    }

    /// What is to be handed over.
    mutating func endLastSeenUpdate() -> (address: AgentAddress, at: Timestamp?, rejection: Rejection?) {
        hasUnsavedLastSeen = false
        let record = machine.state.record
        return (record.address, record.lastSeenAt, record.lastRejection)
    }
}
