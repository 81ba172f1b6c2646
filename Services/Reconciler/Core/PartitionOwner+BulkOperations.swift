internal import Lifecycle
internal import Model
internal import Wire

// A pause, a resume, a removal or a policy counts for all of its agents from the moment it was taken: what was begun comes to
// an agent before any other command, deadline, turn or report does. So nobody can tell in which slice an agent was.
// Heartbeats alone do not wait for it: whichever of the two comes first, the same follows, and a gateway's heartbeat for a
// hundred thousand agents would carry all of it out in one turn.
extension PartitionOwner {
    /// Lets a change come to agents: now as far as this turn's budget goes, and then in slices.
    ///
    /// - Parameter awaited: who must be drained, or gone, before the request is answered.
    mutating func begin(
        _ change: BulkOperation.Change, for indices: [Int], awaiting awaited: [Int], _ request: PartitionRequest,
        _ kind: WaitingAnswer.Kind, _ turn: inout Turn
    ) {
        let number = operations.add(
            BulkOperation(change, traceparent: request.traceparent, agents: agents.references(to: indices)))
        for index in indices { agents[index]?.pending.append(number) }
        requests.wait(
            WaitingAnswer(request: request, agents: agents.references(to: awaited), operation: number, kind: kind))
        advance(number, downTo: 0, &turn)
        operations.forgetDone()
    }

    /// A slice of what was begun: half of the budget, since deadlines and wakes must not wait until all of it is done.
    mutating func advanceOperations(_ turn: inout Turn) {
        let reserve = turn.budget / 2
        while turn.budget > reserve, let oldest = operations.oldest {
            advance(oldest, downTo: reserve, &turn)
            operations.forgetDone()
        }
    }

    private mutating func advance(_ number: Int, downTo reserve: Int, _ turn: inout Turn) {
        while turn.budget > reserve, let reference = operations.next(of: number) {
            guard agents.contains(reference) else { continue }
            applyPending(reference.slot, &turn)
            grantAskedPermits(&turn)
        }
    }

    /// What was begun for this agent comes to it now.
    mutating func applyPending(_ index: Int, _ turn: inout Turn) {
        while let number = agents[index]?.pending.first {
            agents[index]?.pending.removeFirst()
            turn.budget -= 1
            let operation = operations[number]
            switch operation.change {
            case .pause(let cause, let until):
                act(index, &turn, traceparent: operation.traceparent) { $0.pause(cause, until: until, $1, into: &$2) }
            case .resume(let cause):
                act(index, &turn, traceparent: operation.traceparent) { $0.resume(cause, $1, into: &$2) }
            case .delete: act(index, &turn, traceparent: operation.traceparent) { $0.delete($1, into: &$2) }
            case .followPolicy: followPolicy(index, &turn)
            }
        }
    }

    /// The agent's policy follows its gateway's.
    mutating func followPolicy(_ index: Int, _ turn: inout Turn) {
        guard let state = agents[index]?.machine.state else { return }
        let wanted = policy(gateway: state.record.address.gateway, state.record.policyOverrides)
        guard wanted != state.record.policy else { return }
        act(index, &turn) { machine, context, results in
            machine.change { $0.record.policy = wanted }
            machine.noteChange("policy", context, into: &results)
        }
    }

    // MARK: What will be

    /// How a cause holds an agent.
    struct Hold: Equatable {
        let until: Timestamp?
    }

    /// How this cause will hold the agent once all that was begun has come to it; `nil`: not.
    func hold(of index: Int, by cause: PauseCause) -> Hold? {
        guard let slot = agents[index] else { return nil }
        var hold: Hold?
        if slot.machine.state.record.pausedBy.contains(cause) {
            hold = Hold(until: slot.machine.state.pauseEnds[cause.rawValue])
        }
        for number in slot.pending {
            switch operations[number].change {
            case .pause(cause, let until): hold = Hold(until: until)
            case .resume(cause), .delete: hold = nil
            case .pause, .resume, .followPolicy: break
            }
        }
        return hold
    }

    /// Whether the agent is being deleted, or will be.
    func isLeaving(_ index: Int) -> Bool {
        guard let slot = agents[index] else { return true }
        return slot.machine.state.record.status == .deleting
            || slot.pending.contains { number in
                if case .delete = operations[number].change { true } else { false }
            }
    }
}
