internal import Model

// Heartbeats that say it has ended: its goodbye, its crash, its Last Will, its host that waits.
extension AgentMachine {
    mutating func stopping(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        guard isOfCurrentBoot(heartbeat) else { return }
        let isOfEarlierIncarnation = isOfEarlierIncarnation(heartbeat)
        _ = see(heartbeat)
        if let status = heartbeat.exitStatus, status != 0 {
            return crashed(heartbeat, status, isOfEarlierIncarnation, context, &directives)
        }
        let isToCome = state.cycle != nil && !answersAWake(heartbeat)
        guard !isOfEarlierIncarnation, !isToCome else { return directives.append(.noteLastSeen) }
        guard state.record.status != .offline else { return finished(heartbeat, context, &directives) }
        goodbye = Reception(of: heartbeat)
        loss = nil
        _ = takeReport(heartbeat)
        if let status = heartbeat.exitStatus { state.record.lastExitStatus = status }
        state.record.checkinDeadlineAt = nil
        state.record.lastProvisionError = nil
        noteEnd(context)
        if heartbeat.reason != .hostStopping { becomeUnwanted() }
        state.record.status = .offline
        state.record.offlineReason = .goodbye
        endCycle(context, &directives)
        emit(.offline, reason: OfflineReason.goodbye.rawValue, context, &directives)
    }

    /// One that is offline has ended on purpose, and says so late: it is not to be started again.
    private mutating func finished(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        guard heartbeat.reason != .hostStopping, state.record.isWanted else {
            return directives.append(.noteLastSeen)
        }
        becomeUnwanted()
        _ = takeReport(heartbeat)
        if let status = heartbeat.exitStatus { state.record.lastExitStatus = status }
        emit(.changed, reason: "reported", context, &directives)
    }

    private mutating func becomeUnwanted() {
        state.record.isWanted = false
        state.record.recoveries = 0
        forgetRecovery()
    }

    /// It ended with an error. Of an agent that was there that is a lapse; of a start it is why no check-in comes.
    private mutating func crashed(
        _ heartbeat: Heartbeat, _ status: Int, _ isOfEarlierIncarnation: Bool, _ context: AgentContext,
        _ directives: inout [AgentDirective]
    ) {
        guard !isOfEarlierIncarnation else { return directives.append(.noteLastSeen) }
        switch state.record.status {
        case .online:
            state.record.lastExitStatus = status
            _ = takeReport(heartbeat)
            if state.record.isPaused { return emit(.changed, reason: "reported", context, &directives) }
            lapse("crashed", context, &directives)
        case .provisioning, .updating:
            guard answersAWake(heartbeat) else { return directives.append(.noteLastSeen) }
            let isNews = state.cycle?.exitStatus != status
            state.cycle?.exitStatus = status
            state.cycle?.stillRuns = nil
            state.record.lastExitStatus = status
            noteReport(takeReport(heartbeat) || isNews, "reported", context, &directives)
        case .offline:
            let before = (state.record.lastExitStatus, state.record.note)
            state.record.lastExitStatus = status
            takeNote(heartbeat)
            noteReport(before != (state.record.lastExitStatus, state.record.note), "reported", context, &directives)
        case .deleting: break
        }
    }

    /// The broker speaks for it: it is no sign of life.
    mutating func lost(_ heartbeat: Heartbeat, _ context: AgentContext) {
        guard isOfCurrentBoot(heartbeat), !isOfEarlierIncarnation(heartbeat), state.record.status == .online else {
            return
        }
        // Whoever was heard of after the connection broke has come back already.
        guard !wasSeen(after: heartbeat) else { return }
        switch phase {
        case .online: phase = .lost(due: context.now + state.record.policy.lostGrace.span)
        // Its resume judges.
        case .paused: break
        default: return
        }
        loss = Loss(at: Reception(of: heartbeat), reason: "lost")
    }

    /// Its host is there, and it does not run.
    mutating func waiting(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        if let boot = heartbeat.bootID, earlierBoots.contains(boot) { return }
        guard !wasSeen(after: heartbeat) else { return }
        guard !state.record.isPaused else {
            hasHostWaited = true
            return
        }
        switch phase {
        case .online, .lost: lapse("host_restarted", context, &directives)
        case .resting, .wakeQueued, .wakeOrdered, .awaitingCheckin: hostReturned(context, into: &directives)
        case .paused, .leaving: break
        }
    }
}
