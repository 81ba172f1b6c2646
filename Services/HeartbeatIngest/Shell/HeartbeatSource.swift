internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit

/// The connection on which heartbeats come, apart from internal traffic so that its reading can be stopped.
///
/// Belongs to the loop's thread.
final class HeartbeatSource: ConnectionDelegate {
    /// The least that libmosquitto takes. Of an ingest that stands still the broker ends the subscription after 8 to 14 s
    /// (`keepalive.c` of mosquitto 2.0: one and a half keepalives, looked at every 6 s), before reconcilers forget the
    /// ingest itself: until then its share of the heartbeats is given to nobody else.
    static let keepaliveSeconds: Int32 = 5

    private enum State {
        /// Subscribed whenever there is a session and no pause.
        case open
        /// Unsubscribed; what was queued before is still read, up to the canary.
        case draining
        /// The connection broke meanwhile: what was queued is lost, and this end is no clean one.
        case cutOff
        /// Nothing more comes.
        case ended
    }

    private let runtime: ServiceRuntime
    private let received: (Delivery) -> Void
    private let canaryTopic: String
    private let filters: [String]
    private var connection: Connection?
    private var state = State.open
    private var isSubscribed = false
    private var pausedAt: Instant?
    private var sessions = 0
    /// The number of the subscription that stands; `nil` while none does.
    private(set) var session: Int?
    private var canaries: [Int: () -> Void] = [:]
    private var nextCanary = 0
    private let sessionChanged: () -> Void

    init(_ runtime: ServiceRuntime, sessionChanged: @escaping () -> Void, received: @escaping (Delivery) -> Void) {
        self.runtime = runtime
        self.received = received
        self.sessionChanged = sessionChanged
        let topics = runtime.topics
        canaryTopic = topics.canary(service: runtime.name.rawValue, instance: runtime.instance)
        filters = [topics.allHeartbeats, topics.allGatewayHeartbeats].map {
            topics.shared($0, by: runtime.name.rawValue)
        }
        let username = runtime.options.broker.username ?? "svc:\(runtime.name.rawValue)/\(runtime.instance)"
        var options = ConnectionOptions(broker: runtime.options.broker, clientID: username + "~heartbeats")
        options.certificateAuthority = runtime.options.certificateAuthority
        options.keepaliveSeconds = HeartbeatSource.keepaliveSeconds
        connection = Connection(options, loop: runtime.loop, delegate: self)
    }

    var isPaused: Bool { pausedAt != nil }

    /// Stops reading. Heartbeats wait at the broker, which has them for us or gives them to other instances.
    func pause(now: Instant) {
        guard pausedAt == nil else { return }
        pausedAt = now
        connection?.isReadingPaused = true
    }

    func resume() {
        guard pausedAt != nil else { return }
        pausedAt = nil
        connection?.isReadingPaused = false
        subscribe()
    }

    /// Ends a session whose pause has made its unread heartbeats too old to be believed. Call it a few times a second.
    func tick(now: Instant) {
        guard let pausedAt, isSubscribed, now.milliseconds(since: pausedAt) >= EventLoop.stallLimit.milliseconds else {
            return
        }
        connection?.abandon(reason: "its batches are not receipted")
    }

    /// Takes no new heartbeats; whether all that were queued here before have been read. Never, when the connection breaks
    /// before: then the service ends at its limit, and not cleanly.
    func drain() -> Bool {
        switch state {
        case .open:
            guard isSubscribed, let connection, connection.isConnected else {
                state = .ended
                return true
            }
            state = .draining
            resume()
            for filter in filters { connection.unsubscribe(filter) }
            // Refused only when the connection is lost, which ends the draining.
            _ = try? connection.publish(Publication(topic: canaryTopic, payload: Array(runtime.incarnation.utf8)))
            return false
        case .draining, .cutOff: return false
        case .ended: return true
        }
    }

    /// Sends a canary through the broker; `done` is called when it has come back behind all heartbeats that the broker had
    /// for us before, and never when this session ends first.
    func sendCanary(_ done: @escaping () -> Void) {
        guard session != nil, !isPaused, let connection else { return }
        nextCanary += 1
        // Refused only when the connection is lost, and with it the session.
        guard (try? connection.publish(Publication(topic: canaryTopic, payload: Array("\(nextCanary)".utf8)))) != nil
        else { return }
        canaries[nextCanary] = done
    }

    func close() {
        connection?.close()
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        self.connection = connection
        isSubscribed = false
        // During a pause nothing is subscribed, so nothing comes but what keeps the session alive.
        connection.isReadingPaused = false
        subscribe()
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        guard delivery.topic == canaryTopic else { return received(delivery) }
        if delivery.payload.elementsEqual(runtime.incarnation.utf8) {
            state = .ended
        } else if let number = Int(String(decoding: delivery.payload, as: UTF8.self)) {
            canaries.removeValue(forKey: number)?()
        }
    }

    func subscribed(refused: [String], on connection: Connection) {
        for filter in refused {
            runtime.log.event("service.subscription_refused", .error, ["filter": LogValue(filter)])
        }
        guard refused.isEmpty, isSubscribed, session == nil else { return }
        sessions += 1
        session = sessions
        sessionChanged()
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        isSubscribed = false
        canaries = [:]
        if case .draining = state { state = .cutOff }
        guard session != nil else { return }
        session = nil
        sessionChanged()
    }

    private func subscribe() {
        guard case .open = state, !isPaused, !isSubscribed, let connection, connection.isConnected else { return }
        isSubscribed = true
        connection.subscribe([canaryTopic])
        connection.subscribe(filters)
    }
}
