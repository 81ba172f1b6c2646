internal import Lifecycle

/// One agent, as long as it is there: a slot can have another generation later.
struct SlotReference: Hashable, Sendable {
    let slot: Int
    let generation: Int
}

/// The agents of a partition: each keeps its slot as long as it is there, and whoever comes after it may have the slot.
package struct AgentTable: Sendable {
    private var slots: [AgentSlot?] = []
    private var freeSlots: [Int] = []
    private var generations = 0
    /// How many agents are where.
    private(set) var tally = FleetTally()

    var count: Int { slots.count - freeSlots.count }
    package var indices: Range<Int> { slots.indices }

    /// `nil` where no agent is.
    package subscript(index: Int) -> AgentSlot? {
        _read { yield slots[index] }
        _modify { yield &slots[index] }
    }

    mutating func add(_ machine: AgentMachine) -> Int {
        generations += 1
        let slot = AgentSlot(machine: machine, generation: generations)
        tally.moved(from: nil, to: FleetTally.Place(machine.record))
        if let free = freeSlots.popLast() {
            slots[free] = slot
            return free
        }
        slots.append(slot)
        return slots.count - 1
    }

    mutating func remove(_ index: Int) {
        guard let slot = slots[index] else { return }
        tally.moved(from: FleetTally.Place(slot.machine.record), to: nil)
        slots[index] = nil
        freeSlots.append(index)
    }

    /// Lets an agent's machine change.
    mutating func change(_ index: Int, _ body: (inout AgentMachine) -> Void) {
        guard let before = slots[index].map({ FleetTally.Place($0.machine.record) }) else { return }
        body(&slots[index]!.machine)
        let place = FleetTally.Place(slots[index]!.machine.record)
        if place != before { tally.moved(from: before, to: place) }
    }

    // MARK: References

    func reference(to index: Int) -> SlotReference? {
        slots[index].map { SlotReference(slot: index, generation: $0.generation) }
    }

    func references(to indices: [Int]) -> [SlotReference] { indices.compactMap(reference) }

    func contains(_ reference: SlotReference) -> Bool { slots[reference.slot]?.generation == reference.generation }
}
