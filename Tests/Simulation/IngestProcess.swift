import API
import HeartbeatIngestCore
import Model
import Streams
import Wire

/// Hosts the real `IngestCore`, with a connection for heartbeats and one for everything else.
final class IngestProcess: Process {
    /// What may wait for acknowledgements: small, so that reading stops.
    private static let backlogBytesMax = 20_000
    static let pauseLimit = IngestCore.pauseLimit.milliseconds * 1_000
    static let acknowledgementLimit = IngestCore.acknowledgementLimit.milliseconds * 1_000

    private var core: IngestCore!
    private(set) lazy var subscription = HeartbeatSubscription(self)
    private(set) var isReadingPaused = false
    /// What lies in the socket of a subscription that is not read.
    private var unread: [SimMessage] = []
    private var isDraining = false
    private var isDrainedByCore = false
    private var announcedAt: [Int: Instant] = [:]
    /// When the newest presence was announced that the broker has acknowledged.
    private var acknowledgedAt = Instant(nanoseconds: 0)
    /// Heartbeats that were read, those of them that were sent, and the newest frame of each stream.
    private var received = 0
    private var sent = 0
    private var newest: [StreamID: Int] = [:]
    /// Heartbeats that are handed in behind everything else of their turn.
    private var late: [HeartbeatDetail] = []
    /// The subscription to heartbeats that stands.
    var heartbeatSession: Int? { core?.heartbeatSession }
    /// Lives that ended with something in hand.
    private(set) var lostIncarnations: Set<Int> = []

    override func begin() {
        core = IngestCore(
            topics: Topics(), instance: instance, incarnation: incarnation, windowMax: 6,
            backlogBytesMax: hidesPauses ? .max : IngestProcess.backlogBytesMax)
        isReadingPaused = false
        unread = []
        (isDraining, isDrainedByCore) = (false, false)
        late = []
        announcedAt = [:]
        (received, sent, newest) = (0, 0, [:])
        subscription.start()
        every(200_000) { [unowned self] in tick() }
        every(1_000_000) { [unowned self] in handle(.secondPassed) }
    }

    override var isReachable: Bool { super.isReachable && (subscription.session == nil || subscription.isReachable) }

    override func crashed() {
        super.crashed()
        unread = []
        guard subscription.isUp else { return }
        lostIncarnations.insert(launch)
        subscription.crash()
    }

    override func connected() { handle(.connected) }

    override func disconnected() {
        announcedAt = [:]
        handle(.disconnected)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .presence(let presence):
            check(presence)
            handle(.presenceReceived(presence))
        case .heartbeat(let detail): read(message) { take(detail) }
        case .canary(let canary): read(message) { handle(.canaryReceived(canary)) }
        case .question(let question): handle(.questionReceived(question))
        case .acknowledgement, .partition, .store, .reconciler, .gatewayStatus, .cursor, .order, .answer, .command,
            .barrierAnswer, .reply, .wake, .fact, .credentials, .claim, .acknowledged, .subscriptionEnded, .endings:
            break
        }
    }

    override func received(_ acknowledgement: StreamAcknowledgement) {
        handle(.acknowledgementReceived(acknowledgement))
    }

    override func acknowledged(_ ticket: Int, isHeard: Bool) {
        guard let at = announcedAt.removeValue(forKey: ticket) else { return }
        acknowledgedAt = at
        handle(.presenceAcknowledged(announcedAt: at))
    }

    override func isOfOtherConnection(_ message: SimMessage) -> Bool {
        switch message.topic {
        case .heartbeats, .canary: true
        case .partition, .store, .reconciler, .acknowledgements, .presence, .gatewayStatus, .cursor, .answers,
            .barriers,
            .replies, .wake, .lifecycle, .status, .access, .orders, .commands, .subscriptions, .endings, .claims:
            false
        }
    }

    override func dropOthers() {
        super.dropOthers()
        unread = []
    }

    override func turnEnded(step: Int) {
        late.forEach(take)
        late = []
        handle(.turnEnded)
        oracle.ingestHolds(core.backlogBytes, of: IngestProcess.backlogBytesMax, by: self)
        if hidesPauses { steer() }
        wakeAt = core.wakeAt
    }

    override func isDrained() -> Bool {
        guard !world.isBroken(.ingestsDrain) else { return true }
        isDraining = true
        handle(.stopRequested)
        handle(.turnEnded)
        return isDrainedByCore
    }

    override func shutDown() {
        if hasHandedOver {
            oracle.ingestStopped(self, received: received, sent: sent, unacknowledgedBytes: core.backlogBytes)
        } else {
            lostIncarnations.insert(launch)
        }
        // What has not been handed over is not left behind in silence: the subscription's Last Will tells.
        if hasHandedOver || world.isBroken(.stopsAreHonest) { subscription.shutDown() } else { subscription.crash() }
        super.shutDown()
    }

    override func pause(until: Int64) {
        super.pause(until: until)
        timeOut(subscription)
    }

    override func stalled() {
        if subscription.isWanted {
            subscription.abandon()
            dropOthers()
            handle(.subscriptionLost)
        }
        handle(.stalled)
    }

    override func describe(_ presence: inout Presence) {
        guard isUp else { return }
        core.describe(&presence)
        if world.isBroken(.lostSubscriptionsSuspend) { presence.heartbeatSession = 1 }
    }

    override var wantsPresenceAcknowledged: Bool { true }

    override func announced(_ ticket: Int) { announcedAt[ticket] = now }

    // MARK: Hosting

    func handle(_ input: IngestInput) {
        guard isUp, core != nil else { return }
        var actions: [IngestAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: IngestAction) {
        switch action {
        case .subscribe:
            subscribe([
                .acknowledgements(service: service.rawValue, instance: instance), .presence,
                .barriers(service: service.rawValue, instance: instance),
            ])
        case .send(let outgoing):
            count(outgoing.frame)
            if !hides(outgoing) { publish([outgoing]) { .partition($0) } }
        case .answer(let answer, let reconciler):
            if hasSent(answer) { oracle.ingestAnswers(self, received: received, sent: sent) }
            publish(altered(answer), to: reconciler)
        case .announce:
            announce()
            scheduleTurn(at: world.time)
        case .askForNotes:
            // A real ingest is told what is retained before the echo of its own question.
            if let past = retainedEndings { handle(.noteFound(past)) }
            handle(.notesEnded)
        case .note(let past): publish(.endings, .endings(past), retained: endingsKey)
        case .openSubscription(let end):
            oracle.subscribes(self, isDraining: isDraining)
            subscription.open(end)
        case .subscribeToHeartbeats:
            if let session = subscription.session { broker.subscribe(session, [.canary(instance), .heartbeats]) }
        case .unsubscribeFromHeartbeats:
            guard let session = subscription.session, !world.isBroken(.stoppersTakeNothing) else { break }
            broker.unsubscribe(session, .heartbeats)
        case .sendCanary(let canary): send(canary)
        case .pauseSubscription(let isPaused): pauseReading(isPaused)
        case .abandonSubscription:
            subscription.abandon()
            dropOthers()
        case .closeSubscription, .log: break
        case .fail(let reason): preconditionFailure(reason)
        case .drained: isDrainedByCore = true
        }
    }

    private func publish(_ answer: BarrierAnswer, to reconciler: String) {
        publish(
            .barriers(service: ServiceName.reconciler.rawValue, instance: reconciler), .barrierAnswer(answer))
    }

    private func send(_ canary: IngestCanary) {
        if case .barrier = canary, world.isBroken(.canariesProveTheSubscription) {
            return handle(.canaryReceived(canary))
        }
        guard let session = subscription.session else { return }
        broker.publish(session, SimMessage(topic: .canary(instance), body: .canary(canary)))
    }

    private func pauseReading(_ isPaused: Bool) {
        guard !world.isBroken(.fullIngestsPause) else { return }
        isReadingPaused = isPaused
        guard !isPaused else { return }
        let messages = unread
        unread = []
        messages.forEach(received)
    }

    /// Takes what came on the subscription, unless it is left in its socket.
    private func read(_ message: SimMessage, _ take: () -> Void) {
        guard !isReadingPaused else { return unread.append(message) }
        var take = take
        if case .heartbeat(let detail) = message.body, world.isBroken(.answersFollowHeartbeats) {
            take = { [unowned self] in late.append(detail) }
        }
        if case .heartbeat(let detail) = message.body {
            received += 1
            if let session = subscription.session { oracle.handovers.heartbeats[session.number, default: 0] -= 1 }
            oracle.heartbeatReceived(detail, by: self)
            oracle.ingestReads(
                self, unread: world.time - message.deliveredAt, unacknowledged: world.time - worldTime(acknowledgedAt))
        }
        take()
    }

    private func take(_ detail: HeartbeatDetail) { handle(.heartbeatsReceived(heartbeat(detail), at: now)) }

    /// Whether no batch that an answer names waits for those before it.
    private func hasSent(_ answer: BarrierAnswer) -> Bool {
        answer.batches.allSatisfy { partition, seq in
            newest.contains { $0.key.stream == "batches/\(partition)" && $0.value == seq }
        }
    }

    private func count(_ frame: StreamFrame<PartitionMessage>) {
        guard case .batch(let batch)? = frame.body, frame.seq > newest[frame.id] ?? 0 else { return }
        newest[frame.id] = frame.seq
        for segment in batch.segments { sent += segment.names.count + (segment.detail == nil ? 0 : 1) }
    }

    private func heartbeat(_ detail: HeartbeatDetail) -> HeartbeatMessage {
        guard world.sendsBytes else { return .decoded(detail) }
        return .bytes(
            topic: Topics().heartbeat(detail.agent), payload: RealBytes.payload(of: detail),
            tokenDigest: detail.tokenDigest)
    }

    // MARK: Rules that are switched off

    private func tick() {
        if world.isBroken(.unheardIngestsEnd), isConnected { handle(.presenceAcknowledged(announcedAt: now)) }
        handle(.ticked)
    }

    /// Whether the core does not know that nothing is read.
    private var hidesPauses: Bool { world.isBroken(.longPausesEnd) }

    /// Stops reading and begins again as the core would.
    private func steer() {
        let bytesMax = IngestProcess.backlogBytesMax
        guard isReadingPaused ? core.backlogBytes < bytesMax / 2 : core.backlogBytes > bytesMax else { return }
        pauseReading(!isReadingPaused)
    }

    private var endingsKey: String { "endings/\(name)" }

    private var retainedEndings: CrashLoopBackoff? {
        guard case .endings(let past)? = broker.isRetaining(endingsKey)?.body else { return nil }
        return world.isBroken(.flappingIngestsWait) ? nil : past
    }

    private func altered(_ answer: BarrierAnswer) -> BarrierAnswer {
        let session = world.isBroken(.lostSubscriptionsSuspend) ? 1 : answer.session
        let isStopping = answer.isStopping == true && !world.isBroken(.stoppingIngestsSaySo)
        return BarrierAnswer(
            number: answer.number, ingest: answer.ingest, incarnation: answer.incarnation, session: session,
            batches: answer.batches, isStopping: isStopping)
    }

    /// An introduction that no owner is told, and that counts as acknowledged all the same.
    private func hides(_ outgoing: StreamSenders<PartitionMessage>.Outgoing) -> Bool {
        guard world.isBroken(.ingestsAreKnownFirst), case .introduction? = outgoing.frame.body else { return false }
        handle(
            .acknowledgementReceived(
                StreamAcknowledgement(id: outgoing.frame.id, upTo: outgoing.frame.seq, resendFrom: nil)))
        return true
    }
}
