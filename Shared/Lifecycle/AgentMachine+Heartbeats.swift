public import Model

// What agents say.
extension AgentMachine {
    /// How far two ingests may disagree about when they received what one agent said.
    static let ingestsApart = TimeSpan(milliseconds: 100)

    /// A heartbeat whose form is good. The rules are those of the contract's section on heartbeats, in their order.
    ///
    /// - Returns: whether it was accepted.
    @discardableResult
    public mutating func heartbeatReceived(
        _ heartbeat: Heartbeat, _ context: AgentContext, into directives: inout [AgentDirective]
    ) -> Bool {
        guard state.record.status != .deleting else {
            reject(.deleting, nil, context, into: &directives)
            return false
        }
        if let digest = heartbeat.tokenDigest, !isToken(digest, context, into: &directives) { return false }
        if let generation = heartbeat.generation, generation > state.record.generation {
            let detail = "generation: \(generation) is newer than the current one, \(state.record.generation)"
            reject(.malformed, detail, context, into: &directives)
            return false
        }
        countSequence(heartbeat, &directives)
        // Whoever floods us may end all the same.
        let isEnd = heartbeat.status == .lost || heartbeat.status == .stopping
        guard isEnd || bucket.take(heartbeat.receivedAt) else {
            let detail = "more than \(state.record.policy.heartbeatRate) came"
            reject(.rateLimited, detail, context, into: &directives)
            return false
        }
        switch heartbeat.status {
        case .lost: lost(heartbeat, context)
        case .stopping: stopping(heartbeat, context, &directives)
        case .waiting: waiting(heartbeat, context, &directives)
        case .starting: starting(heartbeat, context, &directives)
        case .ok, .degraded: alive(heartbeat, context, &directives)
        }
        return true
    }

    /// Whether somebody who speaks for the agent has its token; one who has not is a rejection.
    public mutating func isToken(
        _ digest: String, _ context: AgentContext, into directives: inout [AgentDirective]
    ) -> Bool {
        if accepts(digest, context) { return true }
        reject(.badToken, "x-agent-token: is not this agent's token", context, into: &directives)
        return false
    }

    /// The common case, without a directive: a heartbeat that says nothing new, of an agent that is online and well.
    ///
    /// - Returns: `false` when it is not that case, and nothing was changed: `heartbeatReceived` is to judge it.
    public mutating func noteHeartbeat(receivedAt: Instant, receivedWallTime: Timestamp, ingest: Int = 0) -> Bool {
        guard case .online = phase, state.record.reportedStatus == .ok, bucket.take(receivedAt) else { return false }
        if let lastSeen, lastSeen > receivedAt { return true }
        lastSeen = receivedAt
        lastSeenBy = ingest
        state.record.lastSeenAt = receivedWallTime
        return true
    }

    /// A heartbeat that is not accepted: counted on the agent, published at most once a second.
    ///
    /// - Parameter detail: the member and what is wrong with it.
    public mutating func reject(
        _ reason: RejectionReason, _ detail: String?, _ context: AgentContext,
        into directives: inout [AgentDirective]
    ) {
        let last = state.record.lastRejection
        let count = last?.reason == reason ? last?.count ?? 0 : 0
        state.record.lastRejection = Rejection(reason: reason, detail: detail, at: context.wallTime, count: count + 1)
        guard context.tellsRejections else { return directives.append(.noteLastSeen) }
        let isDue = rejectionPublishedAt.map { context.now >= $0 + AgentMachine.rejectionEventInterval } ?? true
        // A flood is logged as often as it is published; any other rejection each time.
        if isDue || reason != .rateLimited { directives.append(.log(.rejected(reason, detail: detail))) }
        guard isDue else { return directives.append(.noteLastSeen) }
        rejectionPublishedAt = context.now
        emit(.heartbeatRejected, reason: reason.rawValue, context, &directives)
    }

    /// Whether a token counts; the first use of the newest one ends the one before.
    private mutating func accepts(_ digest: String, _ context: AgentContext) -> Bool {
        if let newest = state.tokenDigest, isSameDigest(digest, newest) {
            state.previousToken = nil
            state.earlierTokens = nil
            return true
        }
        return state.replacedTokens.contains { isSameDigest($0.digest, digest) && context.wallTime < $0.until }
    }

    // MARK: Each status

    private mutating func alive(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        let isEarlier = see(heartbeat)
        switch state.record.status {
        case .provisioning, .updating:
            guard answersAWake(heartbeat) else {
                return noteReport(takeOlderGeneration(heartbeat), "reported", context, &directives)
            }
            checkIn(heartbeat, context, &directives)
        case .offline:
            // One that was sent before the goodbye and overtaken by it brings nobody back.
            if let goodbye, !goodbye.isBefore(heartbeat, atLeast: AgentMachine.ingestsApart) {
                return directives.append(.noteLastSeen)
            }
            checkIn(heartbeat, context, &directives)
        case .online:
            comeBack(heartbeat)
            noteReport(!isEarlier && takeReport(heartbeat), "reported", context, &directives)
        case .deleting: break
        }
    }

    private mutating func starting(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        _ = see(heartbeat)
        guard answersAWake(heartbeat) || state.cycle == nil else {
            return noteReport(takeOlderGeneration(heartbeat), "reported", context, &directives)
        }
        comeBack(heartbeat)
        let extended = extendDeadline(heartbeat, context, &directives)
        let reported = takeReport(heartbeat)
        noteReport(extended || reported, extended ? "extended" : "reported", context, &directives)
    }

    // MARK: What they have in common

    private mutating func checkIn(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        let attempt = state.cycle?.attempt ?? 0
        if state.cycle != nil {
            directives.append(.log(.checkedInBeforeDeadline(attempt: attempt)))
            directives.append(.log(.deadlineHandled(attempt: attempt)))
        }
        state.record.note = nil
        _ = takeReport(heartbeat)
        state.record.status = .online
        state.record.offlineReason = nil
        state.record.isWanted = true
        state.record.wakeAttempts = 0
        state.record.checkinDeadlineAt = nil
        state.record.lastProvisionError = nil
        state.hostReturn = context.hostReturn ?? state.hostReturn
        state.onlineSince = context.wallTime
        onlineSince = context.now
        forgetRecovery()
        goodbye = nil
        loss = nil
        endCycle(context, &directives)
        if !state.record.isPaused { phase = .online }
        emit(.online, reason: attempt > 0 ? "checked_in" : "heartbeat", context, &directives)
    }

    /// A heartbeat after its Last Will, or after its host's return, brings it back.
    private mutating func comeBack(_ heartbeat: Heartbeat) {
        guard let loss,
            loss.at.isBefore(heartbeat, atLeast: TimeSpan(milliseconds: -AgentMachine.ingestsApart.milliseconds))
        else { return }
        if case .lost = phase { phase = .online }
        self.loss = nil
    }

    mutating func noteReport(
        _ isNews: Bool, _ reason: String, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) {
        if isNews { emit(.changed, reason: reason, context, &directives) } else { directives.append(.noteLastSeen) }
    }

    /// Takes over what the agent says of itself; whether the record changed by it.
    mutating func takeReport(_ heartbeat: Heartbeat) -> Bool {
        let before = (
            state.record.reportedStatus, state.record.bootID, state.record.templatesDigestReported, state.record.note
        )
        state.record.reportedStatus = heartbeat.status
        if let bootID = heartbeat.bootID {
            if let earlier = state.record.bootID, earlier != bootID { remember(earlier) }
            state.record.bootID = bootID
        }
        if let digest = heartbeat.templatesDigest { state.record.templatesDigestReported = digest }
        takeNote(heartbeat)
        let isOfOther = takeGeneration(heartbeat)
        return isOfOther
            || before != (
                state.record.reportedStatus, state.record.bootID, state.record.templatesDigestReported,
                state.record.note
            )
    }

    mutating func takeNote(_ heartbeat: Heartbeat) {
        if let note = heartbeat.note { state.record.note = note.isEmpty ? nil : note }
    }

    /// Takes over the generation it echoes; whether the record changed by it. The first echo of its own one is no news.
    private mutating func takeGeneration(_ heartbeat: Heartbeat) -> Bool {
        guard let generation = heartbeat.generation else { return false }
        let isOlder = generation < state.record.generation
        let isNewInCycle = isOlder && state.cycle != nil && state.cycle?.stillRuns != generation
        if isOlder { state.cycle?.stillRuns = generation }
        guard state.record.generationReported != generation else { return isNewInCycle }
        let isKnown = state.record.generationReported != nil
        state.record.generationReported = generation
        return isOlder || isKnown
    }

    private mutating func remember(_ boot: String) {
        earlierBoots.append(boot)
        if earlierBoots.count > AgentMachine.earlierBootsMax { earlierBoots.removeFirst() }
    }

    /// Moves `last_seen_at` forward, never back; whether a newer heartbeat was seen before.
    mutating func see(_ heartbeat: Heartbeat) -> Bool {
        if let lastSeen, lastSeen > heartbeat.receivedAt { return true }
        lastSeen = heartbeat.receivedAt
        lastSeenBy = heartbeat.ingest
        state.record.lastSeenAt = heartbeat.receivedWallTime
        return false
    }

    /// Whether it was heard of since this was received; what came by one ingest is judged in its order.
    func wasSeen(after heartbeat: Heartbeat) -> Bool {
        guard let lastSeen, lastSeen > heartbeat.receivedAt else { return false }
        return lastSeenBy == 0 || lastSeenBy != heartbeat.ingest
    }

    /// Whether it echoes a generation before the one that runs: that of a process that was replaced.
    func isOfEarlierIncarnation(_ heartbeat: Heartbeat) -> Bool {
        guard let generation = heartbeat.generation, generation < state.record.generation else { return false }
        if let cycle = state.cycle { return cycle.reason != .recover }
        return generation < state.record.generationReported ?? state.record.generation
    }

    /// Whether it was received after the cycle's first wake was ordered, which an echo of the generation proves. One that
    /// echoes an older generation answers a recovery: it is there, and that is all that was asked.
    func answersAWake(_ heartbeat: Heartbeat) -> Bool {
        guard let cycle = state.cycle, let firstOrderedAt else { return false }
        if let generation = heartbeat.generation {
            if generation == state.record.generation { return true }
            guard cycle.reason == .recover else { return false }
        }
        return heartbeat.receivedAt >= firstOrderedAt
    }

    /// Before the cycle's first wake was ordered it is no news that another generation runs.
    private mutating func takeOlderGeneration(_ heartbeat: Heartbeat) -> Bool {
        guard let firstOrderedAt, heartbeat.receivedAt >= firstOrderedAt else { return false }
        return takeGeneration(heartbeat)
    }

    func isOfCurrentBoot(_ heartbeat: Heartbeat) -> Bool {
        guard let bootID = heartbeat.bootID else { return true }
        return state.record.bootID == nil || bootID == state.record.bootID
    }

    /// `starting` moves a deadline that runs to received + extend, within what one cycle allows.
    private mutating func extendDeadline(
        _ heartbeat: Heartbeat, _ context: AgentContext, _ directives: inout [AgentDirective]
    ) -> Bool {
        guard let cycle = state.cycle else { return false }
        let wanted = heartbeat.receivedAt + (heartbeat.extend?.span ?? cycle.policy.checkinDeadline.span)
        guard case .awaitingCheckin(let due) = phase else {
            // Its wake is on its way or will be: the deadline of that one is not known yet.
            extensionWanted = max(extensionWanted ?? wanted, wanted)
            return false
        }
        let gained = useExtension(of: due, until: wanted)
        guard gained > .zero else { return false }
        phase = .awaitingCheckin(due: due + gained)
        state.record.checkinDeadlineAt = state.record.checkinDeadlineAt.map { $0 + gained }
        directives.append(
            .log(.deadlineDeferred(attempt: cycle.attempt, delay: gained, .extended)))
        return true
    }

    /// What a deadline may gain of what was wanted, counted against the cycle's cap.
    mutating func useExtension(of due: Instant, until wanted: Instant) -> TimeSpan {
        guard let cycle = state.cycle else { return .zero }
        let left = cycle.policy.startupExtensionMax.span.milliseconds - cycle.extensionUsed
        let gained = max(0, min(wanted.milliseconds(since: due), left))
        state.cycle?.extensionUsed += gained
        return TimeSpan(milliseconds: gained)
    }

    /// A Last Will was written when the connection began, and the goodbye of another boot counts for nothing.
    private mutating func countSequence(_ heartbeat: Heartbeat, _ directives: inout [AgentDirective]) {
        switch heartbeat.status {
        case .lost, .waiting: return
        case .stopping: guard isOfCurrentBoot(heartbeat) else { return }
        case .ok, .degraded, .starting: break
        }
        guard let seq = heartbeat.seq else { return }
        guard heartbeat.bootID == nil || heartbeat.bootID == state.record.bootID, let last = lastSeq else {
            lastSeq = seq
            return
        }
        if seq > last {
            lastSeq = seq
            let lost = seq.minus(last) - 1
            if lost > 0 { directives.append(.countSequence(lost: lost, isRepeated: false)) }
        } else {
            directives.append(.countSequence(lost: 0, isRepeated: true))
        }
    }
}
