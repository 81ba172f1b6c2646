// Wakes, deadlines and blindness.
extension AgentMachine {
    /// What became of an order's publication.
    public enum WakeOutcome: Hashable, Sendable {
        case woken(sentAt: Timestamp, deadlineAt: Timestamp, delivery: WakeDelivery, age: TimeSpan)
        case failed(at: Timestamp, error: String, age: TimeSpan)
        case expired
    }

    /// The gateway's pace lets this agent's wake go.
    public mutating func turnCame(_ around: AgentSurroundings, into directives: inout [AgentDirective]) {
        guard case .wakeQueued(let isRepeat, let reason) = phase, var cycle = state.cycle else { return }
        state.issue += 1
        let order: WakeOrder
        if isRepeat, var last = cycle.order {
            last.issue = state.issue
            order = last
        } else {
            order = newOrder(cycle, reason: reason)
        }
        cycle.order = order
        if cycle.firstOrderedAt == nil {
            cycle.firstOrderedAt = around.stamp
            cycle.firstOrderedOn = around.machineInstant
            firstOrderedAt = around.now
        }
        state.cycle = cycle
        phase = .wakeOrdered(issue: order.issue)
        directives.append(.order(order, state))
    }

    private func newOrder(_ cycle: Cycle, reason: WakeReason) -> WakeOrder {
        WakeOrder(
            agent: state.record.address, generation: state.record.generation, attempt: cycle.attempt + 1,
            issue: state.issue,
            maxAttempts: cycle.policy.maxWakeAttempts, reason: reason, checkinDeadline: cycle.policy.checkinDeadline,
            heartbeatInterval: cycle.policy.heartbeatInterval, resetSession: cycle.resetSession,
            templatesDigest: state.record.templatesDigest, role: state.record.role, board: state.record.board,
            variables: state.record.variables, traceparent: cycle.traceparent)
    }

    /// The report of an order. Only the newest issue arms a deadline, and only while its attempt is not settled.
    public mutating func wakeReported(
        generation: Int, attempt: Int, issue: Int, _ outcome: WakeOutcome, _ around: AgentSurroundings,
        into directives: inout [AgentDirective]
    ) {
        let abandoned = state.abandonedIssues.firstIndex(of: issue)
        if let abandoned { state.abandonedIssues.remove(at: abandoned) }
        switch phase {
        case .wakeOrdered(issue):
            directives.append(.settleOrder)
        case .held where abandoned != nil && state.cycle?.order?.issue == issue:
            break
        case .leaving:
            directives.append(.log(.skippedDeleting))
            if state.abandonedIssues.isEmpty { erase(around, &directives) }
            return
        case .resting, .wakeQueued, .wakeOrdered, .awaitingCheckin, .online, .lost, .held:
            if generation != state.record.generation {
                directives.append(.log(.skippedStaleGeneration(attempt: attempt)))
            }
            return
        }
        guard let cycle = state.cycle else { return }
        switch outcome {
        case .expired:
            guard case .wakeOrdered = phase else { return }
            // Nobody was told of it: the same wake once more.
            queueWake(isRepeat: true, reason: cycle.order?.reason ?? cycle.reason, &directives)
        case .woken(let sentAt, let deadlineAt, let delivery, let age):
            state.record.wakeAttempts = attempt
            state.record.lastWakeSentAt = sentAt
            state.record.wakeDelivery = delivery
            arm(cycle, from: age, deadlineAt: deadlineAt, around, &directives)
            emit(.woken, reason: cycle.order?.reason.rawValue, around, &directives)
            // Its host may have come too late for it.
            if let returned = hostReturnedAt, around.now - age <= returned + AgentMachine.reportOnItsWayMax {
                hostReturned(around, into: &directives)
            }
            hostReturnedAt = nil
        case .failed(let at, let error, let age):
            state.record.wakeAttempts = attempt
            state.record.lastProvisionError = error
            directives.append(.log(.wakeFailed(attempt: attempt, error: error)))
            arm(cycle, from: age, deadlineAt: at + cycle.policy.checkinDeadline.span, around, &directives)
            emit(.provisionFailed, reason: error, around, &directives)
        }
    }

    private mutating func arm(
        _ cycle: Cycle, from age: TimeSpan, deadlineAt: Timestamp, _ around: AgentSurroundings,
        _ directives: inout [AgentDirective]
    ) {
        guard case .wakeOrdered = phase else { return }  // paused: no deadline
        let published = around.now - age + cycle.policy.checkinDeadline.span
        let gained = extensionWanted.map { useExtension(of: published, until: $0) } ?? .zero
        extensionWanted = nil
        let due = published + gained
        phase = .awaitingCheckin(due: due)
        state.record.checkinDeadlineAt = deadlineAt + gained
        directives.append(
            .log(
                .deadlineArmed(
                    attempt: cycle.attempt, delay: TimeSpan(milliseconds: max(0, due.milliseconds(since: around.now)))))
        )
    }

    /// `due` has passed, and every heartbeat received before it has been handed in.
    public mutating func deadlinePassed(_ around: AgentSurroundings, into directives: inout [AgentDirective]) {
        if let pauseEnd, around.now >= pauseEnd { endPauses(around, &directives) }
        awaitQuiet(around)
        guard let due, around.now >= due else { return }
        switch phase {
        case .wakeQueued, .wakeOrdered: break
        case .resting: requestCycle(.recover, reason: .recover, traceparent: nil, around, into: &directives)
        case .awaitingCheckin: checkinMissed(around, &directives)
        case .online where wellAt.map { $0 < lapseDue } ?? false: becomeWell(around, &directives)
        case .online, .lost: lapse(loss?.reason ?? "silent", around, &directives)
        case .held: forgetAbandonedOrders(around)
        case .leaving: erase(around, &directives)
        }
    }

    private mutating func checkinMissed(_ around: AgentSurroundings, _ directives: inout [AgentDirective]) {
        guard let cycle = state.cycle else { return }
        directives.append(.log(.deadlineHandled(attempt: cycle.attempt)))
        state.record.checkinDeadlineAt = nil
        if cycle.attempt < cycle.policy.maxWakeAttempts {
            state.record.status = .updating
            emit(.retriggered, reason: OfflineReason.checkinMissed.rawValue, around, &directives)
            directives.append(.log(.retriggered(attempt: cycle.attempt + 1)))
            queueWake(isRepeat: false, reason: .retrigger, &directives)
            return
        }
        noteEnd(around)
        state.record.status = .offline
        state.record.offlineReason = .checkinMissed
        state.record.lastProvisionError = AgentMachine.attemptsReachedError + cause(around)
        directives.append(
            .log(.attemptsExhausted(wakeAttempts: state.record.wakeAttempts, maxAttempts: cycle.policy.maxWakeAttempts))
        )
        state.cycle = nil
        phase = .resting
        emit(.offline, reason: OfflineReason.checkinMissed.rawValue, around, &directives)
    }

    /// The first thing known that explains a missed check-in, as the end of the error.
    private func cause(_ around: AgentSurroundings) -> String {
        if around.isGatewayLost { return ": gateway \(state.record.address.gateway) is lost" }
        if let rejection = state.record.lastRejection {
            let detail = rejection.detail.map { ": \($0)" } ?? ""
            return ": heartbeats rejected: \(rejection.reason.rawValue) ×\(rejection.count)\(detail)"
        }
        if let generation = state.cycle?.stillRuns { return ": it still runs generation \(generation)" }
        if let status = state.cycle?.exitStatus { return ": it exited with status \(status)" }
        if state.record.wakeDelivery == .noSubscriber { return ": no gateway received the wake" }
        if state.record.hasStaleTemplates { return ": templates are stale" }
        return ""
    }

    /// It is there no more. It is asked for again, at once or once its last recoveries are far enough behind.
    mutating func lapse(_ reason: String, _ around: AgentSurroundings, _ directives: inout [AgentDirective]) {
        noteEnd(at: reason == "silent" ? lastSeen : loss?.at.at, around)
        loss = nil
        lapseFloor = nil
        emit(.lapsed, reason: reason, around, &directives)
        directives.append(.log(.deadlineHandled(attempt: 0)))
        switch state.record.policy.onLapse {
        case .wake where !mustWait(around):
            requestCycle(.recover, reason: .recover, traceparent: nil, around, into: &directives)
        case .wake:
            awaitRecovery()
            goOffline(around, &directives)
        case .offline: goOffline(around, &directives)
        }
    }

    private mutating func goOffline(_ around: AgentSurroundings, _ directives: inout [AgentDirective]) {
        state.record.status = .offline
        state.record.offlineReason = .lapsed
        phase = .resting
        emit(.offline, reason: OfflineReason.lapsed.rawValue, around, &directives)
    }

    private mutating func endPauses(_ around: AgentSurroundings, _ directives: inout [AgentDirective]) {
        for cause in state.record.pausedBy {
            guard let end = state.pauseEnds[cause.rawValue], around.instant(of: end) <= around.now else { continue }
            resume(cause, around, into: &directives)
        }
        refreshPauseEnd(around)
    }

    /// Heartbeats can be counted again after a time in which they could not: what was waited for is waited for anew.
    public mutating func sightRegained(_ around: AgentSurroundings, into directives: inout [AgentDirective]) {
        // Whoever is or comes online: its newest heartbeats may still be on their way.
        extendLapse(around)
        switch phase {
        case .resting, .held, .leaving, .online: break
        case .wakeQueued:
            withdrawDeadline(LifecycleLog.Deferral.ownOutage.rawValue, around, &directives)
            directives.append(.requestTurn)
        case .wakeOrdered, .awaitingCheckin:
            guard let cycle = state.cycle else { return }
            abandonOrder(around, &directives)
            withdrawDeadline(LifecycleLog.Deferral.ownOutage.rawValue, around, &directives)
            directives.append(
                .log(.deadlineDeferred(attempt: cycle.attempt, delay: cycle.policy.checkinDeadline.span, .ownOutage)))
            queueWake(isRepeat: cycle.order != nil, reason: cycle.order?.reason ?? cycle.reason, &directives)
        case .lost:
            // It may have come back meanwhile.
            let grace = around.now + state.record.policy.lostGrace.span
            phase = .lost(due: max(grace, lapseFloor ?? grace))
        }
    }

    /// A deadline that was told and will not be judged: its wake is repeated.
    mutating func withdrawDeadline(
        _ reason: String, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
    ) {
        guard state.record.checkinDeadlineAt != nil else { return }
        state.record.checkinDeadlineAt = nil
        emit(.changed, reason: reason, around, &directives)
    }
}
