public import API
public import Bus
internal import CLinux
internal import Glibc
public import Model
internal import Wire

/// A service cannot start or go on.
public struct ServiceFailure: Error, Sendable {
    public let reason: String
    public let status: Int32

    public init(_ reason: String, status: Int32 = ExitStatus.failed) {
        self.reason = reason
        self.status = status
    }
}

/// Runs one service: its loop, its connection, presence with refresh and Last Will, signals, a clean stop.
public final class ServiceRuntime: ConnectionDelegate {
    /// The longest a clean stop may take before the process ends anyway.
    static let stopLimit = TimeSpan.seconds(4)

    public let name: ServiceName
    public let instance: String
    public let incarnation: String
    public let options: ProgramOptions
    public let log: Log
    public let loop = EventLoop()
    public var topics: Topics { options.topics }
    /// Covers what must be equal everywhere; the service that knows the partition count completes it.
    public var configDigest: String { "\(ContractVersion.current):\(topics.root)" }

    private let service: any Service
    private let startedAt = Clock.wallTime()
    private var connection: Connection?
    private var endpoint: MetricsEndpoint?
    private var hasConnected = false
    private var isSubscribed = false
    private var isStopping = false
    private var exitStatus = ExitStatus.done
    private var outage = OutageLog()
    private var stalls: Int64 = 0
    private var mismatched: Set<String> = []
    private var peers = PeerIncarnations()
    private let manager = ServiceManager()
    /// When the broker last acknowledged something of this connection, its beginning included.
    private var heardAt = Instant(nanoseconds: 0)
    /// Announcements that the broker has not acknowledged, each with when it was made.
    private var announcements: [Int: Instant] = [:]
    /// Called with when a presence was announced that the broker has acknowledged: a half-open connection shows by its lack.
    public var presenceAcknowledged: (Instant) -> Void = { _ in }

    public init(
        _ service: any Service, name: ServiceName, instance: String, options: ProgramOptions
    ) {
        self.service = service
        self.name = name
        self.instance = instance
        var random = SystemRandomNumberGenerator()
        incarnation = String(random.next() as UInt64, radix: 36) + String(random.next() as UInt64, radix: 36)
        // Whoever brings a secret and no name is who it runs as.
        var options = options
        if options.broker.password != nil, options.broker.username == nil {
            options.broker.username = "svc:\(name.rawValue)/\(instance)"
        }
        self.options = options
        log = Log(service: name.rawValue, instance: instance, format: options.logFormat, level: options.logLevel)
    }

    /// Runs until SIGTERM or SIGINT; the exit status. SIGHUP, which would end the process by default, reloads.
    public func run() -> Int32 {
        defer { log.finish() }
        let signals = SignalDescriptor([SIGTERM, SIGINT, SIGHUP])
        loop.watch(signals.descriptor) { [unowned self] in
            guard signals.drain().allSatisfy({ $0 == SIGHUP }) else { return stop() }
            log.event("service.reloading")
            service.reload()
        }
        loop.turnEnded = { [unowned self] in turnEnded() }
        loop.stalled = { [unowned self] length in
            stalls += 1
            log.event("service.stalled", .warning, ["seconds": LogValue(length.seconds)])
            service.stalled(length)
        }
        do {
            try checkIdentity()
            try serveMetrics()
            try service.start(self)
        } catch {
            log.event("service.failed", .error, ["error": LogValue(error.reason)])
            return error.status
        }
        connect()
        loop.every(Presence.refreshInterval) { [unowned self] in
            announce()
            manager?.tell(status: unreadiness)
        }
        if let manager, let interval = manager.watchdogInterval {
            loop.every(interval) { [unowned self] in if isSound { manager.tell("WATCHDOG=1") } }
        }
        loop.every(options.counterInterval) { [unowned self] in publishCounters() }
        loop.after(options.connectTimeout) { [unowned self] in
            guard !hasConnected else { return }
            fail(
                ServiceFailure(
                    connection?.lastError?.description ?? "the broker did not answer", status: ExitStatus.unreachable))
        }
        loop.run()
        connection?.close()
        service.ended()
        return exitStatus
    }

    /// Ends the service with an error.
    public func fail(_ failure: ServiceFailure) {
        guard exitStatus == ExitStatus.done else { return }  // the first is the reason
        log.event("service.failed", .error, ["error": LogValue(failure.reason)])
        exitStatus = failure.status
        loop.stop()
    }

    /// Publishes presence now: something that it says has changed.
    public func announce() {
        guard let connection, connection.isConnected, !isStopping else { return }
        publishPresence(.running, on: connection)
    }

    /// Takes note of a service: introduces this one to a new incarnation, and logs, once, a configuration that cannot work
    /// with ours and a name that two processes have.
    public func check(_ presence: Presence, isRetained: Bool) {
        takeNote(of: presence, isRetained: isRetained)
        guard presence.state == .running, !presence.configDigest.hasPrefix(configDigest),
            !configDigest.hasPrefix(presence.configDigest),
            mismatched.insert(presence.name).inserted
        else { return }
        log.event(
            "service.config_mismatch", .error,
            [
                "other": LogValue(presence.name), "ours": LogValue(configDigest),
                "theirs": LogValue(presence.configDigest),
            ])
    }

    private func takeNote(of other: Presence, isRetained: Bool) {
        guard other.state == .running, other.incarnation != incarnation else { return }
        let peer = other.name
        switch peers.heard(peer, incarnation: other.incarnation, isRetained: isRetained) {
        case .nothing: return
        // It has just started and believes no retained presence, ours neither: without a live one it would wait for our
        // next refresh.
        case .born: announce()
        case .duplicate:
            announce()
            log.event(
                "service.duplicate_instance", .error,
                [
                    "other": LogValue(peer),
                    "error": LogValue(
                        "two processes run under this name and take its connection from each other: give each its own --instance"
                    ),
                ])
        }
    }

    // MARK: ConnectionDelegate

    public func connected(_ connection: Connection) {
        if !hasConnected {
            log.event(
                "service.started", .info,
                ["broker": LogValue(options.broker), "version": LogValue(ContractVersion.product)])
        }
        if outage.isLogged { log.event("service.reconnected") }
        hasConnected = true
        heardAt = Clock.now()
        outage = OutageLog()
        isSubscribed = false
        publishPresence(.running, on: connection)
        service.connected(connection)
    }

    public func subscribed(refused: [String], on connection: Connection) {
        guard refused.isEmpty else {
            log.event(
                "service.subscription_refused", .error, ["filter": LogValue(refused.joined(separator: " "))])
            return fail(misfit)
        }
        isSubscribed = true
        service.subscribed(refused: refused)
        manager?.ready()
    }

    public func received(_ delivery: Delivery, on connection: Connection) {
        service.received(delivery)
    }

    public func published(_ ticket: Int, reason: UInt8, on connection: Connection) {
        if let announcedAt = announcements.removeValue(forKey: ticket) {
            if reason == ReasonCode.notAuthorized { return fail(misfit) }
            heardAt = Clock.now()
            presenceAcknowledged(announcedAt)
        }
        service.published(ticket, reason: reason)
    }

    public func disconnected(_ error: BusError, on connection: Connection) {
        if hasConnected, outage.takes(error.reason) {
            log.event("service.disconnected", .warning, ["error": LogValue(error.description)])
        }
        announcements = [:]
        if hasConnected { service.disconnected() }
        if error.isTakenOver, !isStopping { return fail(duplicate) }
        // What is refused at the start is refused ever after; later the administrator may be about to change it.
        if error.isRefusal, !hasConnected {
            fail(ServiceFailure("\(identity): \(error): see the broker's file of identities", status: ExitStatus.usage))
        }
    }

    // MARK: What cannot work

    private var ownName: String { "svc:\(name.rawValue)/\(instance)" }
    private var identity: String { options.broker.username ?? "nobody" }

    /// An identity of another service or instance may not announce this one: nobody would know that it is there.
    private func checkIdentity() throws(ServiceFailure) {
        guard identity.hasPrefix("svc:"), identity != ownName else { return }
        throw ServiceFailure(
            "the identity \(identity) is not that of this process, \(ownName): start it with the --instance of its identity",
            status: ExitStatus.usage)
    }

    private var misfit: ServiceFailure {
        ServiceFailure(
            "the broker lets \(identity) not announce \(ownName) below '\(topics.root)': compare the identity, --instance and --topic-root with the broker's configuration",
            status: ExitStatus.usage)
    }

    private var duplicate: ServiceFailure {
        ServiceFailure(
            "another process has connected as \(identity), and this one ends: give each its own --instance and identity",
            status: ExitStatus.usage)
    }

    // MARK: Inside

    private func connect() {
        var connectionOptions = ConnectionOptions(
            broker: options.broker,
            clientID: options.broker.username.map { "\($0)" } ?? "svc:\(name.rawValue)/\(instance)")
        connectionOptions.tls = options.tls
        connectionOptions.deliveryLimit = EventLoop.stallLimit
        connectionOptions.endsWhenTakenOver = true
        connectionOptions.will = presencePublication(.lost)
        connection = Connection(connectionOptions, loop: loop, delegate: self)
    }

    private func serveMetrics() throws(ServiceFailure) {
        guard let (address, port) = options.metrics else { return }
        let endpoint = try MetricsEndpoint(
            loop: loop, address: address, port: port, unreadiness: { [unowned self] in unreadiness },
            metrics: { [unowned self] in metrics })
        log.event("metrics.listening", .info, ["address": LogValue(address), "port": LogValue(endpoint.port)])
        self.endpoint = endpoint
    }

    /// Why this service cannot do its work just now.
    private var unreadiness: String? {
        if isStopping { return "it stops" }
        guard let connection, connection.isConnected else {
            return "not connected to the broker" + (connection?.lastError.map { ": \($0)" } ?? "")
        }
        guard isSubscribed else { return "not subscribed yet" }
        let presence = presence(.running)
        if name == .heartbeatIngest, presence.heartbeatSession == nil { return "not subscribed to heartbeats" }
        return presence.unserved ?? presence.trouble
    }

    /// Whether this process does what it can. A broker that is away is waited for, which a restart would not shorten; one that is
    /// there acknowledges a presence every two seconds.
    private var isSound: Bool {
        guard let connection, connection.isConnected else { return true }
        return Clock.now().milliseconds(since: heardAt) < Int64(Presence.expirySeconds) * 1_000
    }

    private func presence(_ state: Presence.State) -> Presence {
        var presence = Presence(
            service: name, instance: instance, state: state, startedAt: startedAt, configDigest: configDigest,
            incarnation: incarnation)
        if state == .running {
            presence.time = Clock.wallTime()
            service.describe(&presence)
        }
        return presence
    }

    private func presencePublication(_ state: Presence.State) -> Publication {
        let presence = presence(state)
        var publication = Publication(
            topic: topics.presence(service: name.rawValue, instance: instance), payload: JSON.bytes(presence))
        publication.isRetained = true
        publication.contentType = jsonContentType
        if state == .running { publication.expirySeconds = Presence.expirySeconds }
        return publication
    }

    private func publishPresence(_ state: Presence.State, on connection: Connection) {
        // Refused only when the connection is lost: the next one announces again.
        guard let ticket = try? connection.publish(presencePublication(state)) else { return }
        announcements[ticket] = Clock.now()
    }

    private func publishCounters() {
        guard let connection, connection.isConnected else { return }
        let longest = loop.takeLongestTurn()
        let message = CounterMessage(
            service: name.rawValue, instance: instance, heartbeats: service.heartbeats, stalls: stalls,
            longestTurn: longest.took.milliseconds, longestWork: longest.worked.milliseconds,
            cpuSeconds: ProcessUsage.cpuSeconds)
        let topic = topics.counters(service: name.rawValue, instance: instance)
        var publication = Publication(topic: topic, payload: JSON.bytes(message))
        publication.qualityOfService = .atMostOnce
        // Lost counters are followed by newer ones.
        _ = try? connection.publish(publication)
    }

    private var metrics: [Metric] {
        service.metrics + [
            Metric("rollcall_loop_stalls", .counter, "Stalls of the event loop.", Double(stalls)),
            Metric(
                "rollcall_loop_turn_seconds",
                "Turns of the event loop: reading, deciding and committing, without waiting and writing.", loop.turns),
        ] + ProcessUsage.metrics(of: name, startedAt: startedAt)
    }

    private func turnEnded() {
        service.turnEnded(now: loop.now)
        log.flush()
        guard isStopping, service.isDrained() else { return }
        finish(isDrained: true)
    }

    private func stop() {
        guard !isStopping else { return }
        isStopping = true
        log.event("service.stopping")
        manager?.tell("STOPPING=1")
        loop.after(ServiceRuntime.stopLimit) { [unowned self] in finish(isDrained: false) }
        loop.after(TimeSpan(milliseconds: 1)) {}  // a turn, to ask whether all is handed over
        loop.every(TimeSpan(milliseconds: 20)) {}
    }

    /// Who could not hand everything over says so: nobody relies on a clean end that was none.
    private func finish(isDrained: Bool) {
        if let connection, connection.isConnected { publishPresence(isDrained ? .stopped : .lost, on: connection) }
        log.event("service.stopped", isDrained ? .info : .warning, ["handed_over": .bool(isDrained)])
        loop.stop()
    }
}
