internal import Lifecycle
internal import Model

/// What was begun for many agents at once and goes on in slices.
struct OpenWork: Sendable {
    /// A barrier has passed: what was due by then is judged.
    var judgedUpTo: Instant?
    /// Observability is regained: the next slot that is to be told.
    var nextObservable: Int?
    /// Agents whose gateway has returned and who are to be told.
    var returned: [SlotReference] = []
    var nextReturned = 0
}

// Whatever time, a barrier or a command has for many agents is done in slices, each when there is room for what it commits: a
// hundred thousand deadlines at one moment take many turns, between which heartbeats and commands are handled.
extension PartitionOwner {
    /// One slice: at most `sliceMax` agents, and lastSeenUpdates in a few entries.
    mutating func runSlice(_ turn: inout Turn) {
        lastSeen.flush(&agents, &turn)
        advanceOperations(&turn)
        restoreObservability(&turn)
        tellReturned(&turn)
        judge(&turn)
        let now = turn.now
        while turn.budget > 0, let entry = deadlines.pop(.clock, dueAt: now) {
            come(due: entry, .clock, &turn) { $0 <= now && !$1.isDueJudged }
        }
        pace(&turn)
        settleWaitingAnswers(&turn)
    }

    /// Nothing may be judged: what a barrier has let pass before is no longer proven.
    mutating func loseObservability() {
        isSuspended = true
        work.judgedUpTo = nil
        work.nextObservable = nil
    }

    private mutating func judge(_ turn: inout Turn) {
        guard !isSuspended, let instant = work.judgedUpTo else { return }
        while turn.budget > 0 {
            guard let entry = deadlines.pop(.judged, dueAt: instant) else {
                work.judgedUpTo = nil
                return
            }
            come(due: entry, .judged, &turn) { due, _ in due <= instant }
        }
    }

    private mutating func come(
        due entry: DeadlineQueue.Entry, _ kind: Deadlines.Kind, _ turn: inout Turn,
        _ isTime: (Instant, AgentMachine) -> Bool
    ) {
        turn.budget -= 1
        guard agents[entry.slot]?.generation == entry.generation else { return }
        agents[entry.slot]?.cameUp(kind)
        guard let machine = agents[entry.slot]?.machine, let due = machine.due else { return }
        if isTime(due, machine) {
            if machine.isDueJudged { counters.countJudged(due: due, now: turn.now) }
            drive(entry.slot, &turn) { $0.deadlinePassed($1, into: &$2) }
        } else {
            deadlines.arm(entry.slot, of: &agents)
        }
    }

    /// The owner stays suspended until the last agent was told.
    private mutating func restoreObservability(_ turn: inout Turn) {
        guard turn.budget > 0, let next = work.nextObservable else { return }
        let end = min(agents.indices.upperBound, next + turn.budget)
        for index in next..<end where agents[index] != nil {
            drive(index, &turn) { $0.observabilityRestored($1, into: &$2) }
        }
        turn.budget -= end - next
        work.nextObservable = end
        guard end >= agents.indices.upperBound else { return }
        work.nextObservable = nil
        isSuspended = false
        for gateway in gateways.keys.sorted() {
            applyHeardStatus(gateway, &turn)
            awaitConfirmation(gateway, turn.now)
        }
    }

    /// Its wanted agents are to be told that it is there, as far as they were not told of this return, and those whose wake
    /// reached nobody.
    mutating func noteReturn(of gateway: String) {
        guard let slot = gateways[gateway], let number = slot.hostReturn else { return }
        gateways[gateway]?.hasUnheardWakes = false
        for index in slot.agents.values.sorted() {
            guard let machine = agents[index]?.machine, let reference = agents.reference(to: index),
                machine.isToBeTold(ofReturn: number) || machine.isUnheard
            else { continue }
            work.returned.append(reference)
        }
    }

    private mutating func tellReturned(_ turn: inout Turn) {
        guard !isSuspended else { return }
        while turn.budget > 0, work.nextReturned < work.returned.count {
            let reference = work.returned[work.nextReturned]
            work.nextReturned += 1
            turn.budget -= 1
            // Of a gateway that is lost again they are told when it returns once more.
            guard agents.contains(reference), let gateway = agents[reference.slot]?.address.gateway,
                let number = gateways[gateway]?.hostReturn
            else { continue }
            let (heardAfter, isNewIncarnation) = (
                gateways[gateway]?.awaySince, gateways[gateway]?.hasBegunAnew ?? false
            )
            drive(reference.slot, &turn) { machine, context, results in
                guard machine.isToBeTold(ofReturn: number) || machine.isUnheard else { return }
                machine.hostReturned(
                    heardAfter: heardAfter, isNewIncarnation: isNewIncarnation, context, into: &results)
            }
        }
        guard work.nextReturned == work.returned.count else { return }
        work.returned = []
        work.nextReturned = 0
    }

    private mutating func pace(_ turn: inout Turn) {
        for gateway in pacing.inTurn {
            guard turn.budget > 0 else { return }
            grantPermits(gateway, &turn)
            grantAskedPermits(&turn)
            pacing.last = gateway
        }
    }
}
