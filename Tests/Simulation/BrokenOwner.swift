import API
import Lifecycle
import Model
import ReconcilerCore
import Wire

/// The real owner of a partition under the oracle's eyes. Where a rule is switched off, what it is told, what it remembers or
/// what it wants is changed.
struct BrokenOwner: PartitionOwning {
    private var owner: PartitionOwner
    private unowned let process: ReconcilerProcess
    private let world: World
    /// Names this ownership.
    private let key: String
    /// The newest order of each agent, and those that repeat one.
    private var newestOrder: [AgentAddress: WakeOrder] = [:]
    private var repeatedPublications: Set<Int> = []
    private var wasObservable = false
    /// Whether its reconciler may not judge, whatever the owner was told.
    private var isSuspended = true
    /// Whether the newest input has caused entries, and came from a stream of requests.
    private var hasCaused = false
    private var isRequest = false
    /// Last Wills that came while suspended.
    private var wills: [HeartbeatDetail] = []
    private var now = Instant(nanoseconds: 0)
    private var wallTime = Timestamp(millisecondsSince1970: 0)

    init(_ owner: PartitionOwner, _ process: ReconcilerProcess) {
        self.owner = owner
        self.process = process
        world = process.world
        key = "\(owner.partition).\(owner.epoch)"
    }

    var partition: Int { owner.partition }
    var epoch: Int { owner.epoch }
    var agentCount: Int { owner.agentCount }
    var counters: PartitionCounters { owner.counters }
    var tally: FleetTally { owner.tally }
    var step: Int { owner.step }
    var nextWork: Instant? { owner.nextWork }

    var dependence: Int {
        if world.isBroken(.ownerAcknowledgesAfterCommit) { return 0 }
        if world.isBroken(.repeatsAwaitTheFirst), isRequest, !hasCaused { return 0 }
        return owner.dependence
    }

    var nextVerdict: Instant? { judgesByItself ? nil : owner.nextVerdict }

    var nextDue: Instant? {
        judgesByItself ? [owner.nextDue, owner.nextVerdict].compactMap { $0 }.min() : owner.nextDue
    }

    /// Whether what is due is judged without a barrier.
    private var judgesByItself: Bool {
        world.isBroken(.verdictsAwaitBarrier) || (world.isBroken(.suspensionStopsJudging) && isSuspended)
    }

    mutating func handle(
        _ event: PartitionEvent, now: Instant, wallTime: Timestamp, into output: inout [PartitionDirective]
    ) {
        (self.now, self.wallTime) = (now, wallTime)
        (hasCaused, isRequest) = (false, false)
        switch event {
        case .granted(let chunk): restore(altered(chunk), &output)
        case .requestReceived(let request, _):
            isRequest = true
            act(event, &output)
            if world.isBroken(.drainIsAwaited) { pretendDrained(request.command, &output) }
        case .reportReceived(let report, let frameAge):
            isRequest = true
            take(report, frameAge, &output)
        case .batchReceived(let batch, let frameAge, let ingest):
            process.oracle.batchArrived(batch, frameAge: frameAge.milliseconds, by: key)
            keepWills(batch)
            act(
                .batchReceived(
                    altered(batch), frameAge: world.isBroken(.heartbeatsHaveAges) ? .zero : frameAge, ingest: ingest),
                &output)
            process.oracle.batchHandled()
        case .gatewayStatusReceived:
            if world.isBroken(.gatewayWordsWait), wasObservable, isSuspended { break }
            act(event, &output)
        case .observabilityLost:
            isSuspended = true
            if !staysObservable { act(event, &output) }
        case .observabilityRestored:
            isSuspended = false
            process.oracle.observable(key)
            if !staysObservable { act(event, &output) }
            wasObservable = true
        case .commitsAreLate: if !world.isBroken(.lateCommitsAreAwaited) { act(event, &output) }
        case .timePassed:
            act(event, &output)
            if judgesByItself, let verdict = owner.nextVerdict, verdict <= now {
                act(.barrierPassed(asOf: now), &output)
            }
        case .barrierPassed:
            act(world.isBroken(.verdictsAreOfTheirQuestion) ? .barrierPassed(asOf: now) : event, &output)
        case .roomCame, .sessionBegan: act(event, &output)
        }
        replayWills(&output)
    }

    /// Whether it is told nothing of suspension.
    private var staysObservable: Bool {
        wasObservable && (world.isBroken(.suspensionStopsJudging) || world.isBroken(.suspensionRepeatsWakes))
    }

    private mutating func act(_ event: PartitionEvent, _ output: inout [PartitionDirective]) {
        let memories = memories
        var directives: [PartitionDirective] = []
        owner.handle(event, now: now, wallTime: wallTime, into: &directives)
        for directive in directives {
            guard case .commit(let entry) = directive else { continue }
            hasCaused = true
            if entry.order != nil, isOrderLost(after: event) { continue }
            note(entry)
            output.append(directive)
        }
        tamper(event, before: memories)
    }

    private mutating func note(_ entry: StoreEntry) {
        if let order = entry.order {
            if let before = newestOrder[order.agent], before.generation == order.generation,
                before.attempt == order.attempt
            {
                repeatedPublications.insert(order.publication)
            }
            newestOrder[order.agent] = order
        }
        process.oracle.decided(entry, epoch: epoch, partition: partition)
    }

    // MARK: What it is told

    private mutating func restore(_ chunk: GrantChunk, _ output: inout [PartitionDirective]) {
        act(.granted(chunk), &output)
        for state in chunk.agents {
            if let order = state.cycle?.order { newestOrder[state.record.address] = order }
        }
    }

    private func altered(_ chunk: GrantChunk) -> GrantChunk {
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

    private func altered(_ batch: HeartbeatBatch) -> HeartbeatBatch {
        var batch = batch
        for index in batch.segments.indices {
            if world.isBroken(.heartbeatsHaveAges) { batch.segments[index].age = 0 }
            let names = batch.segments[index].names.strings
            batch.segments[index].names = NameRun(
                names.filter { name in AgentAddress(name).map { !isUncounted($0, .ok) } ?? true })
            guard let detail = batch.segments[index].detail else { continue }
            let isDropped = isUncounted(detail.agent, detail.status ?? .ok)
            batch.segments[index].detail = isDropped ? nil : altered(detail)
        }
        return batch
    }

    private func altered(_ detail: HeartbeatDetail) -> HeartbeatDetail {
        var detail = detail
        if world.isBroken(.olderEchoesSettleNothing), let machine = machine(of: detail.agent),
            let generation = detail.generation, generation < machine.record.generation
        {
            detail.generation = nil
        }
        if world.isBroken(.otherBootsSayNothing), detail.status == .stopping || detail.status == .lost {
            detail.bootID = nil
        }
        return detail
    }

    /// A check-in that comes before the report of its wake.
    private func isUncounted(_ agent: AgentAddress, _ status: HeartbeatStatus) -> Bool {
        guard world.isBroken(.checkinsCountOnceOrdered), status == .ok,
            case .wakeOrdered? = machine(of: agent)?.phase
        else { return false }
        return true
    }

    private mutating func take(_ report: WakeReport, _ frameAge: TimeSpan, _ output: inout [PartitionDirective]) {
        guard let report = altered(report) else { return }
        let before = machine(of: report.agent)?.phase
        act(.reportReceived(report, frameAge: world.isBroken(.reportsHaveAges) ? .zero : frameAge), &output)
        // Whether it has armed a deadline, and which one.
        guard case .woken = report.outcome, before == .wakeOrdered(publication: report.publication),
            let machine = machine(of: report.agent), machine.state.publication == report.publication,
            case .awaitingCheckin(let due) = machine.phase
        else { return }
        process.oracle.armed(machine.state, due: process.worldTime(due), transit: process.transit)
    }

    /// The report, or what becomes of it where a rule is switched off.
    private func altered(_ report: WakeReport) -> WakeReport? {
        if world.isBroken(.failuresArm), case .failed = report.outcome { return nil }
        if world.isBroken(.repeatsArm), repeatedPublications.contains(report.publication) { return nil }
        guard let order = newestOrder[report.agent] else { return report }
        let isNewest = order.publication == report.publication
        if world.isBroken(.reportsHaveAges), isNewest { return WakeReport(order, outcome: report.outcome, age: 0) }
        if world.isBroken(.unheardWakesRepeat), isNewest,
            case .woken(let sentAt, let deadlineAt, .noSubscriber) = report.outcome
        {
            let outcome = WakeReport.Outcome.woken(sentAt: sentAt, deadlineAt: deadlineAt, delivery: .accepted)
            return WakeReport(order, outcome: outcome, age: report.age)
        }
        if world.isBroken(.lateReportsArmNothing), case .woken = report.outcome {
            return WakeReport(order, outcome: report.outcome, age: report.age)
        }
        return report
    }

    /// Answers every order that a command has given up, so that the owner waits for none.
    private mutating func pretendDrained(_ command: Command, _ output: inout [PartitionDirective]) {
        switch command {
        case .delete, .pause: break
        case .provision, .update, .wake, .rotateAgentToken, .rotateGatewayToken, .resume, .addGateway, .removeGateway,
            .syncTemplates, .syncAgent:
            return
        }
        for (_, order) in newestOrder.sorted(by: { $0.key < $1.key }) where command.gateway == order.agent.gateway {
            take(WakeReport(order, outcome: .expired, age: 0), .zero, &output)
        }
    }

    /// Believes what was said while suspended.
    private mutating func replayWills(_ output: inout [PartitionDirective]) {
        guard !wills.isEmpty, !owner.isSuspended else { return }
        let segments = wills.map {
            HeartbeatBatch.Segment(
                at: wallTime.millisecondsSince1970, age: 0, gateway: nil, names: NameRun(), detail: $0)
        }
        wills = []
        act(.batchReceived(HeartbeatBatch(segments: segments), frameAge: .zero), &output)
    }

    private mutating func keepWills(_ batch: HeartbeatBatch) {
        guard world.isBroken(.willsWhileSuspendedAreForgotten), owner.isSuspended else { return }
        wills += batch.segments.compactMap(\.detail).filter { $0.status == .lost }
    }

    /// Whether an order that follows from this event never gets out.
    private func isOrderLost(after event: PartitionEvent) -> Bool {
        guard world.isBroken(.resumesRepeat), case .requestReceived(let request, _) = event,
            case .resume = request.command
        else { return false }
        return true
    }

    // MARK: What it remembers

    /// What a machine keeps in memory only.
    private struct Memory {
        let phase: AgentPhase
        let lapseFloor: Instant?
    }

    private func machine(of agent: AgentAddress) -> AgentMachine? {
        owner.index(of: agent).flatMap { owner.agents[$0]?.machine }
    }

    /// Changes what the owner has in memory of each agent, behind its back.
    private mutating func changeMemory(_ body: (AgentAddress, inout AgentMachine) -> Void) {
        for index in owner.agents.indices {
            guard let address = owner.agents[index]?.address else { continue }
            body(address, &owner.agents[index]!.machine)
        }
    }

    /// What the owner's memory is before an event that a rule has it change.
    private var memories: [AgentAddress: Memory] {
        guard world.isBroken(.lapsesAreExtended) || world.isBroken(.graceRunsAnew) else { return [:] }
        var memories: [AgentAddress: Memory] = [:]
        for index in owner.agents.indices {
            guard let slot = owner.agents[index] else { continue }
            memories[slot.address] = Memory(phase: slot.machine.phase, lapseFloor: slot.machine.lapseFloor)
        }
        return memories
    }

    private mutating func tamper(_ event: PartitionEvent, before memories: [AgentAddress: Memory]) {
        switch event {
        case .observabilityRestored, .roomCame:
            guard !memories.isEmpty else { return }
            changeMemory { [world] agent, machine in
                guard let before = memories[agent] else { return }
                if world.isBroken(.lapsesAreExtended), machine.lapseFloor != nil {
                    machine.lapseFloor = before.lapseFloor
                }
                if world.isBroken(.graceRunsAnew), case .lost = machine.phase, case .lost = before.phase {
                    machine.phase = before.phase
                }
            }
        case .granted(let chunk):
            if world.isBroken(.lapsesAreExtended) { changeMemory { $1.lapseFloor = nil } }
            if world.isBroken(.restoredTimesAreClamped) { unclamp(chunk) }
        case .requestReceived, .reportReceived, .batchReceived, .gatewayStatusReceived, .sessionBegan,
            .observabilityLost,
            .commitsAreLate, .timePassed, .barrierPassed:
            break
        }
    }

    /// Times of another machine's clock as they are, be they ahead of now.
    private mutating func unclamp(_ chunk: GrantChunk) {
        let (now, wallTime) = (now, wallTime)
        func instant(_ point: Timestamp) -> Instant {
            now + TimeSpan(milliseconds: point.millisecondsSince1970 - wallTime.millisecondsSince1970)
        }
        for state in chunk.agents {
            changeMemory { agent, machine in
                guard agent == state.record.address else { return }
                machine.lastSeen = state.record.lastSeenAt.map(instant)
                machine.firstOrderedAt = state.cycle?.firstOrderedAt.map(instant)
            }
        }
    }
}
