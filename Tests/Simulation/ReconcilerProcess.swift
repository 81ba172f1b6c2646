import Contract
import Lifecycle
import ReconcilerCore
import Streams

/// A reconciler: the real owners, sight and ledgers, wired as `ReconcilerService` wires them.
final class ReconcilerProcess: Process {
    static func policy(_ world: World) -> Policy {
        var policy = Policy()
        policy.checkinDeadline = DurationText(1, .seconds)
        policy.maxWakeAttempts = 2
        policy.heartbeatInterval = DurationText(400, .milliseconds)
        policy.offlineAfter = DurationText(2500, .milliseconds)
        policy.lostGrace = DurationText(600, .milliseconds)
        policy.startupExtensionMax = DurationText(2, .seconds)
        policy.wakeRate = Rate(perSecond: world.isBroken(.wakesArePaced) ? 1_000 : world.plan.wakeRate)
        return policy
    }

    /// Small, so that work goes on over many turns.
    private static let sliceMax = 2
    private static let slicesMax = 4

    private(set) var partitions: [Int: Owned] = [:]
    private let room = CommitRoom(framesMax: 8)
    private var workedLast = -1
    private var outlet: StreamSenders<StoreFrame>!
    private var grants = StreamReceiver()
    private var sight = Sight()
    private var barrier = VerdictBarrier()
    private var blind: String? = "starting"
    private var gatewayStatus: [String: GatewayStatusMessage.State] = [:]
    private var isUnsubscribed = false

    private var numbered: [(key: Int, value: Owned)] { partitions.sorted { $0.key < $1.key } }
    private var complete: [Owned] { numbered.map(\.value).filter(\.isComplete) }

    override func begin() {
        partitions = [:]
        outlet = senders()
        grants = StreamReceiver()
        sight = Sight()
        barrier = VerdictBarrier()
        blind = "starting"
        gatewayStatus = [:]
        isUnsubscribed = false
        every(100_000) { [unowned self] in
            evaluateSight()
            if !world.isBroken(.questionsRepeat), let (number, ingests) = barrier.askAgain(now: now) {
                ask(ingests, number)
            }
            outlet.tick(now: now)
        }
    }

    override func connected() {
        subscribe([
            .receipts(service: service.rawValue, instance: instance), .reconciler(instance), .presence, .gatewayStatus,
            .barriers(service: service.rawValue, instance: instance), .lines,
        ])
        subscribe(complete.map { .partition($0.owner.partition) })
        outlet.reconnected(now: now)
    }

    override func subscriptionsStand() { sight.connected() }

    override func disconnected() {
        sight.disconnected()
        barrier.abandon()
        evaluateSight()
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .partition(let frame):
            guard case .partition(let number) = message.topic else { return }
            receive(frame, number, transit: world.time - message.sentAt)
        case .reconciler(let frame): receiveGrant(frame)
        case .presence(let presence):
            check(presence)
            guard presence.service == ServiceName.heartbeatIngest.rawValue else { return }
            sight.heard(altered(presence), isRetained: message.isRetained, now: now)
            evaluateSight()
        case .gatewayStatus(let gateway, let state):
            gatewayStatus[gateway] = state
            if world.isBroken(.gatewayWordsWait), blind != nil { return }
            for partition in complete { handle(.gatewayStatusReceived(gateway: gateway, state), partition) }
        case .barrierAnswer(let answer):
            let batches = answer.batches.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            world.note("\(name) has barrier \(answer.number) of \(answer.incarnation): \(batches)")
            if barrier.answered(answer) { sight.answered(answer) }
            evaluateSight()
        case .lineEnded(let end):
            guard !world.isBroken(.lostSubscriptionsBlind), !world.isBroken(.uncleanEndsBlind) else { return }
            sight.ended(end, isRetained: message.isRetained)
            evaluateSight()
        case .receipt, .store, .cursor, .order, .answer, .command, .question, .canary, .reply, .heartbeat, .wake, .fact,
            .credentials, .claim, .acknowledged, .endings:
            break
        }
    }

    override func turnEnded(step: Int) {
        guard !isStopping else { return handOver() }
        if world.isBroken(.willsWhileBlindAreForgotten) { complete.forEach(replayWills) }
        judge()
        var next: Instant?
        for partition in complete {
            if let due = partition.owner.nextDue, due <= now { handle(.timePassed, partition) }
            flush(partition)
            if let due = partition.owner.nextDue { next = next.map { min($0, due) } ?? due }
        }
        if let due = work() { next = next.map { min($0, due) } ?? due }
        publish(outlet.takeFrames()) { .store($0) }
        publish(grants.takeReceipts())
        if !barrier.isOpen, var verdict = nextVerdict {
            if let begin = barrier.mayBeginAt { verdict = max(verdict, begin) }
            next = next.map { min($0, verdict) } ?? verdict
        }
        wakeAt = next
    }

    private func handOver() {
        complete.forEach(flush)
        publish(outlet.takeFrames()) { .store($0) }
        publish(grants.takeReceipts())
        wakeAt = nil
    }

    override func isDrained() -> Bool {
        if !isUnsubscribed {
            isUnsubscribed = true
            for partition in partitions.keys.sorted() { unsubscribe(.partition(partition)) }
        }
        return outlet.keptCount == 0
    }

    /// A turn has room for a few slices; what is left waits for the next one.
    private func work() -> Instant? {
        for _ in 0..<ReconcilerProcess.slicesMax {
            guard room.isThere(now: now, oldestUncommitted: outlet.oldestKept, frames: outlet.keptCount) else {
                return nil
            }
            let due = complete.filter { $0.owner.nextWork.map { $0 <= now } ?? false }
            guard let partition = due.first(where: { $0.owner.partition > workedLast }) ?? due.first else {
                return complete.compactMap(\.owner.nextWork).min()
            }
            workedLast = partition.owner.partition
            handle(.roomCame, partition)
            flush(partition)
        }
        return now
    }

    private func flush(_ partition: Owned) {
        let (number, epoch, stream) = (partition.owner.partition, partition.epoch, partition.stream)
        let free = partition.ledger.flush { entries in
            outlet.send(
                StoreFrame(partition: number, epoch: epoch, entries: entries), to: .store, stream: stream,
                now: self.now)
        }
        settle(free, partition)
        publish(partition.inlet.takeReceipts())
    }

    override func describe(_ presence: inout Presence) {
        presence.partitions = Dictionary(
            uniqueKeysWithValues: complete.map { (String($0.owner.partition), $0.epoch) })
        presence.blind = blind
    }

    /// What its presence claims, and the table knows otherwise.
    func claimBesides(_ owners: [Int: DatabaseModel.Owner]) -> String? {
        guard isUp else { return nil }
        let claim = complete.first {
            guard let owner = owners[$0.owner.partition] else { return true }
            return owner.incarnation != incarnation || owner.epoch != $0.epoch
        }
        return claim.map { "\(name) claims \($0.owner.partition) under \($0.epoch)" }
    }

    // MARK: Inside

    private var nextVerdict: Instant? { complete.compactMap(\.owner.nextVerdict).min() }

    private func judge() {
        let judgesBlind = world.isBroken(.blindnessStopsJudging) && blind != nil
        guard blind == nil || judgesBlind else { return }
        if world.isBroken(.verdictsAwaitBarrier) || judgesBlind {
            for partition in complete { handle(.barrierPassed(asOf: now), partition) }
            return
        }
        let asOf = barrier.pass { number, id, seq in
            guard let partition = partitions[number], partition.isComplete else { return true }
            return world.isBroken(.verdictsAwaitBatches) || partition.inlet.hasApplied(id, upTo: seq)
        }
        if let asOf {
            let instant = world.isBroken(.verdictsAreOfTheirQuestion) ? now : asOf
            for partition in complete { handle(.barrierPassed(asOf: instant), partition) }
        }
        guard let verdict = nextVerdict, verdict <= now,
            let number = barrier.begin(now: now, ingests: sight.asked)
        else { return }
        ask(sight.asked, number)
    }

    private func ask(_ ingests: [String], _ number: Int) {
        world.note("\(name) asks \(ingests) with barrier \(number)")
        for ingest in ingests {
            publish(
                .barriers(service: ServiceName.heartbeatIngest.rawValue, instance: ingest),
                .question(BarrierQuestion(number: number, reconciler: instance)))
        }
    }

    private func settle(_ inputs: [CommitLedger.Input], _ partition: Owned) {
        for input in inputs { partition.inlet.committed(input.id, upTo: input.seq) }
    }

    override func received(_ receipt: StreamReceipt) {
        guard let progress = outlet.receive(receipt, now: now),
            let partition = numbered.first(where: { $0.value.stream == progress.stream })?.value
        else { return }
        settle(partition.ledger.committed(upTo: progress.upTo), partition)
    }

    private func receive(_ frame: StreamFrame<PartitionMessage>, _ number: Int, transit: Int64) {
        guard !isStopping, let partition = partitions[number], partition.isComplete else { return }
        let isNext = partition.inlet.accepts(streamRules.incoming(frame), now: now)
        world.note(
            "\(name) has \(frame.id.incarnation) \(frame.id.stream) \(frame.seq) of \(frame.lowest)\(frame.body == nil ? " announced" : "")\(isNext ? "" : " (not next)")"
        )
        guard isNext, let body = frame.body else { return }
        let held = TimeSpan(milliseconds: frame.held)
        switch body {
        case .request(let request): handle(.requestReceived(request, held: held), partition)
        case .report(let report):
            if let report = altered(report, partition) {
                let isAgeless = world.isBroken(.reportsHaveAges)
                let before = partition.owner.machine(of: report.agent)?.phase
                handle(.reportReceived(report, held: isAgeless ? .zero : held), partition)
                checkArmed(report, partition, before: before, transit: transit)
            }
        case .batch(let batch):
            oracle.batchArrived(batch, held: frame.held, by: partition.key)
            handle(
                .batchReceived(
                    altered(batch, partition), held: world.isBroken(.heartbeatsHaveAges) ? .zero : held), partition)
            oracle.batchHandled()
        case .introduction(let line):
            sight.introduced(frame.id.instance, incarnation: frame.id.incarnation, line: line, now: now)
            evaluateSight()
        }
        partition.ledger.handled(frame.id, frame.seq, dependingOn: dependence(body, partition))
        if world.isBroken(.ownerReceiptsAfterCommit) { partition.inlet.committed(frame.id, upTo: frame.seq) }
    }

    private func dependence(_ body: PartitionMessage, _ partition: Owned) -> Int {
        if case .batch = body { return partition.owner.dependence }
        return world.isBroken(.repeatsAwaitTheFirst) && !partition.hasCaused ? 0 : partition.owner.dependence
    }

    private func receiveGrant(_ frame: StreamFrame<ReconcilerMessage>) {
        let isNext = grants.accepts(streamRules.incoming(frame), now: now)
        world.note("\(name) got grant frame \(frame.id.stream) \(frame.seq) of \(frame.lowest) \(isNext)")
        guard isNext, let body = frame.body else { return }
        grants.committed(frame.id, upTo: frame.seq)
        switch body {
        case .grant(let chunk): take(altered(chunk))
        case .revoke(let number, let epoch):
            if let partition = partitions[number], partition.epoch <= epoch { drop(partition) }
        }
    }

    private func take(_ chunk: GrantChunk) {
        guard chunk.incarnation == incarnation, !isStopping else { return }
        if let present = partitions[chunk.partition] {
            guard present.epoch <= chunk.epoch else { return }
            if present.epoch < chunk.epoch { drop(present) }
        }
        if chunk.index == 0 {
            let owner = PartitionOwner(
                partition: chunk.partition, epoch: chunk.epoch, instance: instance,
                systemPolicy: ReconcilerProcess.policy(world),
                boot: world.plan.isOneMachine ? "machine" : instance, sliceMax: ReconcilerProcess.sliceMax)
            partitions[chunk.partition] = Owned(owner, chunk.epoch)
        }
        guard let partition = partitions[chunk.partition], partition.nextChunk == chunk.index else { return }
        handle(.granted(chunk), partition)
        for state in chunk.agents {
            if let order = state.cycle?.order { partition.newestOrder[state.record.address] = order }
        }
        partition.nextChunk = chunk.index + 1
        if partition.ledger.fillsFrame { flush(partition) }
        guard chunk.isLast else { return }
        partition.nextChunk = nil
        world.note("\(name) owns \(chunk.partition) under \(chunk.epoch)")
        for (gateway, state) in gatewayStatus.sorted(by: { $0.key < $1.key }) {
            handle(.gatewayStatusReceived(gateway: gateway, state), partition)
        }
        subscribe([.partition(chunk.partition)])
        if blind == nil { handle(.sightRegained, partition) }
        announce()
    }

    private func drop(_ partition: Owned) {
        world.note("\(name) drops \(partition.owner.partition) of \(partition.epoch)")
        outlet.end(stream: partition.stream)
        partitions[partition.owner.partition] = nil
        unsubscribe(.partition(partition.owner.partition))
        announce()
    }

    private func evaluateSight() {
        barrier.wait(onlyFor: sight.lives)
        if Sight.areCommitsLate(now: now, oldestUncommitted: outlet.oldestKept),
            !world.isBroken(.lateCommitsAreAwaited)
        {
            tellAll(.commitsAreLate)
        }
        var (reason, interrupted) = sight.evaluate(
            now: now, stuckSince: world.isBroken(.lateCommitsBlind) ? nil : outlet.stuckSince,
            unansweredSince: world.isBroken(.silentIngestsBlind) ? nil : barrier.unansweredSince)
        if let stuckSince = outlet.stuckSince, now.milliseconds(since: stuckSince) > 2_200 {
            for partition in complete { oracle.outages.stuckAt[partition.key] = world.time }
        }
        if world.isBroken(.absentIngestsBlind), reason == Sight.noIngest { reason = nil }
        if interrupted || (reason == nil && blind != nil) { barrier.abandon() }
        if interrupted || (reason != nil && blind == nil) { tellAll(.sightLost) }
        if reason == nil, interrupted || blind != nil { tellAll(.sightRegained) }
        guard reason != blind else { return }
        world.note("\(name) is \(reason ?? "sighted")")
        blind = reason
        announce()
    }

    private func tellAll(_ event: PartitionEvent) {
        for partition in complete { handle(event, partition) }
    }

    func handle(_ event: PartitionEvent, _ partition: Owned) {
        if case .sightRegained = event { oracle.sighted(partition.key) }
        if world.isBroken(.blindnessStopsJudging) || world.isBroken(.blindnessRepeatsWakes), partition.hadSight {
            switch event {
            case .sightLost, .sightRegained: return
            case .granted, .requestReceived, .reportReceived, .batchReceived, .gatewayStatusReceived, .timePassed,
                .barrierPassed, .roomCame, .commitsAreLate:
                break
            }
        }
        if case .sightRegained = event { partition.hadSight = true }
        let memories = memories(partition)
        var directives: [PartitionDirective] = []
        partition.owner.handle(event, now: now, stamp: stamp, into: &directives)
        partition.hasCaused = false
        for directive in directives {
            switch directive {
            case .commit(let entry):
                partition.hasCaused = true
                if entry.order == nil || !isOrderLost(after: event) { commit(entry, partition) }
            case .log, .logMissing: break
            }
        }
        tamper(event, partition, before: memories)
        partition.ledger.endStep(partition.owner.step)
    }

    /// Whether the report has armed a deadline, and which one.
    private func checkArmed(_ report: WakeReport, _ partition: Owned, before: AgentPhase?, transit: Int64) {
        guard case .woken = report.outcome, before == .wakeOrdered(issue: report.issue),
            let machine = partition.owner.machine(of: report.agent),
            machine.state.issue == report.issue, case .awaitingCheckin(let due) = machine.phase
        else { return }
        oracle.armed(machine.state, due: worldTime(due), transit: transit)
    }

    private func commit(_ entry: StoreEntry, _ partition: Owned) {
        if let order = entry.order?.value {
            if let before = partition.newestOrder[order.agent], before.generation == order.generation,
                before.attempt == order.attempt
            {
                partition.repeatedIssues.insert(order.issue)
            }
            partition.newestOrder[order.agent] = order
        }
        oracle.decided(entry, epoch: partition.epoch, partition: partition.owner.partition)
        partition.ledger.add(entry)
    }
}
