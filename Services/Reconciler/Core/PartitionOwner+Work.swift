internal import Lifecycle
public import Model

/// What was begun for many agents at once and goes on in slices.
struct OpenWork: Sendable {
    /// A barrier has passed: what was due by then is judged.
    var judgedUpTo: Instant?
    /// Observability is regained: the next slot that is to be told.
    var nextObservable: Int?
    /// Agents whose gateway has returned and who are to be told, by slot and generation.
    var returned: [(slot: Int, generation: Int)] = []
    var nextReturned = 0
    /// Commands about many agents, by number from `firstGroup`, those that are done at the front taken out.
    var groups: [BulkOperation] = []
    var firstGroup = 0
    /// The gateway whose wakes got their permits last: the others come first now.
    var pacedLast = ""
}

// Whatever time, a barrier or a command has for many agents is done in slices, each when there is room for what it commits: a
// hundred thousand deadlines at one moment take many turns, between which heartbeats and commands are handled.
extension PartitionOwner {
    /// When `roomCame` has something to do next.
    public var nextWork: Instant? {
        let isOpen = !isSuspended && (work.judgedUpTo != nil || work.nextReturned < work.returned.count)
        if isOpen || work.nextObservable != nil || !work.groups.isEmpty { return Instant(nanoseconds: 0) }
        var due = [clockQueue.next, lastSeenUpdatesDue].compactMap { $0 }.min()
        for gateway in pacing {
            if let next = gateways[gateway]?.pace.next { due = due.map { min($0, next) } ?? next }
        }
        return due
    }

    /// One slice: at most `sliceMax` agents, and lastSeenUpdates in a few entries.
    mutating func runSlice() {
        if let due = lastSeenUpdatesDue, due <= now { flushLastSeenUpdates() }
        advanceGroups()
        restoreObservability()
        tellReturned()
        judge()
        while budget > 0, let entry = clockQueue.pop(dueAt: now) {
            come(due: entry, \.queuedClockDues) { [now] in $0 <= now && !$1.isDueJudged }
        }
        pace()
        settleWaitingAnswers()
    }

    /// Nothing may be judged: what a barrier has let pass before is no longer proven.
    mutating func loseObservability() {
        isSuspended = true
        work.judgedUpTo = nil
        work.nextObservable = nil
    }

    private mutating func judge() {
        guard !isSuspended, let instant = work.judgedUpTo else { return }
        while budget > 0 {
            guard let entry = queue.pop(dueAt: instant) else {
                work.judgedUpTo = nil
                return
            }
            come(due: entry, \.queuedDues) { due, _ in due <= instant }
        }
    }

    private mutating func come(
        due entry: DeadlineQueue.Entry, _ queued: WritableKeyPath<AgentSlot, [Instant]>,
        _ isTime: (Instant, AgentMachine) -> Bool
    ) {
        budget -= 1
        guard slots[entry.slot]?.generation == entry.generation else { return }
        slots[entry.slot]?[keyPath: queued].removeLast()
        guard let machine = slots[entry.slot]?.machine, let due = machine.due else { return }
        if isTime(due, machine) {
            if machine.isDueJudged { countJudged(due: due) }
            drive(entry.slot) { $0.deadlinePassed($1, into: &$2) }
        } else {
            arm(entry.slot)
        }
    }

    /// The owner stays suspended until the last agent was told.
    private mutating func restoreObservability() {
        guard budget > 0, let next = work.nextObservable else { return }
        let end = min(slots.count, next + budget)
        for index in next..<end where slots[index] != nil { drive(index) { $0.observabilityRestored($1, into: &$2) } }
        budget -= end - next
        work.nextObservable = end
        guard end >= slots.count else { return }
        work.nextObservable = nil
        isSuspended = false
        for gateway in gateways.keys.sorted() {
            applyHeardStatus(gateway)
            awaitConfirmation(gateway)
        }
    }

    /// Its wanted agents are to be told that it is there, as far as they were not told of this return, and those whose wake
    /// reached nobody.
    mutating func noteReturn(of gateway: String) {
        guard let slot = gateways[gateway], let number = slot.hostReturn else { return }
        gateways[gateway]?.hasUnheardWakes = false
        for index in slot.agents.values.sorted() {
            guard let machine = slots[index]?.machine, let generation = slots[index]?.generation,
                machine.isToBeTold(ofReturn: number) || machine.isUnheard
            else { continue }
            work.returned.append((index, generation))
        }
    }

    private mutating func tellReturned() {
        guard !isSuspended else { return }
        while budget > 0, work.nextReturned < work.returned.count {
            let (slot, generation) = work.returned[work.nextReturned]
            work.nextReturned += 1
            budget -= 1
            // Of a gateway that is lost again they are told when it returns once more.
            guard slots[slot]?.generation == generation, let gateway = slots[slot]?.address.gateway,
                let number = gateways[gateway]?.hostReturn
            else { continue }
            let (heardAfter, isNewIncarnation) = (
                gateways[gateway]?.awaySince, gateways[gateway]?.hasBegunAnew ?? false
            )
            drive(slot) { machine, context, results in
                guard machine.isToBeTold(ofReturn: number) || machine.isUnheard else { return }
                machine.hostReturned(
                    heardAfter: heardAfter, isNewIncarnation: isNewIncarnation, context, into: &results)
            }
        }
        guard work.nextReturned == work.returned.count else { return }
        work.returned = []
        work.nextReturned = 0
    }

    /// Wakes wait for permits: each gateway at its own rate, and when there is no room for all, one gateway after the other.
    private mutating func pace() {
        let names = pacing.sorted()
        let first = names.firstIndex { $0 > work.pacedLast } ?? 0
        for gateway in names[first...] + names[..<first] {
            guard budget > 0 else { return }
            grantPermits(gateway)
            work.pacedLast = gateway
        }
    }
}
