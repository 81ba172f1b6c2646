import Lifecycle

/// One input of an enumerated life. Between two of them 10 ms pass.
enum LifeInput: CaseIterable, Sendable {
    case provision, wake, ok, okOfOlderGeneration, starting, stopping, lost
    case turn, wokenCurrent, wokenStale, failed, expired
    case timeToDue, pause, resume, delete, sightLostAndRegained, sightRegained, ownerReplaced
}

/// A rule of the contract that did not hold.
struct Violation: Error, CustomStringConvertible {
    let description: String
}

/// An agent with everything that watches it: what the store has committed, which wakes may still be published, and what the
/// contract forbids from here on.
struct Witness: Sendable {
    private(set) var subject: Subject
    private(set) var isGone = false
    /// Nothing may be judged: an owner has just taken over.
    private(set) var isBlind = false
    private var committed: AgentState
    /// The order that the store hands out again and again until it is settled.
    private var storedOrder: Int?
    /// Orders without a report, with the time from which on nobody publishes them, once they are settled.
    private var unreported: [Int: Instant?] = [:]
    private var isTurnAsked = false
    private var wakes: [Wake: WakeOrder] = [:]
    private var armedAt: Instant?
    private var isOfflineTold = false
    private var generationsMissed: Set<Int> = []

    private struct Wake: Hashable {
        let generation: Int
        let attempt: Int
    }

    init(_ settings: [PolicySetting: String]) {
        subject = Subject(settings)
        committed = subject.machine.state
    }

    var status: AgentStatus { subject.record.status }
    var maxAttempts: Int { subject.record.policy.maxWakeAttempts }

    /// - Returns: `false` when the input cannot come now or changed nothing at all.
    mutating func apply(_ input: LifeInput) throws(Violation) -> Bool {
        guard !isGone, canCome(input) else { return false }
        let before = subject
        let wasAsked = isTurnAsked
        let wasBlind = isBlind
        subject.pass(milliseconds: 10)
        if input == .timeToDue, let due = subject.dueIn, due > 0 { subject.pass(milliseconds: due + 1) }
        let directives = perform(input)
        try check(directives, input, before)
        return before.machine != subject.machine || wasAsked != isTurnAsked || wasBlind != isBlind
            || !directives.isEmpty
    }

    private func canCome(_ input: LifeInput) -> Bool {
        switch input {
        case .provision, .wake, .pause, .resume, .delete: status != .deleting
        case .turn: isTurnAsked
        case .wokenCurrent, .failed, .expired: !subject.orders.isEmpty
        case .wokenStale: subject.orders.count > 1
        case .okOfOlderGeneration: subject.record.generation > 0
        case .timeToDue: !isBlind && subject.dueIn != nil
        case .sightLostAndRegained: !isBlind
        case .sightRegained: isBlind
        case .ok, .starting, .stopping, .lost, .ownerReplaced: true
        }
    }

    // MARK: Inputs

    private mutating func perform(_ input: LifeInput) -> [AgentDirective] {
        var directives: [AgentDirective] = []
        let around = subject.around
        switch input {
        case .provision:
            subject.machine.requestCycle(.provision, reason: .provision, traceparent: nil, around, into: &directives)
        case .wake: subject.machine.requestCycle(.update, reason: .manual, traceparent: nil, around, into: &directives)
        case .ok: beat(.ok, nil, &directives)
        case .okOfOlderGeneration: beat(.ok, subject.record.generation - 1, &directives)
        case .starting: beat(.starting, nil, &directives)
        case .stopping: beat(.stopping, nil, &directives)
        case .lost: beat(.lost, nil, &directives)
        case .turn:
            isTurnAsked = false
            subject.machine.turnCame(around, into: &directives)
        case .wokenCurrent: report(subject.orders.count - 1, woken: true, &directives)
        case .wokenStale: report(subject.orders.count - 2, woken: true, &directives)
        case .failed: report(subject.orders.count - 1, woken: false, &directives)
        case .expired:
            let order = subject.orders[subject.orders.count - 1]
            unreported[order.issue] = nil
            subject.machine.wakeReported(
                generation: order.generation, attempt: order.attempt, issue: order.issue, .expired, around,
                into: &directives)
        case .timeToDue: subject.machine.deadlinePassed(around, into: &directives)
        case .pause: subject.machine.pause(.agent, until: nil, around, into: &directives)
        case .resume: subject.machine.resume(.agent, around, into: &directives)
        case .delete: subject.machine.delete(around, into: &directives)
        case .sightLostAndRegained, .sightRegained:
            isBlind = false
            subject.machine.sightRegained(around, into: &directives)
        case .ownerReplaced:
            isBlind = true
            isTurnAsked = false
            subject.machine = AgentMachine(restored: committed, around)
        }
        return directives
    }

    private mutating func beat(_ status: HeartbeatStatus, _ generation: Int?, _ directives: inout [AgentDirective]) {
        // The owner hands on no Last Will while it is blind.
        if status == .lost, isBlind { return }
        var heartbeat = Heartbeat(receivedAt: subject.now, receivedStamp: subject.stamp)
        heartbeat.status = status
        heartbeat.generation = generation
        subject.machine.heartbeatReceived(heartbeat, subject.around, into: &directives)
    }

    private mutating func report(_ index: Int, woken: Bool, _ directives: inout [AgentDirective]) {
        let order = subject.orders[index]
        unreported[order.issue] = nil
        let outcome: AgentMachine.WakeOutcome =
            woken
            ? .woken(
                sentAt: subject.stamp, deadlineAt: subject.stamp + order.checkinDeadline.span, delivery: .accepted,
                age: .zero) : .failed(at: subject.stamp, error: "broken", age: .zero)
        subject.machine.wakeReported(
            generation: order.generation, attempt: order.attempt, issue: order.issue, outcome, subject.around,
            into: &directives)
    }

    // MARK: Rules

    private mutating func check(_ directives: [AgentDirective], _ input: LifeInput, _ before: Subject) throws(Violation)
    {
        var revision = before.record.revision
        if input == .ownerReplaced { revision = committed.record.revision }
        var status = before.record.status
        for directive in directives {
            switch directive {
            case .emit(let event, let reason, let state):
                revision += 1
                try require(state.record.revision == revision, "the revision grows by one with each event")
                try check(event, reason, state, input, statusBefore: status)
                status = state.record.status
                committed = state
            case .order(let order, let state):
                try check(order, state)
                committed = state
            case .settleOrder:
                if let issue = storedOrder, unreported[issue] != nil {
                    unreported[issue] = .some(subject.now + AgentMachine.orderQuietAfter)
                }
                storedOrder = nil
            case .requestTurn: isTurnAsked = true
            case .erase:
                isGone = true
                try checkQuiet()
            case .noteSighting, .log, .countSequence: break
            }
        }
        try require(subject.record.revision == revision, "without an event the revision stays")
        try require(subject.record.generation >= before.record.generation, "the generation never falls")
        let record = subject.record
        if record.status == .online || record.status == .offline {
            try require(subject.machine.state.cycle == nil, "a cycle ends with its verdict")
        }
        try require(
            record.status != .online || status == .online || input == .ownerReplaced, "a status without an event")
        if record.isPaused {
            try require(record.checkinDeadlineAt == nil, "paused: deadline null")
            if subject.isQuiet { try checkQuiet() }
        }
        if case .awaitingCheckin(let due) = subject.phase {
            guard let armedAt else { throw Violation(description: "a deadline that no publication armed") }
            try require(due >= armedAt + .seconds(30), "a full deadline from the publication on")
            try require(record.checkinDeadlineAt != nil, "its deadline can be read")
        } else {
            try require(record.checkinDeadlineAt == nil || isBlind, "a deadline that is not awaited")
        }
    }

    private mutating func check(
        _ event: LifecycleEvent, _ reason: String?, _ state: AgentState, _ input: LifeInput,
        statusBefore: AgentStatus
    ) throws(Violation) {
        let record = state.record
        switch event {
        case .provisioning, .updating:
            try require(record.wakeAttempts == 0 && record.lastProvisionError == nil, "a request starts from nothing")
            isOfflineTold = false
            armedAt = nil
        case .woken, .provisionFailed:
            try require(
                input == .wokenCurrent || input == .wokenStale || input == .failed, "an attempt without a report")
            try require((1...maxAttempts).contains(record.wakeAttempts), "wake_attempts counts attempts")
            armedAt = subject.now
        case .online:
            let isEnough = statusBefore == .offline || record.provisionAction == .recover
            try require(
                input == .ok || (input == .okOfOlderGeneration && isEnough), "online without an accepted heartbeat")
            try require(
                statusBefore == .offline || !wakes.keys.filter { $0.generation == record.generation }.isEmpty,
                "a check-in before the first wake of its cycle")
            try require(
                record.wakeAttempts == 0 && record.checkinDeadlineAt == nil && record.lastProvisionError == nil,
                "a check-in clears attempts, deadline and error")
            isOfflineTold = false
        case .retriggered:
            try checkVerdict(input)
            try require(record.wakeAttempts < maxAttempts, "no further wake after the last")
        case .offline:
            try require(!isOfflineTold, "two offline without an online or a new cycle between")
            isOfflineTold = true
            try require(record.checkinDeadlineAt == nil, "offline: deadline null")
            switch OfflineReason(rawValue: reason ?? "") {
            case .checkinMissed:
                try checkVerdict(input)
                try require(generationsMissed.insert(record.generation).inserted, "one offline for a last deadline")
                try require(record.wakeAttempts == maxAttempts, "wake_attempts as used")
                try require(
                    record.lastProvisionError?.hasPrefix(AgentMachine.attemptsReachedError) == true, "an error text")
            case .lapsed: try require(input == .timeToDue && !record.isPaused, "a lapse is a deadline's")
            case .goodbye: try require(input == .stopping, "a goodbye is the agent's")
            case .neverWoken, nil: throw Violation(description: "offline without a reason")
            }
        case .lapsed:
            try require(
                input == .timeToDue && !record.isPaused && statusBefore == .online, "a lapse of an online agent")
        case .changed, .deleting, .deleted, .paused, .resumed, .heartbeatRejected, .tokenRotated, .templatesSynced:
            break
        }
    }

    private func checkVerdict(_ input: LifeInput) throws(Violation) {
        try require(input == .timeToDue && !isBlind, "a verdict without a deadline, or while blind")
        try require(!subject.record.isPaused, "paused: no verdict")
        guard let armedAt else { throw Violation(description: "a verdict on a wake that was never published") }
        try require(subject.now >= armedAt + .seconds(30), "a verdict before a full deadline")
    }

    private mutating func check(_ order: WakeOrder, _ state: AgentState) throws(Violation) {
        try require(!state.record.isPaused, "paused: no wake")
        try require(state.record.status == .provisioning || state.record.status == .updating, "a wake outside a cycle")
        try require(order.generation == state.record.generation, "a wake of another generation")
        try require((1...maxAttempts).contains(order.attempt), "more attempts than allowed")
        try require(order.issue > subject.orders.last?.issue ?? 0, "each publication has its own issue")
        var content = order
        content.issue = 0
        let wake = Wake(generation: order.generation, attempt: order.attempt)
        try require(wakes.updateValue(content, forKey: wake) ?? content == content, "a repeat is the same wake")
        try require(
            order.attempt == 1 || wakes[Wake(generation: order.generation, attempt: order.attempt - 1)] != nil,
            "attempts come in order")
        subject.orders.append(order)
        if let replaced = storedOrder, unreported[replaced] != nil {
            unreported[replaced] = .some(subject.now + AgentMachine.orderQuietAfter)
        }
        storedOrder = order.issue
        unreported[order.issue] = .some(nil)
    }

    /// No wake can follow any more.
    private func checkQuiet() throws(Violation) {
        try require(storedOrder == nil, "quiet, and the store still hands an order out")
        for (issue, until) in unreported {
            guard let until, subject.now >= until else {
                throw Violation(description: "quiet, and order #\(issue) may still be published")
            }
        }
    }

    private func require(_ condition: Bool, _ rule: String) throws(Violation) {
        if !condition { throw Violation(description: rule) }
    }

    // MARK: Nothing gets stuck

    /// What matters for whether it can get stuck.
    var outline: String {
        let phase =
            switch subject.phase {
            case .resting: "resting"
            case .wakeQueued(let isRepeat, _): "queued\(isRepeat)"
            case .wakeOrdered: "ordered"
            case .awaitingCheckin: "awaiting"
            case .online: "online"
            case .lost: "lost"
            case .held: "held"
            case .leaving: "leaving"
            }
        return "\(status) \(phase) \(subject.record.isPaused) \(subject.machine.state.cycle?.attempt ?? -1) "
            + "\(isBlind) \(isTurnAsked) \(unreported.count) \(subject.isQuiet)"
    }

    /// With turns, reports and time alone: a cycle ends in offline, an online agent lapses, a deleted one goes.
    func checkProgress() throws(Violation) {
        var copy = self
        if copy.isBlind { _ = try copy.apply(.sightRegained) }
        if copy.subject.record.isPaused {
            try require(copy.status != .deleting, "a deleted agent is not paused")
            while !copy.subject.isQuiet { try copy.goOn("a paused agent becomes quiet") }
            return
        }
        switch copy.status {
        case .deleting:
            while !copy.isGone { try copy.goOn("a deleted agent goes") }
        case .provisioning, .updating:
            var steps = 0
            while copy.status != .offline {
                try copy.goOn("a cycle ends")
                steps += 1
                try require(steps <= 3 * maxAttempts + 1, "a cycle ends within its attempts")
            }
        case .online:
            try copy.goOn("an online agent lapses")
            // It may have become well before.
            if copy.status == .online { try copy.goOn("an online agent lapses") }
            try require(copy.status != .online, "an online agent lapses")
        case .offline: break
        }
    }

    private mutating func goOn(_ promise: String) throws(Violation) {
        let input: LifeInput? =
            switch subject.phase {
            case .wakeQueued: isTurnAsked ? .turn : nil
            case .wakeOrdered: .wokenCurrent
            case .awaitingCheckin, .online, .lost, .held, .leaving: subject.dueIn == nil ? nil : .timeToDue
            case .resting: nil
            }
        guard let input, try apply(input) else { throw Violation(description: "stuck, but \(promise)") }
    }
}
