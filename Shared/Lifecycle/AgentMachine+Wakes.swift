public import Model

// Wakes, deadlines and suspension.
extension AgentMachine {
    /// What became of an order's publication.
    public enum WakeOutcome: Hashable, Sendable {
        case woken(sentAt: Timestamp, deadlineAt: Timestamp, delivery: WakeDelivery, age: TimeSpan)
        case failed(at: Timestamp, error: String, age: TimeSpan)
        case expired
    }

    /// The gateway's pace lets this agent's wake go.
    public mutating func permitGranted(_ context: AgentContext, into directives: inout [AgentDirective]) {
        guard case .wakeQueued(let isRepeat, let reason) = phase, var cycle = state.cycle else { return }
        state.publication += 1
        let order: WakeOrder
        if isRepeat, var last = cycle.order {
            last.publication = state.publication
            order = last
        } else {
            order = newOrder(cycle, reason: reason)
        }
        cycle.order = order
        if cycle.firstOrderedAt == nil {
            cycle.firstOrderedAt = context.wallTime
            cycle.firstOrderedOn = context.machineInstant
            firstOrderedAt = context.now
        }
        state.cycle = cycle
        phase = .wakeOrdered(publication: order.publication)
        directives.append(.order(order, state))
    }

    private func newOrder(_ cycle: Cycle, reason: WakeReason) -> WakeOrder {
        WakeOrder(
            agent: state.record.address, generation: state.record.generation, attempt: cycle.attempt + 1,
            publication: state.publication,
            maxAttempts: cycle.policy.maxWakeAttempts, reason: reason, checkinDeadline: cycle.policy.checkinDeadline,
            heartbeatInterval: cycle.policy.heartbeatInterval, resetSession: cycle.resetSession,
            templatesDigest: state.record.templatesDigest, role: state.record.role, board: state.record.board,
            variables: state.record.variables, traceparent: cycle.traceparent)
    }

    /// The report of an order. Only the newest publication arms a deadline, and only while its attempt is not settled.
    public mutating func wakeReported(
        generation: Int, attempt: Int, publication: Int, _ outcome: WakeOutcome, _ context: AgentContext,
        into directives: inout [AgentDirective]
    ) {
        let abandoned = state.orphanedPublications.firstIndex(of: publication)
        if let abandoned { state.orphanedPublications.remove(at: abandoned) }
        switch phase {
        case .wakeOrdered(publication):
            directives.append(.settleOrder)
        case .paused where abandoned != nil && state.cycle?.order?.publication == publication:
            break
        case .leaving:
            directives.append(.log(.skippedDeleting))
            if state.orphanedPublications.isEmpty { erase(context, &directives) }
            return
        case .resting, .wakeQueued, .wakeOrdered, .awaitingCheckin, .online, .lost, .paused:
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
            arm(cycle, from: age, deadlineAt: deadlineAt, context, &directives)
            emit(.woken, reason: cycle.order?.reason.rawValue, context, &directives)
            // Its host may have come too late for it.
            if let returned = hostReturnedAt, context.now - age <= returned + AgentMachine.reportOnItsWayMax {
                hostReturned(context, into: &directives)
            }
            hostReturnedAt = nil
        case .failed(let at, let error, let age):
            state.record.wakeAttempts = attempt
            state.record.lastProvisionError = error
            directives.append(.log(.wakeFailed(attempt: attempt, error: error)))
            arm(cycle, from: age, deadlineAt: at + cycle.policy.checkinDeadline.span, context, &directives)
            emit(.provisionFailed, reason: error, context, &directives)
        }
    }

    private mutating func arm(
        _ cycle: Cycle, from age: TimeSpan, deadlineAt: Timestamp, _ context: AgentContext,
        _ directives: inout [AgentDirective]
    ) {
        guard case .wakeOrdered = phase else { return }  // paused: no deadline
        let published = context.now - age + cycle.policy.checkinDeadline.span
        let gained = extensionWanted.map { useExtension(of: published, until: $0) } ?? .zero
        extensionWanted = nil
        let due = published + gained
        phase = .awaitingCheckin(due: due)
        state.record.checkinDeadlineAt = deadlineAt + gained
        directives.append(
            .log(
                .deadlineArmed(
                    attempt: cycle.attempt, delay: TimeSpan(milliseconds: max(0, due.milliseconds(since: context.now))))
            )
        )
    }

    /// `due` has passed, and every heartbeat received before it has been handed in.
    public mutating func deadlinePassed(_ context: AgentContext, into directives: inout [AgentDirective]) {
        if let pauseEnd, context.now >= pauseEnd { endPauses(context, &directives) }
        awaitDrain(context)
        guard let due, context.now >= due else { return }
        switch phase {
        case .wakeQueued, .wakeOrdered: break
        case .resting: requestCycle(.recover, reason: .recover, traceparent: nil, context, into: &directives)
        case .awaitingCheckin: checkinMissed(context, &directives)
        case .online where wellAt.map { $0 < lapseDue } ?? false: becomeWell(context, &directives)
        case .online, .lost: lapse(loss?.reason ?? "silent", context, &directives)
        case .paused: forgetOrphanedPublications(context)
        case .leaving: erase(context, &directives)
        }
    }

    private mutating func checkinMissed(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        guard let cycle = state.cycle else { return }
        directives.append(.log(.deadlineHandled(attempt: cycle.attempt)))
        state.record.checkinDeadlineAt = nil
        if cycle.attempt < cycle.policy.maxWakeAttempts {
            state.record.status = .updating
            emit(.retriggered, reason: OfflineReason.checkinMissed.rawValue, context, &directives)
            directives.append(.log(.retriggered(attempt: cycle.attempt + 1)))
            queueWake(isRepeat: false, reason: .retrigger, &directives)
            return
        }
        noteEnd(context)
        state.record.status = .offline
        state.record.offlineReason = .checkinMissed
        state.record.lastProvisionError = AgentMachine.attemptsReachedError + cause(context)
        directives.append(
            .log(.attemptsExhausted(wakeAttempts: state.record.wakeAttempts, maxAttempts: cycle.policy.maxWakeAttempts))
        )
        state.cycle = nil
        phase = .resting
        emit(.offline, reason: OfflineReason.checkinMissed.rawValue, context, &directives)
    }

    /// The first thing known that explains a missed check-in, as the end of the error.
    private func cause(_ context: AgentContext) -> String {
        if context.isGatewayLost { return ": gateway \(state.record.address.gateway) is lost" }
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
    mutating func lapse(_ reason: String, _ context: AgentContext, _ directives: inout [AgentDirective]) {
        noteEnd(at: reason == "silent" ? lastSeen : loss?.at.at, context)
        loss = nil
        lapseFloor = nil
        emit(.lapsed, reason: reason, context, &directives)
        directives.append(.log(.deadlineHandled(attempt: 0)))
        switch state.record.policy.onLapse {
        case .wake where !mustWait(context):
            requestCycle(.recover, reason: .recover, traceparent: nil, context, into: &directives)
        case .wake:
            awaitRecovery()
            goOffline(context, &directives)
        case .offline: goOffline(context, &directives)
        }
    }

    private mutating func goOffline(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        state.record.status = .offline
        state.record.offlineReason = .lapsed
        phase = .resting
        emit(.offline, reason: OfflineReason.lapsed.rawValue, context, &directives)
    }

    private mutating func endPauses(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        for cause in state.record.pausedBy {
            guard let end = state.pauseEnds[cause.rawValue], context.instant(of: end) <= context.now else { continue }
            resume(cause, context, into: &directives)
        }
        refreshPauseEnd(context)
    }

    /// Heartbeats can be counted again after a time in which they could not: what was waited for is waited for anew.
    public mutating func observabilityRestored(_ context: AgentContext, into directives: inout [AgentDirective]) {
        // Whoever is or comes online: its newest heartbeats may still be on their way.
        extendLapse(context)
        switch phase {
        case .resting, .paused, .leaving, .online: break
        case .wakeQueued:
            withdrawDeadline(LifecycleLog.Deferral.ownOutage.rawValue, context, &directives)
            directives.append(.requestPermit)
        case .wakeOrdered, .awaitingCheckin:
            guard let cycle = state.cycle else { return }
            abandonOrder(context, &directives)
            withdrawDeadline(LifecycleLog.Deferral.ownOutage.rawValue, context, &directives)
            directives.append(
                .log(.deadlineDeferred(attempt: cycle.attempt, delay: cycle.policy.checkinDeadline.span, .ownOutage)))
            queueWake(isRepeat: cycle.order != nil, reason: cycle.order?.reason ?? cycle.reason, &directives)
        case .lost:
            // It may have come back meanwhile.
            let grace = context.now + state.record.policy.lostGrace.span
            phase = .lost(due: max(grace, lapseFloor ?? grace))
        }
    }

    /// A deadline that was told and will not be judged: its wake is repeated.
    mutating func withdrawDeadline(
        _ reason: String, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        guard state.record.checkinDeadlineAt != nil else { return }
        state.record.checkinDeadlineAt = nil
        emit(.changed, reason: reason, context, &directives)
    }
}
