internal import Lifecycle
internal import Model
internal import Wire

extension PartitionOwner {
    /// The policy of an agent: its own settings over its gateway's over the system's.
    func policy(gateway: String, _ overrides: PolicyOverrides) -> Policy {
        let wider = gateways[gateway].map { systemPolicy.overridden(by: $0.state.policyOverrides) } ?? systemPolicy
        return wider.overridden(by: overrides)
    }

    mutating func queueForPermit(_ index: Int, _ gateway: String, _ turn: inout Turn) {
        guard agents[index]?.isInPermitQueue == false, let reference = agents.reference(to: index) else { return }
        agents[index]?.isInPermitQueue = true
        gateways[gateway]?.pace.append(reference)
        pacing.add(gateway)
        turn.askForPermit(gateway)
    }

    mutating func grantAskedPermits(_ turn: inout Turn) {
        while let gateway = turn.nextPermitAsked() { grantPermits(gateway, &turn) }
    }

    /// Lets the wakes go that the gateway's rate allows now.
    mutating func grantPermits(_ gateway: String, _ turn: inout Turn) {
        while true {
            guard turn.budget > 0 else {
                gateways[gateway]?.pace.waitForRoom(turn.now)
                break
            }
            // Whoever is gone or needs no wake any more uses up none of the rate.
            while turn.budget > 0, let next = gateways[gateway]?.pace.first {
                if agents.contains(next) {
                    applyPending(next.slot, &turn)
                    guard agents[next.slot]?.machine.isAwaitingPermit != true else { break }
                    agents[next.slot]?.isInPermitQueue = false
                }
                gateways[gateway]?.pace.skip()
            }
            guard turn.budget > 0 else { continue }
            guard let index = gateways[gateway]?.pace.take(turn.now)?.slot else { break }
            agents[index]?.isInPermitQueue = false
            turn.budget -= 1
            act(index, &turn) { $0.permitGranted($1, into: &$2) }
        }
        if gateways[gateway]?.pace.isEmpty ?? true { pacing.remove(gateway) }
    }

    // MARK: The snapshot

    /// Takes over a chunk of what the store has: gateways come before their agents.
    mutating func restore(_ chunk: GrantChunk, _ turn: inout Turn) {
        for gateway in chunk.gateways {
            let rate = systemPolicy.overridden(by: gateway.policyOverrides).wakeRate
            gateways[gateway.gateway] = GatewaySlot(state: gateway, rate: rate)
        }
        for pause in chunk.boardPauses { boardPauses[pause.board] = pause }
        for tombstone in chunk.tombstones { tombstones[tombstone.agent] = tombstone }
        for request in chunk.requests { requests.restore(request, turn.now) }
        purgeDue = turn.now + PartitionOwner.purgeInterval
        for state in chunk.agents {
            let index = add(AgentMachine(restored: state, context(state.record.address.gateway, turn)))
            followPolicy(index, &turn)
            deadlines.arm(index, of: &agents)
        }
        guard chunk.isLast else { return }
        recoverIntents(&turn)
        // The owner before had not told all of them.
        for gateway in gateways.keys.sorted() { noteReturn(of: gateway) }
    }
}
