public import Model

// Who starts an agent returns, and an agent that ends again and again is asked for less and less often.
extension AgentMachine {
    /// The age of a report does not count its way: by so much its wake may be older than it looks (decision 8).
    public static let reportOnItsWayMax = TimeSpan.seconds(2)

    /// Its host is there again: its gateway, or its own runtime. Who is paused is told on its resume.
    ///
    /// - Parameters:
    ///   - heardAfter: an agent that is online and was heard of after this is there; `nil`: after now.
    ///   - isNewIncarnation: the host has begun anew: an outage of ours before does not explain why its agents are silent.
    public mutating func hostReturned(
        heardAfter: Instant? = nil, isNewIncarnation: Bool = false, _ context: AgentContext,
        into directives: inout [AgentDirective]
    ) {
        guard !state.record.isPaused else { return }
        state.hostReturn = context.hostReturn ?? state.hostReturn
        switch phase {
        case .resting: if state.record.isWanted { recover(context, &directives) }
        case .wakeQueued, .paused, .leaving: break
        case .wakeOrdered: hostReturnedAt = context.now
        case .awaitingCheckin:
            guard let cycle = state.cycle else { return }
            withdrawDeadline("host_returned", context, &directives)
            queueWake(isRepeat: true, reason: cycle.order?.reason ?? cycle.reason, &directives)
        case .online, .lost:
            let since = heardAfter ?? context.now
            if case .online = phase, let lastSeen, lastSeen > since { return }
            let grace = context.now + state.record.policy.lostGrace.span
            phase = .lost(due: isNewIncarnation ? grace : max(grace, lapseFloor ?? grace))
            loss = Loss(at: Reception(at: since), reason: "host_restarted")
        }
    }

    /// Asks for an agent that is offline, or notes that it is to be asked for.
    private mutating func recover(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        guard mustWait(context) else {
            return requestCycle(.recover, reason: .recover, traceparent: nil, context, into: &directives)
        }
        guard state.awaitsRecovery != true else { return }
        awaitRecovery()
        emit(.changed, reason: "recovery_waits", context, &directives)
    }

    // MARK: One recovery after the other

    /// It has ended, for whatever reason: what follows waits the longer, the more recoveries have led to nothing lasting.
    ///
    /// - Parameter end: when it was there last, as far as is known; `nil`: until now.
    mutating func noteEnd(at end: Instant? = nil, _ context: AgentContext) {
        if let wellAt, let lastSeen, lastSeen >= wellAt { state.record.recoveries = 0 }
        let whole = state.record.policy.recoveryWait(after: state.record.recoveries).milliseconds
        let wait = TimeSpan(milliseconds: whole - max(0, context.now.milliseconds(since: end ?? context.now)))
        state.recoverAfter = wait > .zero ? context.wallTime + wait : nil
        recoverAfter = wait > .zero ? context.now + wait : nil
        state.onlineSince = nil
        onlineSince = nil
    }

    func mustWait(_ context: AgentContext) -> Bool {
        recoverAfter.map { context.now < $0 } ?? false
    }

    /// What it waits for is said where its errors are, unless there is one.
    mutating func awaitRecovery() {
        state.awaitsRecovery = true
        guard state.record.lastProvisionError == nil else { return }
        let wait = state.record.policy.recoveryWait(after: state.record.recoveries).milliseconds
        let text = wait % 1_000 == 0 ? DurationText(wait / 1_000, .seconds) : DurationText(wait, .milliseconds)
        state.record.lastProvisionError = "recovery \(state.record.recoveries + 1) in a row waits \(text)"
    }

    mutating func forgetRecovery() {
        state.recoverAfter = nil
        recoverAfter = nil
        state.awaitsRecovery = nil
    }

    /// When the next recovery begins.
    var recoveryDue: Instant? { state.awaitsRecovery == true ? recoverAfter : nil }

    /// When an agent that was recovered has been online for long enough to be well.
    var wellAt: Instant? {
        guard state.record.recoveries > 0, state.record.status == .online else { return nil }
        return onlineSince.map { $0 + state.record.policy.offlineAfter.span }
    }

    mutating func becomeWell(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        state.record.recoveries = 0
        emit(.changed, reason: "well", context, &directives)
    }
}
