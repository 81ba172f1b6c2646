public import Model

// What operators ask for.
extension AgentMachine {
    /// Begins a cycle: a new generation, no attempts, errors and rejections cleared. A paused agent's first wake waits for
    /// its resume.
    public mutating func requestCycle(
        _ action: ProvisionAction, reason: WakeReason, resetSession: Bool = false, traceparent: String?,
        _ context: AgentContext, into directives: inout [AgentDirective]
    ) {
        abandonOrder(context, &directives)
        state.record.generation += 1
        state.record.wakeAttempts = 0
        state.record.lastProvisionError = nil
        state.record.lastRejection = nil
        state.record.checkinDeadlineAt = nil
        state.record.wakeDelivery = nil
        state.record.provisionAction = action
        state.record.provisionRequestedAt = context.wallTime
        state.record.status = action == .provision ? .provisioning : .updating
        state.record.offlineReason = nil
        state.record.isWanted = true
        state.record.recoveries = action == .recover ? state.record.recoveries + 1 : 0
        state.hostReturn = context.hostReturn ?? state.hostReturn
        forgetRecovery()
        hostReturnedAt = nil
        state.cycle = Cycle(
            policy: state.record.policy, requestedAt: context.wallTime, reason: reason, resetSession: resetSession,
            traceparent: traceparent)
        firstOrderedAt = nil
        extensionWanted = nil
        goodbye = nil
        loss = nil
        emit(action == .provision ? .provisioning : .updating, reason: reason.rawValue, context, &directives)
        if state.record.isPaused {
            phase = .paused
        } else {
            queueWake(isRepeat: false, reason: reason, &directives)
        }
    }

    /// Provisioned without a wake: offline, the generation stays, a cycle in progress ends.
    public mutating func provisionWithoutWake(_ context: AgentContext, into directives: inout [AgentDirective]) {
        state.record.status = .offline
        state.record.offlineReason = .neverWoken
        state.record.isWanted = false
        state.record.checkinDeadlineAt = nil
        state.record.wakeAttempts = 0
        forgetRecovery()
        endCycle(context, &directives)
        emit(.changed, reason: "provisioned", context, &directives)
    }

    /// Changes what an operator may change; `emit` or a cycle must follow. An online agent's lapse follows the new policy.
    public mutating func change(_ body: (inout AgentState) -> Void) {
        body(&state)
        bucket.rate = state.record.policy.heartbeatRate
    }

    /// Something changed that has no event of its own.
    public mutating func noteChange(
        _ reason: String?, _ context: AgentContext, into directives: inout [AgentDirective]
    ) {
        emit(.changed, reason: reason, context, &directives)
    }

    /// Its token is another one; the old one may still count until the new one is used, at most `tokenOverlap`.
    public mutating func rotateToken(
        digest: String, id: String, keepsOld: Bool = false, _ context: AgentContext,
        into directives: inout [AgentDirective]
    ) {
        // While none was used since, whoever replaced one twice may still have the first.
        let earlier = keepsOld ? state.replacedTokens.filter { context.wallTime < $0.until } : []
        state.earlierTokens = earlier.isEmpty ? nil : Array(earlier.suffix(AgentMachine.earlierTokensMax))
        state.previousToken =
            keepsOld
            ? state.tokenDigest.map { PreviousToken(digest: $0, until: context.wallTime + AgentMachine.tokenOverlap) }
            : nil
        state.tokenDigest = digest
        state.record.tokenID = id
        emit(.tokenRotated, context, &directives)
    }

    /// It is to run the templates with this digest; a cycle in progress goes on, and its next attempt says so.
    public mutating func syncTemplates(
        digest: String, _ context: AgentContext, into directives: inout [AgentDirective]
    ) {
        state.record.templatesDigest = digest
        emit(.templatesSynced, context, &directives)
    }

    /// No wake, no lapse, no verdict from here on; heartbeats count.
    public mutating func pause(
        _ cause: PauseCause, until: Timestamp?, _ context: AgentContext, into directives: inout [AgentDirective]
    ) {
        guard state.record.status != .deleting else { return }
        abandonOrder(context, &directives)
        if !state.record.pausedBy.contains(cause) { state.record.pausedBy.append(cause) }
        state.pauseEnds[cause.rawValue] = until
        refreshPauseEnd(context)
        state.record.checkinDeadlineAt = nil
        phase = .paused
        emit(.paused, reason: cause.rawValue, context, &directives)
    }

    /// Removes one cause; with the last one the agent goes on: the current attempt's wake is repeated, or the first one sent.
    public mutating func resume(
        _ cause: PauseCause, _ context: AgentContext, into directives: inout [AgentDirective]
    ) {
        guard let index = state.record.pausedBy.firstIndex(of: cause) else { return }
        state.record.pausedBy.remove(at: index)
        state.pauseEnds[cause.rawValue] = nil
        refreshPauseEnd(context)
        emit(.resumed, reason: cause.rawValue, context, &directives)
        guard !state.record.isPaused else { return }
        if let cycle = state.cycle {
            queueWake(isRepeat: cycle.order != nil, reason: cycle.order?.reason ?? cycle.reason, &directives)
        } else if state.record.status == .online {
            phase = loss == nil ? .online : .lost(due: context.now + state.record.policy.lostGrace.span)
            extendLapse(context)
            if state.record.reportedStatus == .stopping { return lapse("crashed", context, &directives) }
        } else {
            phase = .resting
        }
        // What its host has done meanwhile.
        let hasReturned = context.hostReturn.map { isToBeTold(ofReturn: $0) } ?? false
        guard hasReturned || hasHostWaited else { return }
        hasHostWaited = false
        hostReturned(context, into: &directives)
    }

    /// Its removal: `deleting` now, `deleted` once no wake of it can be published any more.
    public mutating func delete(_ context: AgentContext, into directives: inout [AgentDirective]) {
        guard state.record.status != .deleting else { return }
        abandonOrder(context, &directives)
        state.record.status = .deleting
        state.record.checkinDeadlineAt = nil
        state.record.pausedBy = []
        state.record.pausedUntil = nil
        state.pauseEnds = [:]
        pauseEnd = nil
        state.cycle = nil
        emit(.deleting, context, &directives)
        if state.orphanedPublications.isEmpty { return erase(context, &directives) }
        phase = .leaving
    }

    /// Ends the cycle in progress without a verdict.
    mutating func endCycle(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        abandonOrder(context, &directives)
        state.cycle = nil
        phase = state.record.isPaused ? .paused : .resting
    }

    mutating func erase(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        revise(context)
        phase = .resting
        let record = state.record
        directives.append(
            .erase(
                Tombstone(agent: record.address, generation: record.generation, revision: record.revision), state))
    }
}
