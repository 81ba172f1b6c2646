import API
import Bus
internal import HeartbeatIngestCore
import Model
internal import Secrets
import ServiceHost
internal import Streams
import Wire

/// Hosts `IngestCore` on the bus: what arrives becomes its inputs, its actions become messages. Nothing is decided here.
final class HeartbeatIngest: Service {
    private var runtime: ServiceRuntime!
    private var core: IngestCore!
    private var subscription: SubscriptionConnection!
    private var publisher: FramePublisher!
    private weak var connection: Connection?
    private var isDrainedByCore = false

    // MARK: Service

    func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        core = IngestCore(topics: runtime.topics, instance: runtime.instance, incarnation: runtime.incarnation)
        publisher = FramePublisher(topics: runtime.topics)
        runtime.watch(publisher)
        subscription = SubscriptionConnection(runtime) { [unowned self] in handle($0) }
        runtime.presenceAcknowledged = { [unowned self] in handle(.presenceAcknowledged(announcedAt: $0)) }
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in handle(.ticked) }
        runtime.loop.every(.seconds(1)) { [unowned self] in handle(.secondPassed) }
    }

    func connected(_ connection: Connection) {
        self.connection = connection
        handle(.connected)
    }

    func disconnected() { handle(.disconnected) }

    func stalled(_ length: TimeSpan) { handle(.stalled) }

    func received(_ delivery: Delivery) {
        switch delivery.topic {
        case acknowledgements:
            if let acknowledgement: StreamAcknowledgement = decode(delivery) {
                handle(.acknowledgementReceived(acknowledgement))
            }
        case barriers: if let question: BarrierQuestion = decode(delivery) { handle(.questionReceived(question)) }
        case endings:
            if delivery.isRetained {
                // What cannot be read is no note.
                handle(.noteFound(try? WireFormat.decode(CrashLoopBackoff.self, from: delivery.payload)))
            } else if delivery.payload.elementsEqual(runtime.incarnation.utf8) {
                handle(.notesEnded)
            }
        default:
            // What does not decode is a cleared presence.
            guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
            runtime.check(presence, isRetained: delivery.isRetained)
            handle(.presenceReceived(presence))
        }
    }

    func turnEnded(now: Instant) {
        handle(.turnEnded)
        runtime.loop.wakeAt = core.wakeAt
    }

    func isDrained() -> Bool {
        handle(.stopRequested)
        handle(.turnEnded)
        return isDrainedByCore
    }

    func describe(_ presence: inout Presence) { core.describe(&presence) }

    var metrics: [Metric] { core.metrics }
    var heartbeats: Int64 { core.counters.received }

    // MARK: Messages

    private var name: String { runtime.name.rawValue }
    private var acknowledgements: String { runtime.topics.acknowledgements(service: name, instance: runtime.instance) }
    private var barriers: String { runtime.topics.barriers(service: name, instance: runtime.instance) }
    private var endings: String { runtime.topics.endings(service: name, instance: runtime.instance) }

    private func decode<Message: Decodable>(_ delivery: Delivery) -> Message? {
        guard let message = try? WireFormat.decode(Message.self, from: delivery.payload) else {
            runtime.log.event("bus.unreadable", .error, ["topic": LogValue(delivery.topic)])
            return nil
        }
        return message
    }

    private func handle(_ input: IngestInput) {
        // One look at the clock for each heartbeat is enough.
        let now = if case .heartbeatsReceived(_, let at) = input { at } else { Clock.now() }
        var actions: [IngestAction] = []
        core.handle(input, now: now, wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: IngestAction) {
        switch action {
        case .subscribe: connection?.subscribe([acknowledgements, runtime.topics.allPresence, barriers, endings])
        case .send(let frame): publisher.publish(frame, on: connection)
        case .answer(let answer, let reconciler):
            publish(
                WireFormat.bytes(answer),
                to: runtime.topics.barriers(service: ServiceName.reconciler.rawValue, instance: reconciler))
        case .announce: runtime.announce()
        case .askForNotes: publish(Array(runtime.incarnation.utf8), to: endings)
        case .note(let ends): publish(WireFormat.bytes(ends), to: endings, isRetained: true)
        case .openSubscription(let end): subscription.open(end: end)
        case .subscribeToHeartbeats: subscription.subscribe()
        case .unsubscribeFromHeartbeats: subscription.unsubscribe()
        case .sendCanary(let canary): subscription.send(canary)
        case .pauseSubscription(let isPaused): subscription.isReadingPaused = isPaused
        case .abandonSubscription(let reason): subscription.abandon(reason: reason)
        case .closeSubscription: subscription.close()
        case .log(let log): write(log)
        case .fail(let reason): runtime.fail(ServiceFailure(reason))
        case .drained: isDrainedByCore = true
        }
    }

    private func publish(_ payload: [UInt8], to topic: String, isRetained: Bool = false) {
        var publication = Publication(topic: topic, payload: payload)
        publication.isRetained = isRetained
        // Refused only when the connection is lost: the next one begins anew.
        _ = try? connection?.publish(publication)
    }

    private func write(_ log: IngestLog) {
        switch log {
        case .subscriptionDelayed(let wait):
            runtime.log.event("heartbeat.subscription_delayed", .warning, ["delay_seconds": LogValue(wait.seconds)])
        case .readingPaused(let kept):
            runtime.log.event("heartbeat.reading_paused", .warning, ["kept": LogValue(kept)])
        case .readingResumed(let kept):
            runtime.log.event("heartbeat.reading_resumed", .info, ["kept": LogValue(kept)])
        case .rejected(let dismissal):
            var members: [(key: String, value: LogValue)] = [("reason", LogValue(dismissal.reason.rawValue))]
            if let gateway = dismissal.gateway { members.append(("gateway", LogValue(gateway))) }
            members.append(("detail", LogValue(dismissal.detail)))
            members.append(("topic", LogValue(dismissal.topic)))
            members.append(("count", LogValue(dismissal.count)))
            runtime.log.event("heartbeat.rejected", .warning, members)
        case .rejectedBesides(let count):
            runtime.log.event(
                "heartbeat.rejected", .warning,
                ["reason": LogValue(RejectionReason.malformed.rawValue), "count": LogValue(count)])
        }
    }
}
