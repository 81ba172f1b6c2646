import API
internal import Bus
internal import HeartbeatIngestCore
internal import Secrets
internal import ServiceHost
internal import Wire

/// The connection of the subscription on which heartbeats come, apart from internal traffic. Belongs to the loop's thread.
final class SubscriptionConnection: ConnectionDelegate {
    /// The least that libmosquitto takes. Of an ingest that stands still the broker ends the subscription after 8 to 14 s
    /// (`keepalive.c` of mosquitto 2.0: one and a half keepalives, looked at every 6 s), before reconcilers forget the
    /// ingest itself: until then its share of the heartbeats is given to nobody else.
    static let keepaliveSeconds: Int32 = 5

    private let runtime: ServiceRuntime
    private let handle: (IngestInput) -> Void
    private let canaryTopic: String
    private let filters: [String]
    private var connection: Connection?

    var isReadingPaused = false {
        didSet { connection?.isReadingPaused = isReadingPaused }
    }

    init(_ runtime: ServiceRuntime, handle: @escaping (IngestInput) -> Void) {
        self.runtime = runtime
        self.handle = handle
        let topics = runtime.topics
        canaryTopic = topics.canary(service: runtime.name.rawValue, instance: runtime.instance)
        filters = [topics.allHeartbeats, topics.allGatewayHeartbeats, topics.refusals].map {
            topics.shared($0, by: runtime.name.rawValue)
        }
    }

    func open(end: HeartbeatSubscriptionEnded) {
        let username = runtime.options.broker.username ?? "svc:\(runtime.name.rawValue)/\(runtime.instance)"
        var options = ConnectionOptions(broker: runtime.options.broker, clientID: username + "~heartbeats")
        options.tls = runtime.options.tls
        options.keepaliveSeconds = SubscriptionConnection.keepaliveSeconds
        options.deliveryLimit = EventLoop.stallLimit
        options.reconnects = false
        options.will = Publication(
            topic: runtime.topics.heartbeatSubscription(instance: runtime.instance), payload: WireFormat.bytes(end))
        // For reconcilers to come, which know of this ingest by its retained presence alone.
        options.will?.isRetained = true
        connection = Connection(options, loop: runtime.loop, delegate: self)
    }

    func subscribe() {
        connection?.isReadingPaused = isReadingPaused
        connection?.subscribe([canaryTopic])
        connection?.subscribe(filters)
    }

    func unsubscribe() {
        for filter in filters { connection?.unsubscribe(filter) }
    }

    func send(_ canary: IngestCanary) {
        let text =
            switch canary {
            case .barrier(let number): String(number)
            case .last: runtime.incarnation
            }
        // Refused only when the connection is lost, and with it the subscription.
        _ = try? connection?.publish(Publication(topic: canaryTopic, payload: Array(text.utf8)))
    }

    func abandon(reason: String) {
        let ended = connection
        connection = nil
        guard let ended else { return }
        log(reason)
        ended.abandon(reason: reason)
        ended.close()
    }

    func close() {
        connection?.close()
        connection = nil
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        if connection === self.connection { handle(.subscriptionConnected) }
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        guard delivery.topic == canaryTopic else { return take(delivery) }
        if delivery.payload.elementsEqual(runtime.incarnation.utf8) {
            handle(.canaryReceived(.last))
        } else if let number = Int(String(decoding: delivery.payload, as: UTF8.self)) {
            handle(.canaryReceived(.barrier(number)))
        }
    }

    func subscribed(refused: [String], on connection: Connection) {
        for filter in refused {
            runtime.log.event("service.subscription_refused", .error, ["filter": LogValue(filter)])
        }
        handle(.subscriptionAnswered(refused: refused))
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        guard connection === self.connection else { return }
        log(error.description)
        connection.close()
        self.connection = nil
        handle(.subscriptionLost)
    }

    private func log(_ error: String) {
        runtime.log.event("heartbeat.line_ended", .warning, ["error": LogValue(error)])
    }

    private func take(_ delivery: Delivery) {
        // A retained message says nothing of now; shared subscriptions bring none (MQTT 5 §4.8.2).
        guard !delivery.isRetained else { return }
        let token = delivery.userProperties.isEmpty ? nil : delivery.userProperty("x-agent-token")
        let asker = delivery.responseTopic.flatMap {
            HeartbeatAsker(
                responseTopic: $0, correlation: delivery.correlationData ?? [], topics: runtime.topics)
        }
        handle(
            .heartbeatsReceived(
                .bytes(
                    topic: delivery.topic, payload: delivery.payload,
                    tokenDigest: token.map { Digest(of: $0).description }, asker: asker),
                at: runtime.loop.checkedAt))
    }
}
