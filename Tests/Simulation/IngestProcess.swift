import API
import HeartbeatIngestCore
import Model
import Streams
import Wire

/// The connection of an ingest on which heartbeats come.
final class HeartbeatSubscription: Client {
    unowned let process: IngestProcess
    /// The Last Will of the subscription that is open, or being opened.
    private var end: HeartbeatSubscriptionEnded?

    init(_ process: IngestProcess) {
        self.process = process
        super.init("\(process.name)~heartbeats", process.broker)
    }

    override var connectTime: ClosedRange<Int64> { 2_000...700_000 }
    override var keepalive: Int64 { 5 }

    /// Whether it is open, or being opened.
    var isWanted: Bool { end != nil }

    override func started() { end = nil }

    func open(_ end: HeartbeatSubscriptionEnded) {
        self.end = end
        connectSoon()
    }

    /// A subscription that ends is not made again.
    override func connectSoon() {
        if end != nil { super.connectSoon() }
    }

    override func wills() -> [SimMessage] {
        guard let end else { return [] }
        return [
            SimMessage(
                topic: .subscriptions, body: .subscriptionEnded(end), retainedKey: "subscriptions/\(process.name)")
        ]
    }

    override func opened() {
        guard end != nil else { return abandon() }
        process.handle(.subscriptionConnected)
    }

    override func subscribed() { process.handle(.subscriptionAnswered(refused: [])) }

    override func closed() {
        let wasWanted = end != nil
        end = nil
        process.dropOthers()
        if wasWanted { process.handle(.subscriptionLost) }
    }

    override func lostConnection() {
        guard process.isPaused else { return super.lostConnection() }
        let (launch, session) = (launch, session)
        world.at(process.pausedUntil) { [unowned self] in
            guard isUp, self.launch == launch, self.session === session else { return }
            lostConnection()
        }
    }

    override func deliver(_ message: SimMessage) { process.deliver(message) }

    /// Ends the connection without a word; nobody is told but by its Last Will.
    func abandon() {
        end = nil
        guard let session else { return }
        broker.end(session, isCrash: false)
        super.lostConnection()
    }
}

/// Hosts the real `IngestCore`, with a connection for heartbeats and one for everything else.
final class IngestProcess: Process {
    /// What may wait for acknowledgements: small, so that reading stops.
    private static let backlogBytesMax = 20_000

    private var core: IngestCore!
    private(set) lazy var subscription = HeartbeatSubscription(self)
    private(set) var isReadingPaused = false
    /// What lies in the socket of a subscription that is not read.
    private var unread: [SimMessage] = []
    private var isDrainedByCore = false
    private var announcedAt: [Int: Instant] = [:]
    /// The subscription to heartbeats that stands.
    var heartbeatSession: Int? { core?.heartbeatSession }
    /// Lives that ended with something in hand.
    private(set) var lostIncarnations: Set<Int> = []

    override func begin() {
        core = IngestCore(
            topics: Topics(), instance: instance, incarnation: incarnation, windowMax: 6,
            backlogBytesMax: IngestProcess.backlogBytesMax)
        isReadingPaused = false
        unread = []
        isDrainedByCore = false
        announcedAt = [:]
        subscription.start()
        every(200_000) { [unowned self] in handle(.ticked) }
        every(1_000_000) { [unowned self] in handle(.secondPassed) }
    }

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
        case .heartbeat(let detail): read(message) { handle(.heartbeatsReceived(heartbeat(detail), at: now)) }
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
        if let at = announcedAt.removeValue(forKey: ticket) { handle(.presenceAcknowledged(announcedAt: at)) }
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
        handle(.turnEnded)
        oracle.ingestHolds(core.backlogBytes, of: IngestProcess.backlogBytesMax, by: self)
        wakeAt = core.wakeAt
    }

    override func isDrained() -> Bool {
        guard !world.isBroken(.ingestsDrain) else { return true }
        handle(.stopRequested)
        handle(.turnEnded)
        return isDrainedByCore
    }

    override func shutDown() {
        if !hasHandedOver { lostIncarnations.insert(launch) }
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
        case .send(let outgoing): if !hides(outgoing) { publish([outgoing]) { .partition($0) } }
        case .answer(let answer, let reconciler): publish(altered(answer), to: reconciler)
        case .announce:
            announce()
            scheduleTurn(at: world.time)
        case .askForNotes:
            // A real ingest is told what is retained before the echo of its own question.
            if let past = retainedEndings { handle(.noteFound(past)) }
            handle(.notesEnded)
        case .note(let past): publish(.endings, .endings(past), retained: endingsKey)
        case .openSubscription(let end): subscription.open(end)
        case .subscribeToHeartbeats:
            if let session = subscription.session { broker.subscribe(session, [.canary(instance), .heartbeats]) }
        case .unsubscribeFromHeartbeats:
            if let session = subscription.session { broker.unsubscribe(session, .heartbeats) }
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
        if case .heartbeat(let detail) = message.body { oracle.heartbeatReceived(detail, by: self) }
        take()
    }

    private func heartbeat(_ detail: HeartbeatDetail) -> HeartbeatMessage {
        guard world.sendsBytes else { return .decoded(detail) }
        return .bytes(
            topic: Topics().heartbeat(detail.agent), payload: RealBytes.payload(of: detail),
            tokenDigest: detail.tokenDigest)
    }

    // MARK: Rules that are switched off

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
