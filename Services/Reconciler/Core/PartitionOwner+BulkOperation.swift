internal import Lifecycle
internal import Model
internal import Wire

/// A command about many agents: it comes to each of them in its turn.
struct BulkOperation: Sendable {
    enum Change: Sendable {
        case pause(PauseCause, until: Timestamp?)
        case resume(PauseCause)
        case delete
        case followPolicy
    }

    let change: Change
    let traceparent: String?
    let agents: [SlotReference]
    /// Of `agents`: whom it comes to next.
    var next = 0

    var isDone: Bool { next == agents.count }
}

/// One agent, as long as it is there: a slot can have another generation later.
struct SlotReference: Hashable, Sendable {
    let slot: Int
    let generation: Int
}

// A pause, a resume, a removal or a policy counts for all of its agents from the moment it was taken: what was begun comes to
// an agent before any other command, deadline, turn or report does. So nobody can tell in which slice an agent was.
// Heartbeats alone do not wait for it: whichever of the two comes first, the same follows, and a gateway's heartbeat for a
// hundred thousand agents would carry all of it out in one turn.
extension PartitionOwner {
    /// Lets a change come to agents: now as far as this turn's budget goes, and then in slices.
    ///
    /// - Parameter awaited: who must be drained, or gone, before the request is answered.
    mutating func begin(
        _ change: BulkOperation.Change, for agents: [Int], awaiting awaited: [Int], _ request: PartitionRequest,
        _ kind: WaitingAnswer.Kind
    ) {
        let number = work.firstGroup + work.groups.count
        work.groups.append(BulkOperation(change: change, traceparent: request.traceparent, agents: places(agents)))
        for index in agents { slots[index]?.pending.append(number) }
        waitingAnswers.append(
            WaitingAnswer(request: request, agents: places(awaited), group: number, kind: kind))
        advance(number, downTo: 0)
        forgetDoneGroups()
    }

    /// A slice of what was begun: half of the budget, since deadlines and wakes must not wait until all of it is done.
    mutating func advanceGroups() {
        let reserve = budget / 2
        while budget > reserve, !work.groups.isEmpty {
            advance(work.firstGroup, downTo: reserve)
            forgetDoneGroups()
        }
    }

    private mutating func advance(_ number: Int, downTo reserve: Int) {
        let group = number - work.firstGroup
        while budget > reserve, !work.groups[group].isDone {
            let reference = work.groups[group].agents[work.groups[group].next]
            work.groups[group].next += 1
            if isThere(reference) { applyPending(reference.slot) }
        }
    }

    private mutating func forgetDoneGroups() {
        while work.groups.first?.isDone == true {
            work.groups.removeFirst()
            work.firstGroup += 1
        }
    }

    /// Whether a change has come to all of its agents.
    func isDone(_ group: Int?) -> Bool {
        guard let group, group >= work.firstGroup else { return true }
        return work.groups[group - work.firstGroup].isDone
    }

    /// What was begun for this agent comes to it now.
    mutating func applyPending(_ index: Int) {
        while let number = slots[index]?.pending.first {
            slots[index]?.pending.removeFirst()
            budget -= 1
            let group = work.groups[number - work.firstGroup]
            switch group.change {
            case .pause(let cause, let until):
                act(index, traceparent: group.traceparent) { $0.pause(cause, until: until, $1, into: &$2) }
            case .resume(let cause): act(index, traceparent: group.traceparent) { $0.resume(cause, $1, into: &$2) }
            case .delete: act(index, traceparent: group.traceparent) { $0.delete($1, into: &$2) }
            case .followPolicy: followPolicy(index)
            }
        }
    }

    /// The agent's policy follows its gateway's.
    mutating func followPolicy(_ index: Int) {
        guard let state = slots[index]?.machine.state else { return }
        let wanted = policy(gateway: state.record.address.gateway, state.record.policyOverrides)
        guard wanted != state.record.policy else { return }
        act(index) { machine, context, results in
            machine.change { $0.record.policy = wanted }
            machine.noteChange("policy", context, into: &results)
        }
    }

    // MARK: Places

    func places(_ agents: [Int]) -> [SlotReference] {
        agents.compactMap { index in slots[index].map { SlotReference(slot: index, generation: $0.generation) } }
    }

    func isThere(_ reference: SlotReference) -> Bool { slots[reference.slot]?.generation == reference.generation }

    // MARK: What will be

    /// How a cause holds an agent.
    struct Hold: Equatable {
        let until: Timestamp?
    }

    /// How this cause will hold the agent once all that was begun has come to it; `nil`: not.
    func hold(of index: Int, by cause: PauseCause) -> Hold? {
        guard let slot = slots[index] else { return nil }
        var hold: Hold?
        if slot.machine.state.record.pausedBy.contains(cause) {
            hold = Hold(until: slot.machine.state.pauseEnds[cause.rawValue])
        }
        for number in slot.pending {
            switch work.groups[number - work.firstGroup].change {
            case .pause(cause, let until): hold = Hold(until: until)
            case .resume(cause), .delete: hold = nil
            case .pause, .resume, .followPolicy: break
            }
        }
        return hold
    }

    /// Whether the agent is being deleted, or will be.
    func isLeaving(_ index: Int) -> Bool {
        guard let slot = slots[index] else { return true }
        return slot.machine.state.record.status == .deleting
            || slot.pending.contains { number in
                if case .delete = work.groups[number - work.firstGroup].change { true } else { false }
            }
    }
}
