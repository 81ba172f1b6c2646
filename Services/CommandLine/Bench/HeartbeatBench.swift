internal import API
internal import Bus
internal import Glibc
internal import Model
internal import RollcallSupervisor
internal import ServiceHost
internal import Synchronization
internal import Wire

/// Measures how many heartbeats a private system accepts, against a bare publisher and subscriber on the same broker.
///
/// The publisher of heartbeats and the bare publisher are the same code over TCP with the same payload, quality of
/// service and window; ingest and the bare subscriber read over the services' socket. Rounds alternate, so that a
/// machine whose speed drifts changes both.
final class HeartbeatBench: ConnectionDelegate {
    static let gateway = "bench"
    private static let probe = "probe"

    private let options: BenchOptions
    private let system: BenchSystem
    private var loop: EventLoop { system.loop }
    private var supervisor: Supervisor { system.supervisor }
    private var topics: Topics { system.topics }
    private var gatewayToken = ""
    private var latest: [String: CounterMessage] = [:]
    private var counterConnection: Connection?
    private var probeConnection: Connection?
    private var probeSentAt: Instant?
    private var probeIsDegraded = false
    private var latencies: [Double] = []

    init(_ options: BenchOptions, _ configuration: SupervisorConfiguration) {
        self.options = options
        system = BenchSystem(configuration)
    }

    func run() throws(ServiceFailure) -> BenchReport {
        defer {
            counterConnection?.close()
            probeConnection?.close()
            system.stop()
        }
        try system.start()
        try provision()
        connect()
        try warmUp()

        var full: [Round] = []
        var bare: [Round] = []
        for _ in 0..<options.rounds {
            bare.append(try bareRound())
            full.append(try fullRound())
        }
        return report(full: full, bare: bare)
    }

    // MARK: Preparing

    private func provision() throws(ServiceFailure) {
        let policy: JSONValue = .object(["heartbeat_rate": .integer(0), "offline_after": .string("30d")])
        gatewayToken = try system.addGateway(HeartbeatBench.gateway, policy: policy)
        let names = agentNames + [HeartbeatBench.probe]
        try system.provision(
            names.compactMap { AgentAddress(gateway: HeartbeatBench.gateway, agent: $0) }, inFlight: 100)
    }

    private var agentNames: [String] { (0..<options.agents).map { "a\($0)" } }

    private func connect() {
        let service = ConnectionOptions(
            broker: supervisor.address(of: Supervisor.benchName), clientID: Supervisor.benchName)
        counterConnection = Connection(service, loop: loop, delegate: self)
        let probe = ConnectionOptions(broker: gatewayAddress, clientID: "\(HeartbeatBench.gateway)~probe")
        probeConnection = Connection(probe, loop: loop, delegate: self)
        loop.every(TimeSpan(milliseconds: 20)) { [unowned self] in sendProbe() }
    }

    private var gatewayAddress: BrokerAddress { system.address(of: HeartbeatBench.gateway, token: gatewayToken) }

    /// Every agent sends once and becomes online: what follows is the steady state.
    private func warmUp() throws(ServiceFailure) {
        let counts = SharedCounts()
        startPublisher(counts, rate: 3_000)
        let limit = Clock.now() + .seconds(Int64(60 + options.agents / 500))
        var online = 0
        while online < options.agents, Clock.now() < limit {
            let published = counts.published.load(ordering: .relaxed) * options.heartbeatsPerMessage
            if published >= options.agents * 2 { counts.isRunning.store(false, ordering: .relaxed) }
            counts.arrived.store(counts.published.load(ordering: .relaxed), ordering: .relaxed)
            let summary = try system.ask(.summary, [:])
            online = Int(summary["by_status"]?["online"]?.integer ?? 0)
            wait(milliseconds: 100)
        }
        try end(counts)
        guard online >= options.agents else {
            throw ServiceFailure("only \(online) of \(options.agents) agents came online")
        }
        wait(milliseconds: 1_000)
    }

    // MARK: Rounds

    struct Round {
        var messagesPerSecond = 0.0
        var drops = 0
        var heartbeats = 0
        var cpuSeconds: [String: Double] = [:]
    }

    private func bareRound() throws(ServiceFailure) -> Round {
        let counts = SharedCounts()
        let subscriberCounts = SharedCounts()
        let topic = "\(topics.root)/internal/bench"
        let subscriber = ConnectionOptions(
            broker: supervisor.address(of: Supervisor.benchName), clientID: "\(Supervisor.benchName)~subscriber")
        SubscriberThread(options: subscriber, topic: topic, counts: subscriberCounts).start()
        try wait(for: subscriberCounts)
        var publisher = ConnectionOptions(broker: gatewayAddress, clientID: "\(Supervisor.benchName)~publisher")
        publisher.broker.username = Supervisor.benchName
        publisher.broker.password = supervisor.address(of: Supervisor.benchName).password
        var message = messages[0]
        message.topic = topic
        PublisherThread(options: publisher, messages: [message], rate: 0, heartbeatsPerMessage: 1, counts: counts)
            .start()
        try wait(for: counts)
        func arrived() -> Int {
            let count = subscriberCounts.arrived.load(ordering: .relaxed)
            counts.arrived.store(count, ordering: .relaxed)
            return count
        }
        let round = measure(warmUp: 1_000) { arrived() }
        counts.isRunning.store(false, ordering: .relaxed)
        _ = loop.run(until: { arrived() >= counts.published.load(ordering: .relaxed) }, for: .seconds(5))
        subscriberCounts.isRunning.store(false, ordering: .relaxed)
        try end(counts)
        try end(subscriberCounts)
        return Round(
            messagesPerSecond: round, drops: counts.published.load(ordering: .relaxed) - arrived(), heartbeats: 0,
            cpuSeconds: [:])
    }

    private func fullRound() throws(ServiceFailure) -> Round {
        let base = accepted
        let counts = SharedCounts()
        startPublisher(counts, rate: Double(options.rate) / Double(options.heartbeatsPerMessage))
        try wait(for: counts)
        func arrived() -> Int {
            let count = (accepted - base) / options.heartbeatsPerMessage
            counts.arrived.store(count, ordering: .relaxed)
            return count
        }
        waitForLoad(arrived, milliseconds: 1_000)
        let cpuBefore = system.cpu()
        let acceptedBefore = accepted
        let rate = measure(warmUp: 0) { arrived() }
        let cpuAfter = system.cpu()
        let heartbeats = accepted - acceptedBefore
        counts.isRunning.store(false, ordering: .relaxed)
        _ = loop.run(until: { arrived() >= counts.published.load(ordering: .relaxed) }, for: .seconds(10))
        try end(counts)
        let drops = max(0, counts.published.load(ordering: .relaxed) - arrived())
        let used = cpuAfter.merging(cpuBefore) { $0 - $1 }
        return Round(messagesPerSecond: rate, drops: drops, heartbeats: heartbeats, cpuSeconds: used)
    }

    /// Arrivals a second over the steady state, on this loop's clock.
    private func measure(warmUp milliseconds: Int64, _ arrived: () -> Int) -> Double {
        waitForLoad(arrived, milliseconds: milliseconds)
        let start = Clock.now()
        let before = arrived()
        waitForLoad(arrived, milliseconds: Int64(options.seconds) * 1_000)
        let span = Double(Clock.now().nanoseconds - start.nanoseconds) / 1e9
        return Double(arrived() - before) / span
    }

    /// Waits, and tells the publisher what has arrived every few milliseconds.
    private func waitForLoad(_ arrived: () -> Int, milliseconds: Int64) {
        let end = Clock.now() + TimeSpan(milliseconds: milliseconds)
        while Clock.now() < end {
            wait(milliseconds: 5)
            _ = arrived()
        }
    }

    private func startPublisher(_ counts: SharedCounts, rate: Double) {
        let connection = ConnectionOptions(broker: gatewayAddress, clientID: "\(HeartbeatBench.gateway)~load")
        PublisherThread(
            options: connection, messages: messages, rate: rate, heartbeatsPerMessage: options.heartbeatsPerMessage,
            counts: counts
        ).start()
    }

    private lazy var messages: [Publication] = {
        switch options.mode {
        case .single:
            return agentNames.map { name in
                var publication = Publication(
                    topic: "\(topics.root)/agents/\(HeartbeatBench.gateway)/\(name)/heartbeat", payload: [])
                publication.qualityOfService = options.qualityOfService
                return publication
            }
        case .gateway:
            let names = agentNames
            return stride(from: 0, to: names.count, by: options.heartbeatsPerMessage).map { start in
                // The last message is filled up from the front: every message carries as many.
                let part = (start..<start + options.heartbeatsPerMessage).map { names[$0 % names.count] }
                var publication = Publication(
                    topic: topics.gatewayHeartbeats(HeartbeatBench.gateway), payload: JSON.bytes(["agents": part]))
                publication.qualityOfService = options.qualityOfService
                return publication
            }
        }
    }()

    // MARK: Counting

    /// Heartbeats that the reconciler has accepted.
    private var accepted: Int {
        Int(
            latest.values.reduce(0) {
                $0 + ($1.service == ServiceName.reconciler.rawValue ? $1.heartbeats : 0)
            })
    }

    private func wait(milliseconds: Int64) {
        system.wait(milliseconds: milliseconds)
    }

    private func wait(for counts: SharedCounts) throws(ServiceFailure) {
        guard loop.run(until: { counts.isConnected.load(ordering: .acquiring) }, for: .seconds(10)) else {
            throw ServiceFailure("a load connection was not made")
        }
    }

    private func end(_ counts: SharedCounts) throws(ServiceFailure) {
        counts.isRunning.store(false, ordering: .relaxed)
        guard loop.run(until: { counts.hasEnded.load(ordering: .acquiring) }, for: .seconds(10)) else {
            throw ServiceFailure("a load thread did not end")
        }
    }

    private func report(full: [Round], bare: [Round]) -> BenchReport {
        let heartbeats = full.reduce(0) { $0 + $1.heartbeats }
        var cpu: [String: Double] = [:]
        for round in full { cpu.merge(round.cpuSeconds) { $0 + $1 } }
        let perMessage = Double(options.heartbeatsPerMessage)
        return BenchReport(
            agents: options.agents, mode: options.mode.rawValue, batch: options.heartbeatsPerMessage,
            qos: Int(options.qualityOfService.rawValue), rate: options.rate, seconds: options.seconds,
            rounds: options.rounds,
            heartbeatsPerSecond: median(full.map { $0.messagesPerSecond * perMessage }),
            bareMessagesPerSecond: median(bare.map(\.messagesPerSecond)),
            ratio: median(zip(full, bare).map { $0.messagesPerSecond / max(1, $1.messagesPerSecond) }),
            latencyMilliseconds: BenchReport.Latency(latencies), cpuSeconds: cpu,
            cpuMicrosecondsPerHeartbeat: cpu.values.reduce(0, +) / Double(max(1, heartbeats)) * 1e6,
            heartbeatDrops: full.reduce(0) { $0 + $1.drops }, bareDrops: bare.reduce(0) { $0 + $1.drops })
    }

    // MARK: Probe

    /// One heartbeat that says something new; the next one only after its event was seen.
    private func sendProbe() {
        guard let probeConnection, probeConnection.isConnected, probeSentAt == nil else { return }
        probeIsDegraded.toggle()
        let topic = "\(topics.root)/agents/\(HeartbeatBench.gateway)/\(HeartbeatBench.probe)/heartbeat"
        let payload = probeIsDegraded ? "{\"status\":\"degraded\"}" : "{\"status\":\"ok\"}"
        guard (try? probeConnection.publish(Publication(topic: topic, payload: Array(payload.utf8)))) != nil else {
            return
        }
        probeSentAt = Clock.now()
    }

    func connected(_ connection: Connection) {
        if connection === counterConnection {
            connection.subscribe([topics.counters(service: "+", instance: "+")])
        } else {
            connection.subscribe(["\(topics.root)/agents/\(HeartbeatBench.gateway)/\(HeartbeatBench.probe)/lifecycle/+"]
            )
        }
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        if connection === counterConnection {
            // Only our own services publish here.
            guard let message = try? WireFormat.decode(CounterMessage.self, from: delivery.payload) else { return }
            latest["\(message.service)/\(message.instance)"] = message
        } else if let sent = probeSentAt {
            latencies.append(Double(Clock.now().nanoseconds - sent.nanoseconds) / 1e6)
            probeSentAt = nil
        }
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        probeSentAt = nil
    }
}
