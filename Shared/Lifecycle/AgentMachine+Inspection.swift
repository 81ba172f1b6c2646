// For the simulator, which looks into an owner's memory and breaks rules on purpose. Nothing of the product uses it.
extension AgentMachine {
    /// What the machine keeps in memory only.
    package struct Memory: Hashable, Sendable {
        package var phase: AgentPhase
        package var lastSeen: Instant?
        package var lapseFloor: Instant?
        package var firstOrderedAt: Instant?
    }

    package var memory: Memory {
        get {
            Memory(phase: phase, lastSeen: lastSeen, lapseFloor: lapseFloor, firstOrderedAt: firstOrderedAt)
        }
        set {
            phase = newValue.phase
            lastSeen = newValue.lastSeen
            lapseFloor = newValue.lapseFloor
            firstOrderedAt = newValue.firstOrderedAt
        }
    }
}
