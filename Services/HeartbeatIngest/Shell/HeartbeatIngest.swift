public import Bus
public import Contract
internal import HeartbeatIngestCore
public import Lifecycle
internal import Secrets
public import ServiceKit

/// Takes all heartbeats, judges their form and hands them to the owners of the partitions in batches, each kept until
/// its receipt. It subscribes once `Admission` lets it.
public final class HeartbeatIngest: Service {
    /// Batches under way to one partition: what a turn of its owner takes at most, whatever they bring.
    public static let windowMax = 4
    /// Dismissals logged in one second; the others are counted.
    public static let dismissalsLoggedMax = 20
    /// Without an acknowledgement of its presence for so long this ingest takes no heartbeats: it ends its line before the
    /// reconcilers forget it (`Sight.presenceLimit`).
    public static let acknowledgementLimit = TimeSpan.seconds(5)

    private var runtime: ServiceRuntime!
    private var outlet: StreamOutlet<PartitionMessage>!
    private var intake: HeartbeatIntake?
    private var backlog = Backlog(partitionCount: 0)
    private var source: HeartbeatSource?
    private var streams: [String] = []
    private var admission = Admission()
    private var noted: UncleanEnds?
    private var isWaiting = false
    private var isStopping = false
    private var hasTimer = false
    private var dismissalsLogged = 0
    private var dismissalsSuppressed = 0

    public init() {}

    // MARK: Service

    public func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        outlet = StreamOutlet(
            topics: runtime.topics, service: runtime.name, instance: runtime.instance, incarnation: runtime.incarnation,
            windowMax: HeartbeatIngest.windowMax)
        runtime.watch(outlet)
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in tick() }
        runtime.loop.every(.seconds(1)) { [unowned self] in logSuppressed() }
    }

    public func connected(_ connection: Connection) {
        let topics = runtime.topics
        outlet.connection = connection
        connection.subscribe([
            topics.receipts(service: runtime.name.rawValue, instance: runtime.instance), topics.allPresence,
            topics.barriers(service: runtime.name.rawValue, instance: runtime.instance), endings,
        ])
        // Of what is retained there the first life's question comes behind it: then all is known that there is to know.
        if let past = admission.past { note(past) } else { ask() }
        outlet.reconnected(now: Clock.now())
    }

    public func disconnected() {
        // Owners may be told that this ingest is gone: it receives nothing until they know it again.
        source?.abandon(reason: "the connection to the owners was lost")
        admission.closed(now: Clock.now())
    }

    public func stalled(_ length: TimeSpan) {
        admission.stalled(now: Clock.now(), stamp: Clock.stamp())
    }

    public func received(_ delivery: Delivery) {
        if delivery.topic == runtime.topics.receipts(service: runtime.name.rawValue, instance: runtime.instance) {
            guard let receipt = try? JSON.decode(StreamReceipt.self, from: delivery.payload) else {
                return runtime.log.event("bus.unreadable", .error, ["topic": LogValue(delivery.topic)])
            }
            receipted(receipt)
        } else if delivery.topic == endings {
            found(delivery)
        } else if delivery.topic == runtime.topics.barriers(service: runtime.name.rawValue, instance: runtime.instance)
        {
            guard let question = try? JSON.decode(BarrierQuestion.self, from: delivery.payload) else {
                return runtime.log.event("bus.unreadable", .error, ["topic": LogValue(delivery.topic)])
            }
            guard let source, source.mayHoldHeartbeats else { return answer(question) }
            // Without a subscription that stands nothing can be proven yet: the question comes again.
            source.sendCanary { [unowned self] in answer(question) }
        } else if let presence = try? JSON.decode(Presence.self, from: delivery.payload) {
            // What does not decode is a cleared presence.
            heard(presence, isRetained: delivery.isRetained)
        }
    }

    public func turnEnded(now: Instant) {
        flush(all: false)
        steer(now: now)
        admit(Clock.now())
        guard let intake, !hasTimer, !intake.isEmpty else { return }
        hasTimer = true
        runtime.loop.after(BatchCollector.waitMax) { [unowned self] in hasTimer = false }
    }

    public func isDrained() -> Bool {
        isStopping = true
        if let source, let intake {
            guard source.drain() else { return false }
            flush(all: true)
            // Introductions alone are nothing to hand over.
            guard outlet.keptCount() == 0 || intake.counters.batches == 0 else { return false }
            source.close()
            self.source = nil
        }
        if let past = admission.past { note(past.ended()) }
        return true
    }

    public func describe(_ presence: inout Presence) {
        presence.heartbeatSession = source?.session
    }

    public var counters: [String: Int64] {
        guard let counters = intake?.counters else { return [:] }
        return [
            "messages": counters.messages, "received": counters.received, "names": counters.names,
            "plain": counters.plain, "rejected": counters.rejected, "batches": counters.batches,
            "kept": Int64(outlet.keptCount()),
        ]
    }

    // MARK: Inside

    /// The store's presence tells how many partitions there are: only then heartbeats can be taken.
    private func heard(_ presence: Presence, isRetained: Bool) {
        runtime.check(presence, isRetained: isRetained)
        if presence.service == runtime.name.rawValue, presence.instance != runtime.instance {
            admission.heard(presence, now: Clock.now())
        }
        // Its owner is there now: the introductions that nobody took are not left to their next repeat.
        if presence.service == ServiceName.reconciler.rawValue, admission.isIntroducing, !admission.isAcknowledged {
            outlet.reconnected(now: Clock.now())
        }
        guard presence.service == ServiceName.statusStore.rawValue, let count = presence.partitionCount,
            (1...Partition.countMax).contains(count)
        else { return }
        if let intake {
            guard intake.partitionCount != count else { return }
            return runtime.fail(ServiceFailure("the store has \(count) partitions, it had \(intake.partitionCount)"))
        }
        intake = HeartbeatIntake(topics: runtime.topics, partitionCount: count)
        backlog = Backlog(partitionCount: count)
        streams = (0..<count).map { "batches/\($0)" }
        source = HeartbeatSource(
            runtime, changed: { [unowned self] in lineChanged($0) }, received: { [unowned self] in take($0) })
    }

    // MARK: Subscribing

    private var endings: String { runtime.topics.endings(service: runtime.name.rawValue, instance: runtime.instance) }

    /// Introduces the next line when it is time, and opens it once every owner has acknowledged it.
    private func admit(_ now: Instant) {
        guard let source, !isStopping, !source.isPaused, outlet.connection?.isConnected == true,
            runtime.isAcknowledged(within: HeartbeatIngest.acknowledgementLimit, now: now)
        else { return }
        if admission.isAcknowledged {
            admission.opened()
            return source.open(line: admission.line)
        }
        noteWait(now)
        guard let line = admission.begin(now: now) else { return }
        for (partition, stream) in streams.enumerated() {
            let seq = outlet.send(
                .introduction(line: line), to: .partition(partition), stream: stream, now: now)
            admission.introduced(to: partition, seq: seq)
        }
    }

    private func noteWait(_ now: Instant) {
        let wait = admission.wait(now: now)
        if let wait, !isWaiting {
            runtime.log.event("heartbeat.subscription_delayed", .warning, ["delay_seconds": LogValue(wait.seconds)])
        }
        isWaiting = wait != nil
    }

    private func lineChanged(_ change: HeartbeatSource.Change) {
        switch change {
        case .subscribed: admission.subscribed()
        case .ended: admission.closed(now: Clock.now())
        }
        runtime.announce()
    }

    private func receipted(_ receipt: StreamReceipt) {
        guard let (destination, _, seq) = outlet.receive(receipt, now: Clock.now()),
            case .partition(let partition) = destination
        else { return }
        backlog.receipted(partition, upTo: seq)
        admission.receipted(partition, upTo: seq)
    }

    /// Asks for the end of what is retained: what an earlier life noted comes before it.
    private func ask() {
        // Refused only when the connection is lost: the next one asks again.
        _ = try? outlet.connection?.publish(
            Publication(topic: endings, payload: Array(runtime.incarnation.utf8)))
    }

    private func found(_ delivery: Delivery) {
        guard admission.past == nil else { return }
        if delivery.isRetained {
            // What cannot be read is no note.
            noted = try? JSON.decode(UncleanEnds.self, from: delivery.payload)
        } else if delivery.payload.elementsEqual(runtime.incarnation.utf8) {
            admission.found(noted, now: Clock.now(), stamp: Clock.stamp())
            if let past = admission.past { note(past) }
        }
    }

    /// Leaves a note for the next life.
    private func note(_ past: UncleanEnds) {
        var publication = Publication(topic: endings, payload: JSON.bytes(past))
        publication.isRetained = true
        // Refused only when the connection is lost: the next one notes it again.
        _ = try? outlet.connection?.publish(publication)
    }

    // MARK: Batches

    /// The canary is back: what came before it goes out, and the owner is told up to where.
    private func answer(_ question: BarrierQuestion) {
        flush(all: true)
        var batches: [String: Int] = [:]
        for (partition, stream) in streams.enumerated() {
            if let newest = outlet.newestKept(stream: stream) { batches[String(partition)] = newest }
        }
        let answer = BarrierAnswer(
            number: question.number, ingest: runtime.instance, incarnation: runtime.incarnation,
            session: source?.session,
            batches: batches, isStopping: isStopping)
        let topic = runtime.topics.barriers(service: ServiceName.reconciler.rawValue, instance: question.reconciler)
        // Lost with the connection: the owner is blind until it is answered again.
        _ = try? outlet.connection?.publish(Publication(topic: topic, payload: JSON.bytes(answer)))
    }

    private func take(_ delivery: Delivery) {
        // A retained message says nothing of now; shared subscriptions bring none (MQTT 5 §4.8.2).
        guard !delivery.isRetained else { return }
        let token = delivery.userProperties.isEmpty ? nil : delivery.userProperty("x-agent-token")
        // By the reading of the clock that followed its reading from the socket: this process may have stood still since.
        let dismissal = intake?.receive(
            topic: delivery.topic, payload: delivery.payload, tokenDigest: token.map { Digest(of: $0).description },
            at: Clock.stamp(), now: runtime.loop.checkedAt)
        if let dismissal { log(dismissal) }
    }

    private func flush(all: Bool) {
        let now = Clock.now()
        for closed in intake?.takeBatches(now: now, all: all) ?? [] {
            let seq = outlet.send(
                .batch(closed.batch), to: .partition(closed.partition), stream: streams[closed.partition], now: now)
            backlog.sent(seq, to: closed.partition, bytes: closed.bytes)
        }
    }

    private func tick() {
        let now = Clock.now()
        outlet.tick(now: now)
        source?.tick(now: now)
        guard let source, source.isOpen, !runtime.isAcknowledged(within: HeartbeatIngest.acknowledgementLimit, now: now)
        else { return }
        source.abandon(reason: "the broker does not acknowledge this ingest's presence")
    }

    /// Stops reading while more waits for the owners than memory is to hold, and begins again.
    private func steer(now: Instant) {
        guard let source, source.isPaused != backlog.isFull else { return }
        if backlog.isFull {
            source.pause(now: now)
            runtime.log.event("heartbeat.reading_paused", .warning, ["kept": LogValue(backlog.count)])
        } else {
            source.resume()
            runtime.log.event("heartbeat.reading_resumed", .info, ["kept": LogValue(backlog.count)])
        }
    }

    private func log(_ dismissal: HeartbeatIntake.Dismissal) {
        guard dismissalsLogged < HeartbeatIngest.dismissalsLoggedMax else {
            dismissalsSuppressed += dismissal.count
            return
        }
        dismissalsLogged += 1
        var members: [(key: String, value: LogValue)] = [("reason", LogValue(dismissal.reason.rawValue))]
        if let gateway = dismissal.gateway { members.append(("gateway", LogValue(gateway))) }
        members.append(("topic", LogValue(dismissal.topic)))
        members.append(("count", LogValue(dismissal.count)))
        runtime.log.event("heartbeat.rejected", .warning, members)
    }

    private func logSuppressed() {
        if dismissalsSuppressed > 0 {
            runtime.log.event(
                "heartbeat.rejected", .warning,
                ["reason": LogValue(RejectionReason.malformed.rawValue), "count": LogValue(dismissalsSuppressed)])
        }
        dismissalsLogged = 0
        dismissalsSuppressed = 0
    }
}
