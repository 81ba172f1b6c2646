import API
import Bus
import Model
internal import ReconcilerCore
import ServiceHost
internal import Streams
import Wire

/// Hosts `ReconcilerCore` on the bus: what arrives becomes its inputs, its actions become messages. Nothing is decided here.
final class ReconcilerService: Service {
    /// How long a turn works in slices: what is left goes on in the next one, behind what has arrived meanwhile.
    private static let workLimit = TimeSpan(milliseconds: 50)

    private let systemPolicy: Policy
    private var runtime: ServiceRuntime!
    private var core: ReconcilerCore<PartitionOwner>!
    private var publisher: FramePublisher!
    private weak var connection: Connection?

    init(systemPolicy: Policy) {
        self.systemPolicy = systemPolicy
    }

    private var topics: Topics { runtime.topics }
    private var name: String { runtime.name.rawValue }

    // MARK: Service

    func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        publisher = FramePublisher(topics: topics)
        runtime.watch(publisher)
        let (instance, systemPolicy) = (runtime.instance, systemPolicy)
        core = ReconcilerCore(
            instance: instance, incarnation: runtime.incarnation, now: Clock.now(), wallTime: Clock.wallTime()
        ) { partition, epoch in
            PartitionOwner(
                partition: partition, epoch: epoch, instance: instance, systemPolicy: systemPolicy, boot: Clock.boot)
        }
        runtime.loop.every(TimeSpan(milliseconds: 100)) { [unowned self] in handle(.ticked) }
    }

    func connected(_ connection: Connection) {
        self.connection = connection
        handle(.connected)
    }

    func subscribed(refused: [String]) { handle(.subscribed) }

    func disconnected() { handle(.disconnected) }

    func received(_ delivery: Delivery) {
        do {
            if let input = try input(delivery) { handle(input) }
        } catch {
            let (member, detail) = JSON.describe(error)
            logDropped(delivery.topic, member, detail)
        }
    }

    func turnEnded(now: Instant) {
        let now = Clock.now()
        handle(.turnEnded)
        let end = now + ReconcilerService.workLimit
        while core.hasWork(now: now), Clock.now() < end { handle(.sliceBegan) }
        runtime.loop.wakeAt = core.wakeAt(now: now)
    }

    func describe(_ presence: inout Presence) { core.describe(&presence, now: Clock.now()) }

    func isDrained() -> Bool {
        handle(.stopRequested)
        return core.isDrained
    }

    var metrics: [Metric] { core.counters(now: Clock.now()).metrics }
    var heartbeats: Int64 { core.counters(now: Clock.now()).owners.heartbeats }

    // MARK: Messages

    private func input(_ delivery: Delivery) throws -> ReconcilerInput? {
        guard let levels = topics.levels(of: delivery.topic) else { return nil }
        let payload = delivery.payload
        switch levels.first {
        case "internal" where levels.count >= 3 && levels[1] == "acknowledgements":
            return .acknowledgementReceived(try WireFormat.decode(StreamAcknowledgement.self, from: payload))
        case "internal" where levels.count == 4 && levels[1] == "streams" && levels[2] == "partition":
            return try Int(levels[3]).map { try frame(payload, to: $0) }
        case "internal" where levels.count == 4 && levels[1] == "streams" && levels[2] == "reconciler":
            return .grantReceived(try WireFormat.decode(StreamFrame<ReconcilerMessage>.self, from: payload))
        case "internal" where levels.count == 4 && levels[1] == "barriers":
            return .answerReceived(try WireFormat.decode(BarrierAnswer.self, from: payload))
        case "internal" where levels.count == 3 && levels[1] == "subscriptions":
            return .subscriptionEnded(
                try WireFormat.decode(HeartbeatSubscriptionEnded.self, from: payload), isRetained: delivery.isRetained)
        case "services" where !payload.isEmpty:
            let presence = try JSON.decode(Presence.self, from: payload)
            runtime.check(presence, isRetained: delivery.isRetained)
            return .presenceReceived(presence, isRetained: delivery.isRetained)
        case "gateways":
            guard let gateway = topics.gateway(of: delivery.topic) else { return nil }
            return .gatewayStatusReceived(gateway: gateway, status(of: gateway, payload))
        default: return nil
        }
    }

    /// What a gateway says of itself; one that cannot be read says as little as none.
    private func status(of gateway: String, _ payload: [UInt8]) -> GatewayStatusMessage? {
        guard !payload.isEmpty else { return nil }
        do throws(JSONFault) {
            return try GatewayStatusMessage(reading: payload)
        } catch {
            logDropped(topics.gatewayStatus(gateway), error.member, error.detail)
            return nil
        }
    }

    private func logDropped(_ topic: String, _ member: String, _ detail: String) {
        runtime.log.event(
            "service.message_dropped", .error, ["topic": LogValue(topic), "error": LogValue("\(member) \(detail)")])
    }

    private func frame(_ payload: [UInt8], to partition: Int) throws -> ReconcilerInput {
        do {
            return .frameReceived(
                try WireFormat.decode(StreamFrame<PartitionMessage>.self, from: payload), partition: partition)
        } catch {
            guard let frame = try? WireFormat.decode(StreamFrame<UnreadBody>.self, from: payload) else { throw error }
            let (member, detail) = JSON.describe(error)
            return .unreadFrameReceived(UnreadFrame(frame, partition: partition, error: "\(member) \(detail)"))
        }
    }

    private func handle(_ input: ReconcilerInput) {
        var actions: [ReconcilerAction] = []
        core.handle(input, now: Clock.now(), wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: ReconcilerAction) {
        switch action {
        case .subscribe(let partitions):
            connection?.subscribe([
                topics.acknowledgements(service: name, instance: runtime.instance),
                topics.stream(to: .reconciler(runtime.instance)), topics.allPresence, topics.allGatewayStatus,
                topics.allHeartbeatSubscriptions, topics.barriers(service: name, instance: runtime.instance),
            ])
            connection?.subscribe(partitions.map { topics.stream(to: .partition($0)) })
        case .subscribePartition(let number): connection?.subscribe([topics.stream(to: .partition(number))])
        case .unsubscribePartition(let number): connection?.unsubscribe(topics.stream(to: .partition(number)))
        case .send(let frame): publisher.publish(frame, on: connection)
        case .acknowledgement(let acknowledgement):
            publish(
                WireFormat.bytes(acknowledgement),
                to: topics.acknowledgements(service: acknowledgement.id.service, instance: acknowledgement.id.instance))
        case .ask(let question, let ingest):
            publish(
                WireFormat.bytes(question),
                to: topics.barriers(service: ServiceName.heartbeatIngest.rawValue, instance: ingest))
        case .answer(let answer):
            publish(WireFormat.bytes(answer), to: topics.heartbeatAnswers(asker: answer.asker.name))
        case .announce: runtime.announce()
        case .log(let log): write(log)
        }
    }

    private func publish(_ payload: [UInt8], to topic: String) {
        guard let connection, connection.isConnected else { return }
        // Refused only when the connection is lost: an acknowledgement is owed again by the frame's repeat, and nothing is judged.
        _ = try? connection.publish(Publication(topic: topic, payload: payload))
    }

    private func write(_ log: ReconcilerLog) {
        let (name, level, members) = log.subscription
        runtime.log.event(name, level, members)
    }
}
