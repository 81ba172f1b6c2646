// What agents say.
extension AgentMachine {
    /// A heartbeat whose form is good. The rules are those of the contract's section on heartbeats, in their order.
    public mutating func heartbeatReceived(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, into directives: inout [AgentDirective]
    ) {
        guard state.record.status != .deleting else { return reject(.deleting, nil, around, into: &directives) }
        if let digest = heartbeat.tokenDigest, !accepts(digest, around) {
            return reject(.badToken, "x-agent-token: is not this agent's token", around, into: &directives)
        }
        if let generation = heartbeat.generation, generation > state.record.generation {
            let detail = "generation: \(generation) is newer than the current one, \(state.record.generation)"
            return reject(.malformed, detail, around, into: &directives)
        }
        countSequence(heartbeat, &directives)
        guard bucket.take(heartbeat.receivedAt) else {
            let detail = "more than \(state.record.policy.heartbeatRate) came"
            return reject(.rateLimited, detail, around, into: &directives)
        }

        switch heartbeat.status {
        case .lost: lost(heartbeat, around)
        case .stopping: stopping(heartbeat, around, &directives)
        case .starting: starting(heartbeat, around, &directives)
        case .ok, .degraded: alive(heartbeat, around, &directives)
        }
    }

    /// The common case, without a directive: a heartbeat that says nothing new, of an agent that is online and well.
    ///
    /// - Returns: `false` when it is not that case, and nothing was changed: `heartbeatReceived` is to judge it.
    public mutating func noteHeartbeat(receivedAt: Instant, receivedStamp: Timestamp) -> Bool {
        guard case .online = phase, state.record.reportedStatus == .ok, bucket.take(receivedAt) else { return false }
        if let lastSeen, lastSeen > receivedAt { return true }
        lastSeen = receivedAt
        state.record.lastSeenAt = receivedStamp
        return true
    }

    /// A heartbeat that is not accepted: counted on the agent, published at most once a second.
    public mutating func reject(
        _ reason: RejectionReason, _ detail: String?, _ around: AgentSurroundings,
        into directives: inout [AgentDirective]
    ) {
        let count = (state.record.lastRejection?.count ?? 0) + 1
        state.record.lastRejection = Rejection(reason: reason, detail: detail, at: around.stamp, count: count)
        let isDue = rejectionPublishedAt.map { around.now >= $0 + AgentMachine.rejectionEventInterval } ?? true
        // A flood is logged as often as it is published; any other rejection each time.
        if isDue || reason != .rateLimited { directives.append(.log(.rejected(reason, detail: detail))) }
        guard isDue else { return directives.append(.noteSighting) }
        rejectionPublishedAt = around.now
        emit(.heartbeatRejected, reason: reason.rawValue, around, &directives)
    }

    /// Whether a token counts; the first use of the newest one ends the one before.
    private mutating func accepts(_ digest: String, _ around: AgentSurroundings) -> Bool {
        if let newest = state.tokenDigest, isSameDigest(digest, newest) {
            state.previousToken = nil
            return true
        }
        return state.previousToken.map { isSameDigest($0.digest, digest) && around.stamp < $0.until } ?? false
    }

    // MARK: Each status

    private mutating func alive(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
    ) {
        let isEarlier = see(heartbeat)
        guard !isOfOlderGeneration(heartbeat) else { return directives.append(.noteSighting) }
        switch state.record.status {
        case .provisioning, .updating:
            guard answersAWake(heartbeat) else { return directives.append(.noteSighting) }
            checkIn(heartbeat, around, &directives)
        case .offline:
            // One that was sent before the goodbye and overtaken by it brings nobody back.
            if let goodbyeAt, heartbeat.receivedAt <= goodbyeAt { return directives.append(.noteSighting) }
            checkIn(heartbeat, around, &directives)
        case .online:
            if case .lost = phase, let lostAt, heartbeat.receivedAt > lostAt {
                phase = .online
                self.lostAt = nil
            }
            if isEarlier || !takeReport(heartbeat) {
                directives.append(.noteSighting)
            } else {
                emit(.changed, reason: "reported", around, &directives)
            }
        case .deleting: break
        }
    }

    private mutating func starting(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
    ) {
        _ = see(heartbeat)
        guard !isOfOlderGeneration(heartbeat), answersAWake(heartbeat) || state.cycle == nil else {
            return directives.append(.noteSighting)
        }
        if case .lost = phase, let lostAt, heartbeat.receivedAt > lostAt {
            phase = .online
            self.lostAt = nil
        }
        let extended = extendDeadline(heartbeat, around, &directives)
        let reported = takeReport(heartbeat)
        if extended || reported {
            emit(.changed, reason: extended ? "extended" : "reported", around, &directives)
        } else {
            directives.append(.noteSighting)
        }
    }

    private mutating func stopping(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
    ) {
        guard isOfCurrentBoot(heartbeat) else { return }
        _ = see(heartbeat)
        guard !isOfOlderGeneration(heartbeat), state.record.status != .offline,
            answersAWake(heartbeat) || state.cycle == nil
        else { return directives.append(.noteSighting) }
        goodbyeAt = heartbeat.receivedAt
        lostAt = nil
        state.record.status = .offline
        state.record.reportedStatus = .stopping
        state.record.checkinDeadlineAt = nil
        state.record.lastProvisionError = nil
        state.wentOfflineWithGateway = false
        endCycle(around, &directives)
        emit(.offline, reason: OfflineReason.goodbye.rawValue, around, &directives)
    }

    /// The broker speaks for it: it is no sign of life.
    private mutating func lost(_ heartbeat: Heartbeat, _ around: AgentSurroundings) {
        guard isOfCurrentBoot(heartbeat), !isOfOlderGeneration(heartbeat), case .online = phase else { return }
        // Whoever was heard of after the connection broke has come back already.
        if let lastSeen, lastSeen > heartbeat.receivedAt { return }
        lostAt = heartbeat.receivedAt
        phase = .lost(due: around.now + state.record.policy.lostGrace.span)
    }

    // MARK: What they have in common

    private mutating func checkIn(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
    ) {
        let attempt = state.cycle?.attempt ?? 0
        if state.cycle != nil {
            directives.append(.log(.checkedInBeforeDeadline(attempt: attempt)))
            directives.append(.log(.deadlineHandled(attempt: attempt)))
        }
        _ = takeReport(heartbeat)
        state.record.status = .online
        state.record.wakeAttempts = 0
        state.record.checkinDeadlineAt = nil
        state.record.lastProvisionError = nil
        state.wentOfflineWithGateway = false
        goodbyeAt = nil
        lostAt = nil
        endCycle(around, &directives)
        if !state.record.isPaused { phase = .online }
        emit(.online, reason: attempt > 0 ? "checked_in" : "heartbeat", around, &directives)
    }

    /// Takes over what the agent says of itself; whether the record changed by it.
    private mutating func takeReport(_ heartbeat: Heartbeat) -> Bool {
        let before = (state.record.reportedStatus, state.record.bootID, state.record.templatesDigestReported)
        state.record.reportedStatus = heartbeat.status
        if let bootID = heartbeat.bootID { state.record.bootID = bootID }
        if let digest = heartbeat.templatesDigest { state.record.templatesDigestReported = digest }
        return before != (state.record.reportedStatus, state.record.bootID, state.record.templatesDigestReported)
    }

    /// Moves `last_seen_at` forward, never back; whether a newer heartbeat was seen before.
    private mutating func see(_ heartbeat: Heartbeat) -> Bool {
        if let lastSeen, lastSeen > heartbeat.receivedAt { return true }
        lastSeen = heartbeat.receivedAt
        state.record.lastSeenAt = heartbeat.receivedStamp
        return false
    }

    private func isOfOlderGeneration(_ heartbeat: Heartbeat) -> Bool {
        heartbeat.generation.map { $0 < state.record.generation } ?? false
    }

    /// Whether it was received after the cycle's first wake was ordered; an echo of the generation proves it.
    private func answersAWake(_ heartbeat: Heartbeat) -> Bool {
        guard state.cycle != nil, let firstOrderedAt else { return false }
        if heartbeat.generation == state.record.generation { return true }
        return heartbeat.receivedAt >= firstOrderedAt
    }

    private func isOfCurrentBoot(_ heartbeat: Heartbeat) -> Bool {
        guard let bootID = heartbeat.bootID else { return true }
        return state.record.bootID == nil || bootID == state.record.bootID
    }

    /// `starting` moves a deadline that runs to received + extend, within what one cycle allows.
    private mutating func extendDeadline(
        _ heartbeat: Heartbeat, _ around: AgentSurroundings, _ directives: inout [AgentDirective]
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
        case .lost: return
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
