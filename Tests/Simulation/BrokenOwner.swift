import Contract
import Lifecycle
import ReconcilerCore

// What becomes of an owner's inputs and of its memory where a rule is switched off.
extension ReconcilerProcess {
    func altered(_ batch: HeartbeatBatch, _ partition: Owned) -> HeartbeatBatch {
        var batch = batch
        for index in batch.segments.indices {
            if world.isBroken(.heartbeatsHaveAges) { batch.segments[index].age = 0 }
            batch.segments[index].names.removeAll { name in
                AgentAddress(name).map { isUncounted($0, .ok, partition) } ?? false
            }
            guard let detail = batch.segments[index].detail else { continue }
            if world.isBroken(.willsWhileBlindAreForgotten), detail.status == .lost, partition.owner.isBlind {
                partition.wills.append(detail)
            }
            let isDropped = isUncounted(detail.agent, detail.status ?? .ok, partition)
            batch.segments[index].detail = isDropped ? nil : altered(detail, partition)
        }
        return batch
    }

    private func altered(_ detail: HeartbeatDetail, _ partition: Owned) -> HeartbeatDetail {
        var detail = detail
        if world.isBroken(.olderEchoesSettleNothing), let machine = partition.owner.machine(of: detail.agent),
            let generation = detail.generation, generation < machine.record.generation
        {
            detail.generation = nil
        }
        if world.isBroken(.otherBootsSayNothing), detail.status == .stopping || detail.status == .lost {
            detail.bootID = nil
        }
        return detail
    }

    /// Believes what was said while blind.
    func replayWills(_ partition: Owned) {
        guard !partition.wills.isEmpty, !partition.owner.isBlind else { return }
        let segments = partition.wills.map {
            HeartbeatBatch.Segment(
                at: stamp.millisecondsSince1970, age: 0, gateway: nil, names: [], detail: $0)
        }
        partition.wills = []
        handle(.batchReceived(HeartbeatBatch(segments: segments), held: .zero), partition)
    }

    /// A check-in that comes before the report of its wake.
    private func isUncounted(_ agent: AgentAddress, _ status: HeartbeatStatus, _ partition: Owned) -> Bool {
        guard world.isBroken(.checkinsCountOnceOrdered), status == .ok,
            case .wakeOrdered? = partition.owner.machine(of: agent)?.phase
        else { return false }
        return true
    }

    /// The report, or what becomes of it where a rule is switched off.
    func altered(_ report: WakeReport, _ partition: Owned) -> WakeReport? {
        if world.isBroken(.failuresArm), case .failed = report.outcome { return nil }
        if world.isBroken(.reportsHaveAges), let order = partition.newestOrder[report.agent],
            order.issue == report.issue
        {
            return WakeReport(order, outcome: report.outcome, age: 0)
        }
        if world.isBroken(.unheardWakesRepeat), let order = partition.newestOrder[report.agent],
            order.issue == report.issue, case .woken(let sentAt, let deadlineAt, .noSubscriber) = report.outcome
        {
            let outcome = WakeReport.Outcome.woken(sentAt: sentAt, deadlineAt: deadlineAt, delivery: .accepted)
            return WakeReport(order, outcome: outcome, age: report.age)
        }
        if world.isBroken(.repeatsArm), partition.repeatedIssues.contains(report.issue) { return nil }
        if world.isBroken(.lateReportsArmNothing), let order = partition.newestOrder[report.agent],
            case .woken = report.outcome
        {
            return WakeReport(order, outcome: report.outcome, age: report.age)
        }
        return report
    }

    func altered(_ chunk: GrantChunk) -> GrantChunk {
        guard world.isBroken(.cyclesKeepTheirPolicy) else { return chunk }
        var chunk = chunk
        for index in chunk.agents.indices {
            guard let old = chunk.agents[index].cycle else { continue }
            var cycle = Cycle(
                policy: chunk.agents[index].record.policy, requestedAt: old.requestedAt, reason: old.reason,
                resetSession: old.resetSession, traceparent: old.traceparent)
            cycle.firstOrderedAt = old.firstOrderedAt
            cycle.order = old.order
            cycle.extensionUsed = old.extensionUsed
            chunk.agents[index].cycle = cycle
        }
        return chunk
    }

    func altered(_ presence: Presence) -> Presence {
        guard world.isBroken(.uncleanEndsBlind), presence.state == .lost else { return presence }
        var presence = presence
        presence.state = .stopped
        return presence
    }

    /// What the owner's memory was before an event that a rule has it change.
    func memories(_ partition: Owned) -> [AgentAddress: AgentMachine.Memory] {
        guard world.isBroken(.lapsesAreExtended) || world.isBroken(.graceRunsAnew) else { return [:] }
        var memories: [AgentAddress: AgentMachine.Memory] = [:]
        partition.owner.tamper { agent, memory in memories[agent] = memory }
        return memories
    }

    func tamper(
        _ event: PartitionEvent, _ partition: Owned, before memories: [AgentAddress: AgentMachine.Memory]
    ) {
        switch event {
        case .sightRegained, .roomCame:
            partition.owner.tamper { [world] agent, memory in
                guard let before = memories[agent] else { return }
                if world.isBroken(.lapsesAreExtended), memory.lapseFloor != nil {
                    memory.lapseFloor = before.lapseFloor
                }
                if world.isBroken(.graceRunsAnew), case .lost = memory.phase, case .lost = before.phase {
                    memory.phase = before.phase
                }
            }
        case .granted(let chunk):
            if world.isBroken(.lapsesAreExtended) { partition.owner.tamper { $1.lapseFloor = nil } }
            if world.isBroken(.restoredTimesAreClamped) { unclamp(chunk, partition) }
        case .requestReceived(let request, _):
            if world.isBroken(.quietIsAwaited) { pretendQuiet(request.command, partition) }
        case .reportReceived, .batchReceived, .gatewayStatusReceived, .sightLost, .commitsAreLate, .timePassed,
            .barrierPassed:
            break
        }
    }

    /// Times of another machine's clock as they are, be they ahead of now.
    private func unclamp(_ chunk: GrantChunk, _ partition: Owned) {
        let (now, stamp) = (now, stamp)
        func instant(_ point: Timestamp) -> Instant {
            now + TimeSpan(milliseconds: point.millisecondsSince1970 - stamp.millisecondsSince1970)
        }
        for state in chunk.agents {
            partition.owner.tamper { agent, memory in
                guard agent == state.record.address else { return }
                memory.lastSeen = state.record.lastSeenAt.map(instant)
                memory.firstOrderedAt = state.cycle?.firstOrderedAt.map(instant)
            }
        }
    }

    /// Whether an order that follows from this event never gets out.
    func isOrderLost(after event: PartitionEvent) -> Bool {
        guard world.isBroken(.resumesRepeat), case .requestReceived(let request, _) = event,
            case .resume = request.command
        else { return false }
        return true
    }

    /// Answers every order that a command has given up, so that the owner waits for none.
    private func pretendQuiet(_ command: Command, _ partition: Owned) {
        switch command {
        case .delete, .pause: break
        case .provision, .update, .wake, .rotateAgentToken, .rotateGatewayToken, .resume, .addGateway, .removeGateway:
            return
        }
        for (_, order) in partition.newestOrder.sorted(by: { $0.key < $1.key }) {
            guard command.gateway == order.agent.gateway else { continue }
            handle(.reportReceived(WakeReport(order, outcome: .expired, age: 0), held: .zero), partition)
        }
    }
}
