import API
import Model
import ReconcilerCore
import Streams
import Wire

/// Hosts the real `ReconcilerCore`, with owners that a rule can be taken from.
final class ReconcilerProcess: Process {
    /// Small, so that work goes on over many turns.
    private static let sliceMax = 2
    private static let slicesMax = 4
    static let lagMax = Backpressure.lagMax.milliseconds
    /// An ingest that nobody has started, where nobody needs to receive heartbeats.
    private static let nobody = "nobody"

    private var core: ReconcilerCore<BrokenOwner>!
    private var asked: Set<String> = []

    private var policy: Policy {
        var policy = Policy()
        policy.checkinDeadline = DurationText(1, .seconds)
        policy.maxWakeAttempts = 2
        policy.heartbeatInterval = DurationText(400, .milliseconds)
        policy.offlineAfter = DurationText(2500, .milliseconds)
        policy.lostGrace = DurationText(600, .milliseconds)
        policy.startupExtensionMax = DurationText(2, .seconds)
        policy.recoverBackoff = DurationText(500, .milliseconds)
        policy.recoverBackoffMax = DurationText(4, .seconds)
        policy.wakeRate = Rate(perSecond: world.isBroken(.wakesArePaced) ? 1_000 : world.plan.wakeRate)
        return policy
    }

    override func begin() {
        asked = []
        let (instance, policy) = (instance, policy)
        let boot = world.plan.isOneMachine ? "machine" : instance
        core = ReconcilerCore(
            instance: instance, incarnation: incarnation, windowMax: 6, windowOfAll: .max,
            room: Backpressure(framesMax: 8), limits: limits, now: now, wallTime: wallTime
        ) { [unowned self] partition, epoch in
            let owner = PartitionOwner(
                partition: partition, epoch: epoch, instance: instance, systemPolicy: policy, boot: boot,
                sliceMax: ReconcilerProcess.sliceMax)
            return BrokenOwner(owner, self)
        }
        every(100_000) { [unowned self] in tick() }
    }

    override func connected() { handle(.connected) }

    override func subscriptionsStand() { handle(.subscribed) }

    override func disconnected() { handle(.disconnected) }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .partition(let frame):
            guard case .partition(let number) = message.topic else { return }
            transit = world.time - message.sentAt
            world.note(
                "\(name) has \(frame.id.incarnation) \(frame.id.stream) \(frame.seq) of \(frame.lowWaterMark)\(frame.body == nil ? " announced" : "")"
            )
            handle(.frameReceived(streamRules.incoming(frame), partition: number))
        case .reconciler(let frame):
            world.note("\(name) got grant frame \(frame.id.stream) \(frame.seq) of \(frame.lowWaterMark)")
            handle(.grantReceived(streamRules.incoming(frame)))
        case .presence(let presence):
            check(presence)
            handle(.presenceReceived(altered(presence), isRetained: message.isRetained))
        case .gatewayStatus(let gateway, let status):
            handle(.gatewayStatusReceived(gateway: gateway, status))
        case .barrierAnswer(let answer):
            let batches = answer.batches.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            world.note("\(name) has barrier \(answer.number) of \(answer.incarnation): \(batches)")
            handle(.answerReceived(altered(answer)))
        case .subscriptionEnded(let end):
            guard !world.isBroken(.lostSubscriptionsSuspend), !world.isBroken(.uncleanEndsSuspend) else { return }
            handle(.subscriptionEnded(end, isRetained: message.isRetained))
        case .acknowledgement, .store, .cursor, .order, .answer, .command, .question, .canary, .reply, .heartbeat,
            .wake, .fact,
            .credentials, .claim, .acknowledged, .endings:
            break
        }
    }

    override func received(_ acknowledgement: StreamAcknowledgement) {
        handle(.acknowledgementReceived(acknowledgement))
    }

    override func turnEnded(step: Int) {
        handle(.turnEnded)
        for _ in 0..<ReconcilerProcess.slicesMax where core.hasWork(now: now) || hurries { beginSlice() }
        wakeAt = core.wakeAt(now: now)
    }

    private func beginSlice() {
        oracle.sliceBegan(
            by: self, stuckFor: core.stuckSince.map { TimeSpan(milliseconds: now.milliseconds(since: $0)) })
        handle(.sliceBegan)
    }

    override func isDrained() -> Bool {
        guard !world.isBroken(.reconcilersDrain) else { return true }
        handle(.stopRequested)
        return core.isDrained
    }

    override func shutDown() {
        if hasHandedOver { oracle.reconcilerStopped(self, owning: claims.map { "\($0).\($1)" }) }
        super.shutDown()
    }

    override func describe(_ presence: inout Presence) { core?.describe(&presence, now: now) }

    var claimsCount: Int { isUp ? claims.count : 0 }

    /// What its presence claims, and the table knows otherwise.
    func claimBesides(_ owners: [Int: (epoch: Int, incarnation: String)]) -> String? {
        guard isUp else { return nil }
        let claim = claims.first { number, epoch in
            guard let owner = owners[number] else { return true }
            return owner.incarnation != incarnation || owner.epoch != epoch
        }
        return claim.map { "\(name) claims \($0) under \($1)" }
    }

    // MARK: Hosting

    /// How long the frame that is handled was on its way, in microseconds.
    private(set) var transit: Int64 = 0

    func handle(_ input: ReconcilerInput) {
        guard isUp, core != nil else { return }
        var actions: [ReconcilerAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: ReconcilerAction) {
        switch action {
        case .subscribe(let partitions):
            subscribe([
                .acknowledgements(service: service.rawValue, instance: instance), .reconciler(instance), .presence,
                .gatewayStatus, .barriers(service: service.rawValue, instance: instance), .subscriptions,
            ])
            subscribe(partitions.map { .partition($0) })
        case .subscribePartition(let number): subscribe([.partition(number)])
        case .unsubscribePartition(let number): unsubscribe(.partition(number))
        case .send(let frame): publish([frame]) { .store($0) }
        case .acknowledgement(let acknowledgement): publish([acknowledgement])
        case .ask(let question, let ingest): ask(question, ingest)
        case .answer: break  // nobody hands heartbeats in by HTTP
        case .announce: announce()
        case .log(let log): note(log)
        }
    }

    private func note(_ log: ReconcilerLog) {
        switch log {
        case .takenOver(let partition, let epoch, _): world.note("\(name) owns \(partition) under \(epoch)")
        case .dropped(let partition, let epoch): world.note("\(name) drops \(partition) of \(epoch)")
        case .suspended(let reason): world.note("\(name) is suspended: \(reason)")
        case .observable: world.note("\(name) is observable")
        case .lifecycle, .missingAgent, .messageDropped: break
        }
    }

    private func tick() {
        noteStuck()
        if world.isBroken(.absentIngestsSuspend), isConnected { handle(.presenceReceived(ofNobody, isRetained: false)) }
        handle(.ticked)
    }

    /// The partitions that it claims, with their epochs.
    private var claims: [(Int, Int)] {
        var presence = Presence(
            service: service, instance: instance, state: .running, startedAt: wallTime, configDigest: "",
            incarnation: incarnation)
        describe(&presence)
        return (presence.partitions ?? [:]).compactMap { number, epoch in Int(number).map { ($0, epoch) } }
            .sorted { $0.0 < $1.0 }
    }

    private func noteStuck() {
        guard let since = core.stuckSince, now.milliseconds(since: since) > 2_200 else { return }
        for (number, epoch) in claims { oracle.outages.stuckAt["\(number).\(epoch)"] = world.time }
    }

    // MARK: Rules that are switched off

    /// With limits that never come what is not said is never taken for suspension.
    private var limits: ObservabilityLimits {
        var limits = ObservabilityLimits()
        if world.isBroken(.lateCommitsSuspend) { limits.store = .seconds(1_000_000) }
        if world.isBroken(.silentIngestsSuspend) { limits.answer = .seconds(1_000_000) }
        return limits
    }

    /// Whether work goes on though the store is behind.
    private var hurries: Bool { world.isBroken(.workWaitsForRoom) }

    private var ofNobody: Presence {
        var presence = Presence(
            service: .heartbeatIngest, instance: ReconcilerProcess.nobody, state: .running, startedAt: wallTime,
            configDigest: "", incarnation: ReconcilerProcess.nobody)
        presence.heartbeatSession = 1
        return presence
    }

    private func ask(_ question: BarrierQuestion, _ ingest: String) {
        if ingest == ReconcilerProcess.nobody {
            return handle(
                .answerReceived(
                    BarrierAnswer(
                        number: question.number, ingest: ingest, incarnation: ingest, session: 1, batches: [:],
                        isStopping: false)))
        }
        if world.isBroken(.questionsRepeat), !asked.insert("\(question.number) \(ingest)").inserted { return }
        world.note("\(name) asks \(ingest) with barrier \(question.number)")
        publish(.barriers(service: ServiceName.heartbeatIngest.rawValue, instance: ingest), .question(question))
    }

    private func altered(_ presence: Presence) -> Presence {
        guard world.isBroken(.uncleanEndsSuspend), presence.state == .lost else { return presence }
        var presence = presence
        presence.state = .stopped
        return presence
    }

    private func altered(_ answer: BarrierAnswer) -> BarrierAnswer {
        guard world.isBroken(.verdictsAwaitBatches) else { return answer }
        return BarrierAnswer(
            number: answer.number, ingest: answer.ingest, incarnation: answer.incarnation, session: answer.session,
            batches: [:], isStopping: answer.isStopping == true)
    }
}
