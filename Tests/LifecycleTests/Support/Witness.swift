import Lifecycle
import Model

/// One input of an enumerated life. Between two of them 10 ms pass.
enum LifeInput: CaseIterable, Sendable {
    case provision, wake, ok, okOfOlderGeneration, starting, stopping, lost
    case permitGranted, wokenCurrent, wokenStale, failed, expired
    case timeToDue, pause, resume, delete, observabilityLostAndRestored, observabilityRestored, ownerReplaced
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
    private(set) var isSuspended = false
    private var committed: AgentState
    /// The order that the store hands out again and again until it is settled.
    private var storedOrder: Int?
    /// Orders without a report, with the time from which on nobody publishes them, once they are settled.
    private var unreported: [Int: Instant?] = [:]
    private var isPermitAsked = false
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
        let wasAsked = isPermitAsked
        let wasSuspended = isSuspended
        subject.pass(milliseconds: 10)
        if input == .timeToDue, let due = subject.dueIn, due > 0 { subject.pass(milliseconds: due + 1) }
        let directives = perform(input)
        try check(directives, input, before)
        return before.machine != subject.machine || wasAsked != isPermitAsked || wasSuspended != isSuspended
            || !directives.isEmpty
    }

    private func canCome(_ input: LifeInput) -> Bool {
        switch input {
        case .provision, .wake, .pause, .resume, .delete: status != .deleting
        case .permitGranted: isPermitAsked
        case .wokenCurrent, .failed, .expired: !subject.orders.isEmpty
        case .wokenStale: subject.orders.count > 1
        case .okOfOlderGeneration: subject.record.generation > 0
        case .timeToDue: !isSuspended && subject.dueIn != nil
        case .observabilityLostAndRestored: !isSuspended
        case .observabilityRestored: isSuspended
        case .ok, .starting, .stopping, .lost, .ownerReplaced: true
        }
    }

    // MARK: Inputs

    private mutating func perform(_ input: LifeInput) -> [AgentDirective] {
        var directives: [AgentDirective] = []
        let context = subject.context
        switch input {
        case .provision:
            subject.machine.requestCycle(.provision, reason: .provision, traceparent: nil, context, into: &directives)
        case .wake: subject.machine.requestCycle(.update, reason: .manual, traceparent: nil, context, into: &directives)
        case .ok: beat(.ok, nil, &directives)
        case .okOfOlderGeneration: beat(.ok, subject.record.generation - 1, &directives)
        case .starting: beat(.starting, nil, &directives)
        case .stopping: beat(.stopping, nil, &directives)
        case .lost: beat(.lost, nil, &directives)
        case .permitGranted:
            isPermitAsked = false
            subject.machine.permitGranted(context, into: &directives)
        case .wokenCurrent: report(subject.orders.count - 1, woken: true, &directives)
        case .wokenStale: report(subject.orders.count - 2, woken: true, &directives)
        case .failed: report(subject.orders.count - 1, woken: false, &directives)
        case .expired:
            let order = subject.orders[subject.orders.count - 1]
            unreported[order.publication] = nil
            subject.machine.wakeReported(
                generation: order.generation, attempt: order.attempt, publication: order.publication, .expired, context,
                into: &directives)
        case .timeToDue: subject.machine.deadlinePassed(context, into: &directives)
        case .pause: subject.machine.pause(.agent, until: nil, context, into: &directives)
        case .resume: subject.machine.resume(.agent, context, into: &directives)
        case .delete: subject.machine.delete(context, into: &directives)
        case .observabilityLostAndRestored, .observabilityRestored:
            isSuspended = false
            subject.machine.observabilityRestored(context, into: &directives)
        case .ownerReplaced:
            isSuspended = true
            isPermitAsked = false
            subject.machine = AgentMachine(restored: committed, context)
        }
        return directives
    }

    private mutating func beat(_ status: HeartbeatStatus, _ generation: Int?, _ directives: inout [AgentDirective]) {
        // The owner hands on no Last Will while it is suspended.
        if status == .lost, isSuspended { return }
        var heartbeat = Heartbeat(receivedAt: subject.now, receivedWallTime: subject.wallTime)
        heartbeat.status = status
        heartbeat.generation = generation
        subject.machine.heartbeatReceived(heartbeat, subject.context, into: &directives)
    }

    private mutating func report(_ index: Int, woken: Bool, _ directives: inout [AgentDirective]) {
        let order = subject.orders[index]
        unreported[order.publication] = nil
        let outcome: AgentMachine.WakeOutcome =
            woken
            ? .woken(
                sentAt: subject.wallTime, deadlineAt: subject.wallTime + order.checkinDeadline.span,
                delivery: .accepted,
                age: .zero) : .failed(at: subject.wallTime, error: "broken", age: .zero)
        subject.machine.wakeReported(
            generation: order.generation, attempt: order.attempt, publication: order.publication, outcome,
            subject.context,
            into: &directives)
    }

    // MARK: Rules

    private mutating func take(
        _ event: LifecycleEvent, _ reason: String?, _ state: AgentState, _ input: LifeInput, _ revision: inout Int,
        _ status: inout AgentStatus
    ) throws(Violation) {
        revision += 1
        try require(state.record.revision == revision, "the revision grows by one with each event")
        try check(event, reason, state, input, statusBefore: status)
        status = state.record.status
        committed = state
    }

    private mutating func check(_ directives: [AgentDirective], _ input: LifeInput, _ before: Subject) throws(Violation)
    {
        var revision = before.record.revision
        if input == .ownerReplaced { revision = committed.record.revision }
        var status = before.record.status
        for directive in directives {
            switch directive {
            case .emit(let event, let reason, let state):
                try take(event, reason, state, input, &revision, &status)
            case .order(let order, let state):
                try check(order, state)
                committed = state
            case .settleOrder:
                if let publication = storedOrder, unreported[publication] != nil {
                    unreported[publication] = .some(subject.now + AgentMachine.orderDrainedAfter)
                }
                storedOrder = nil
            case .requestPermit: isPermitAsked = true
            case .erase(_, let state):
                try take(.deleted, nil, state, input, &revision, &status)
                isGone = true
                try checkDrained()
            case .noteLastSeen, .log, .countSequence: break
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
            if subject.isDrained { try checkDrained() }
        }
        if case .awaitingCheckin(let due) = subject.phase {
            guard let armedAt else { throw Violation(description: "a deadline that no publication armed") }
            try require(due >= armedAt + .seconds(30), "a full deadline from the publication on")
            try require(record.checkinDeadlineAt != nil, "its deadline can be read")
        } else {
            try require(record.checkinDeadlineAt == nil || isSuspended, "a deadline that is not awaited")
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
        try require(input == .timeToDue && !isSuspended, "a verdict without a deadline, or while blind")
        try require(!subject.record.isPaused, "paused: no verdict")
        guard let armedAt else { throw Violation(description: "a verdict on a wake that was never published") }
        try require(subject.now >= armedAt + .seconds(30), "a verdict before a full deadline")
    }

    private mutating func check(_ order: WakeOrder, _ state: AgentState) throws(Violation) {
        try require(!state.record.isPaused, "paused: no wake")
        try require(state.record.status == .provisioning || state.record.status == .updating, "a wake outside a cycle")
        try require(order.generation == state.record.generation, "a wake of another generation")
        try require((1...maxAttempts).contains(order.attempt), "more attempts than allowed")
        try require(
            order.publication > subject.orders.last?.publication ?? 0, "each publication has its own publication")
        var content = order
        content.publication = 0
        let wake = Wake(generation: order.generation, attempt: order.attempt)
        try require(wakes.updateValue(content, forKey: wake) ?? content == content, "a repeat is the same wake")
        try require(
            order.attempt == 1 || wakes[Wake(generation: order.generation, attempt: order.attempt - 1)] != nil,
            "attempts come in order")
        subject.orders.append(order)
        if let replaced = storedOrder, unreported[replaced] != nil {
            unreported[replaced] = .some(subject.now + AgentMachine.orderDrainedAfter)
        }
        storedOrder = order.publication
        unreported[order.publication] = .some(nil)
    }

    /// No wake can follow any more.
    private func checkDrained() throws(Violation) {
        try require(storedOrder == nil, "drained, and the store still hands an order out")
        for (publication, until) in unreported {
            guard let until, subject.now >= until else {
                throw Violation(description: "drained, and order #\(publication) may still be published")
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
            case .paused: "held"
            case .leaving: "leaving"
            }
        return "\(status) \(phase) \(subject.record.isPaused) \(subject.machine.state.cycle?.attempt ?? -1) "
            + "\(isSuspended) \(isPermitAsked) \(unreported.count) \(subject.isDrained)"
    }

    /// With turns, reports and time alone: a cycle ends in offline, an online agent lapses, a deleted one goes.
    func checkProgress() throws(Violation) {
        var copy = self
        if copy.isSuspended { _ = try copy.apply(.observabilityRestored) }
        if copy.subject.record.isPaused {
            try require(copy.status != .deleting, "a deleted agent is not paused")
            while !copy.subject.isDrained { try copy.goOn("a paused agent becomes drained") }
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
            case .wakeQueued: isPermitAsked ? .permitGranted : nil
            case .wakeOrdered: .wokenCurrent
            case .awaitingCheckin, .online, .lost, .paused, .leaving: subject.dueIn == nil ? nil : .timeToDue
            case .resting: nil
            }
        guard let input, try apply(input) else { throw Violation(description: "stuck, but \(promise)") }
    }
}
