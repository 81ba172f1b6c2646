import Bus
import Contract
import HeartbeatIngestCore
import Lifecycle

/// The connection on which heartbeats come, as `HeartbeatSource` keeps it.
final class HeartbeatLine: Client {
    unowned let process: IngestProcess
    /// The line that is open, or being opened.
    private var line: Int?
    /// The number of the subscription that stands; `nil` while none does.
    private(set) var number: Int?
    private var isSubscribing = false
    /// Whether the broker may have given it heartbeats that are not read yet.
    var mayHoldHeartbeats: Bool { number != nil || isSubscribing || draining == .underWay }
    var canaries: [Int: () -> Void] = [:]
    private var nextCanary = 0
    private enum Draining { case notYet, underWay, done, cutOff }
    /// Once nothing new is taken, what was queued before is still read, up to a canary.
    private var draining = Draining.notYet

    init(_ process: IngestProcess) {
        self.process = process
        super.init("\(process.name)~heartbeats", process.broker)
    }

    override var connectTime: ClosedRange<Int64> { 2_000...700_000 }
    override var keepalive: Int64 { 5 }

    override func started() {
        line = nil
        number = nil
        isSubscribing = false
        canaries = [:]
        draining = .notYet
    }

    func open(_ line: Int) {
        self.line = line
        connectSoon()
    }

    /// A line that ends is not made again.
    override func connectSoon() {
        if line != nil { super.connectSoon() }
    }

    override func wills() -> [SimMessage] {
        let end = HeartbeatLineEnded(
            ingest: process.instance, incarnation: process.incarnation, line: line ?? 0)
        return [SimMessage(topic: .lines, body: .lineEnded(end), retainedKey: "lines/\(process.name)")]
    }

    override func opened() {
        guard let session else { return }
        guard line != nil, draining == .notYet else { return abandon() }
        broker.subscribe(session, [.canary(process.instance), .heartbeats])
        isSubscribing = true
    }

    override func subscribed() {
        isSubscribing = false
        number = line
        process.lineSubscribed()
    }

    override func closed() {
        if draining == .underWay { draining = .cutOff }
        line = nil
        number = nil
        isSubscribing = false
        canaries = [:]
        process.dropOthers()
        process.lineEnded()
    }

    override func lostConnection() {
        guard process.isPaused else { return super.lostConnection() }
        let (life, session) = (life, session)
        world.at(process.pausedUntil) { [unowned self] in
            guard isUp, self.life == life, self.session === session else { return }
            lostConnection()
        }
    }

    override func deliver(_ message: SimMessage) { process.deliver(message) }

    func sendCanary(_ done: @escaping () -> Void) {
        guard number != nil, let session else { return }
        sendCanary(on: session, done)
    }

    private func sendCanary(on session: Session, _ done: @escaping () -> Void) {
        nextCanary += 1
        canaries[nextCanary] = done
        broker.publish(session, SimMessage(topic: .canary(process.instance), body: .canary(nextCanary)))
    }

    /// Whether all heartbeats that were queued here have been read.
    func drain() -> Bool {
        guard draining == .notYet else { return draining == .done }
        guard let session else {
            draining = .done
            return true
        }
        draining = .underWay
        broker.unsubscribe(session, .heartbeats)
        sendCanary(on: session) { [unowned self] in draining = .done }
        return false
    }

    func abandon() {
        line = nil
        guard let session else { return }
        broker.end(session, isCrash: false)
        super.lostConnection()
    }
}

/// A heartbeat-ingest: the real collector, with a connection for heartbeats and one for everything else.
final class IngestProcess: Process {
    private var outlet: SimOutlet<PartitionMessage>!
    private var collector: BatchCollector?
    private var partitionCount = 1
    private(set) lazy var line = HeartbeatLine(self)
    private var admission = Admission()

    override func begin() {
        outlet = SimOutlet(self) { .partition($0) }
        collector = nil
        admission = Admission()
        every(200_000) { [unowned self] in outlet.tick(now: now) }
    }

    override func crashed() {
        super.crashed()
        guard line.isUp else { return }
        lostLives.insert(life)
        line.crash()
    }

    /// Lives that ended with something in hand.
    private(set) var lostLives: Set<Int> = []

    override func connected() {
        subscribe([
            .receipts(service: service.rawValue, instance: instance), .presence,
            .barriers(service: service.rawValue, instance: instance),
        ])
        if admission.past == nil { admission.found(retainedEndings, now: now, stamp: stamp) }
        if let past = admission.past { publish(.endings, .endings(past), retained: endingsKey) }
        outlet.reconnected(now: now)
    }

    override func disconnected() {
        line.abandon()
        admission.closed(now: now)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .receipt(let receipt): receipted(receipt)
        case .presence(let presence):
            check(presence)
            if presence.service == service.rawValue, presence.instance != instance {
                admission.heard(presence, now: now)
            }
            if presence.service == ServiceName.reconciler.rawValue, admission.isIntroducing,
                !admission.isAcknowledged
            {
                outlet.reconnected(now: now)
            }
            guard collector == nil, let count = presence.partitionCount else { return }
            partitionCount = count
            collector = BatchCollector(partitionCount: count)
            line.start()
        case .heartbeat(let detail): take(detail)
        case .question(let question):
            guard line.mayHoldHeartbeats, !world.isBroken(.canariesProveTheLine) else { return answer(question) }
            line.sendCanary { [unowned self] in answer(question) }
        case .canary(let number): line.canaries.removeValue(forKey: number)?()
        case .partition, .store, .reconciler, .gatewayStatus, .cursor, .order, .answer, .command, .barrierAnswer,
            .reply, .wake, .fact, .credentials, .claim, .acknowledged, .lineEnded, .endings:
            break
        }
    }

    override func isOfOtherConnection(_ message: SimMessage) -> Bool {
        switch message.topic {
        case .heartbeats, .canary: true
        case .partition, .store, .reconciler, .receipts, .presence, .gatewayStatus, .cursor, .answers, .barriers,
            .replies, .wake, .lifecycle, .status, .access, .orders, .commands, .lines, .endings, .claims:
            false
        }
    }

    override func turnEnded(step: Int) {
        flush(all: false)
        admit()
        publish(outlet.take())
        wakeAt = collector?.isEmpty ?? true ? nil : now + BatchCollector.waitMax
    }

    override func isDrained() -> Bool {
        guard line.isUp, !world.isBroken(.ingestsDrain) else { return true }
        guard line.drain() else { return false }
        flush(all: true)
        publish(outlet.take())
        return outlet.keptCount == 0
    }

    override func shutDown() {
        if !hasHandedOver { lostLives.insert(life) }
        // What has not been handed over is not left behind in silence: the line's Last Will tells.
        if hasHandedOver || world.isBroken(.stopsAreHonest) { line.shutDown() } else { line.crash() }
        super.shutDown()
    }

    override func pause(until: Int64) {
        super.pause(until: until)
        timeOut(line)
    }

    override func stalled() {
        line.abandon()
        admission.stalled(now: now, stamp: stamp)
    }

    override func describe(_ presence: inout Presence) {
        guard isUp, line.isUp else { return }
        presence.heartbeatSession = world.isBroken(.lostSubscriptionsBlind) ? 1 : line.number
    }

    func lineSubscribed() {
        admission.subscribed()
        announceSoon()
    }

    func lineEnded() {
        admission.closed(now: now)
        announceSoon()
    }

    /// The subscription changed: everybody is to know.
    private func announceSoon() {
        guard isUp else { return }
        announce()
        scheduleTurn(at: world.time)
    }

    // MARK: Inside

    private var endingsKey: String { "endings/\(name)" }

    /// What an earlier life has noted; a real ingest is told before the echo of its own question.
    private var retainedEndings: UncleanEnds? {
        guard case .endings(let past)? = broker.isRetaining(endingsKey)?.body else { return nil }
        return world.isBroken(.flappingIngestsWait) ? nil : past
    }

    private func admit() {
        guard isConnected, line.isUp, !isStopping else { return }
        if admission.isAcknowledged || (admission.isIntroducing && world.isBroken(.ingestsAreKnownFirst)) {
            admission.opened()
            return line.open(admission.line)
        }
        guard let number = admission.begin(now: now) else { return }
        if world.isBroken(.ingestsAreKnownFirst) { return scheduleTurn(at: world.time) }
        for partition in 0..<partitionCount {
            let seq = outlet.send(
                .introduction(line: number), to: .partition(partition), stream: stream(partition), now: now)
            admission.introduced(to: partition, seq: seq)
        }
    }

    private func receipted(_ receipt: StreamReceipt) {
        guard let (stream, upTo) = outlet.receive(receipt, now: now),
            let partition = Int(stream.dropFirst("batches/".count))
        else { return }
        admission.receipted(partition, upTo: upTo)
    }

    private func flush(all: Bool) {
        for closed in collector?.take(now: now, all: all) ?? [] {
            _ = outlet.send(
                .batch(closed.batch), to: .partition(closed.partition), stream: stream(closed.partition), now: now)
        }
    }

    private func stream(_ partition: Int) -> String { "batches/\(partition)" }

    private func answer(_ question: BarrierQuestion) {
        flush(all: true)
        var batches: [String: Int] = [:]
        for lane in outlet.lanes where lane.sender.keptCount > 0 {
            batches[String(lane.stream.dropFirst("batches/".count))] = lane.sender.highestSeq
        }
        let session = world.isBroken(.lostSubscriptionsBlind) ? 1 : line.number
        publish(
            .barriers(service: ServiceName.reconciler.rawValue, instance: question.reconciler),
            .barrierAnswer(
                BarrierAnswer(
                    number: question.number, ingest: instance, incarnation: incarnation, session: session,
                    batches: batches, isStopping: isStopping && !world.isBroken(.stoppingIngestsSaySo))))
    }

    private func take(_ detail: HeartbeatDetail) {
        oracle.heartbeatReceived(detail, by: self)
        let partition = Partition.of(gateway: detail.agent.gateway, count: partitionCount)
        if detail == HeartbeatDetail(agent: detail.agent) {
            collector?.add(
                detail.agent.description, gateway: nil, partition: partition, at: stamp, received: now)
        } else {
            collector?.add(detail, partition: partition, at: stamp, received: now)
        }
    }
}
