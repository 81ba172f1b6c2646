internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit

/// The line on which heartbeats come, a connection apart from internal traffic so that its reading can be stopped.
///
/// A line is opened when the owners know of it, ends with its connection and is never made again: the next one has another
/// number. Its Last Will tells the owners that nothing is given to it any more. Belongs to the loop's thread.
final class HeartbeatSource: ConnectionDelegate {
    /// The least that libmosquitto takes. Of an ingest that stands still the broker ends the subscription after 8 to 14 s
    /// (`keepalive.c` of mosquitto 2.0: one and a half keepalives, looked at every 6 s), before reconcilers forget the
    /// ingest itself: until then its share of the heartbeats is given to nobody else.
    static let keepaliveSeconds: Int32 = 5

    private enum State {
        /// No connection.
        case closed
        /// Subscribed once there is a session.
        case open(line: Int)
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
    private var state = State.closed
    private var pausedAt: Instant?
    /// The number of the subscription that stands, which is its line's; `nil` while none does.
    private(set) var session: Int?
    /// The broker has not answered the subscription: it may have given heartbeats to the line already.
    private var isSubscribing = false
    private var canaries: [Int: () -> Void] = [:]
    private var nextCanary = 0
    private let changed: (Change) -> Void

    /// What the line tells.
    enum Change {
        case subscribed
        case ended
    }

    init(_ runtime: ServiceRuntime, changed: @escaping (Change) -> Void, received: @escaping (Delivery) -> Void) {
        self.runtime = runtime
        self.received = received
        self.changed = changed
        let topics = runtime.topics
        canaryTopic = topics.canary(service: runtime.name.rawValue, instance: runtime.instance)
        filters = [topics.allHeartbeats, topics.allGatewayHeartbeats].map {
            topics.shared($0, by: runtime.name.rawValue)
        }
    }

    var isPaused: Bool { pausedAt != nil }
    var isOpen: Bool { if case .open = state { true } else { false } }
    /// Whether the broker may have given heartbeats to the line that are not read yet.
    var mayHoldHeartbeats: Bool {
        if case .draining = state { return true }
        return isSubscribing || session != nil
    }

    /// Connects and subscribes.
    func open(line: Int) {
        guard case .closed = state else { return }
        let username = runtime.options.broker.username ?? "svc:\(runtime.name.rawValue)/\(runtime.instance)"
        var options = ConnectionOptions(broker: runtime.options.broker, clientID: username + "~heartbeats")
        options.certificateAuthority = runtime.options.certificateAuthority
        options.keepaliveSeconds = HeartbeatSource.keepaliveSeconds
        options.deliveryLimit = EventLoop.stallLimit
        options.reconnects = false
        let end = HeartbeatLineEnded(ingest: runtime.instance, incarnation: runtime.incarnation, line: line)
        options.will = Publication(
            topic: runtime.topics.heartbeatLine(instance: runtime.instance), payload: JSON.bytes(end))
        // For reconcilers to come, which know of this ingest by its retained presence alone.
        options.will?.isRetained = true
        state = .open(line: line)
        connection = Connection(options, loop: runtime.loop, delegate: self)
    }

    /// Ends the line unread, as a crash would.
    func abandon(reason: String) {
        connection?.abandon(reason: reason)
        drop()
    }

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
    }

    /// Ends a line whose pause has made its unread heartbeats too old to be believed. Call it a few times a second.
    func tick(now: Instant) {
        guard let pausedAt, isOpen, now.milliseconds(since: pausedAt) >= EventLoop.stallLimit.milliseconds else {
            return
        }
        abandon(reason: "its batches are not receipted")
    }

    /// Takes no new heartbeats; whether all that were queued here before have been read. Never, when the connection breaks
    /// before: then the service ends at its limit, and not cleanly.
    func drain() -> Bool {
        switch state {
        case .open:
            guard let connection, connection.isConnected else {
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
        case .closed, .ended: return true
        }
    }

    /// Sends a canary through the broker; `done` is called when it has come back behind all heartbeats that the broker had
    /// for us before, and never when this line ends first.
    func sendCanary(_ done: @escaping () -> Void) {
        guard session != nil, !isPaused, let connection else { return }
        nextCanary += 1
        // Refused only when the connection is lost, and with it the line.
        guard (try? connection.publish(Publication(topic: canaryTopic, payload: Array("\(nextCanary)".utf8)))) != nil
        else { return }
        canaries[nextCanary] = done
    }

    /// Ends the line cleanly: its Last Will is not published.
    func close() {
        connection?.close()
        connection = nil
        session = nil
        state = .ended
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        guard case .open = state else { return }
        connection.isReadingPaused = isPaused
        connection.subscribe([canaryTopic])
        connection.subscribe(filters)
        isSubscribing = true
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
        isSubscribing = false
        for filter in refused {
            runtime.log.event("service.subscription_refused", .error, ["filter": LogValue(filter)])
        }
        guard refused.isEmpty, case .open(let line) = state, session == nil else { return }
        session = line
        changed(.subscribed)
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        runtime.log.event("heartbeat.line_ended", .warning, ["error": LogValue(error.description)])
        drop()
    }

    private func drop() {
        connection?.close()
        connection = nil
        canaries = [:]
        session = nil
        isSubscribing = false
        switch state {
        case .closed: return
        case .open: state = .closed
        case .draining: state = .cutOff
        case .cutOff, .ended: break
        }
        changed(.ended)
    }
}
