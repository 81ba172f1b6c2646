package import Lifecycle

// For the simulator, which looks into an owner's memory and breaks rules on purpose. Nothing of the product uses it.
extension PartitionOwner {
    package func machine(of agent: AgentAddress) -> AgentMachine? {
        index(of: agent).flatMap { slots[$0]?.machine }
    }

    /// Changes what the owner has in memory of each agent, behind its back.
    package mutating func tamper(_ body: (AgentAddress, inout AgentMachine.Memory) -> Void) {
        for index in slots.indices {
            guard let address = slots[index]?.address else { continue }
            body(address, &slots[index]!.machine.memory)
        }
    }
}
