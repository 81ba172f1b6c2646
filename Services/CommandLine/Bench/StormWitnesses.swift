internal import API
internal import Bus
internal import Model
internal import RollcallSupervisor

/// Agents that go on beating while others fall silent: whether that is seen in time.
final class StormWitnesses {
    static let beatInterval = TimeSpan.seconds(1)
    /// What the contract allows `get` to be late by.
    static let lastSeenLimit = TimeSpan.seconds(5)
    private static let lookupInterval = TimeSpan(milliseconds: 200)
    /// Less often than `heartbeat_rate` lets an agent speak.
    private static let probeInterval = TimeSpan(milliseconds: 200)
    /// A probe of which nothing was heard for so long is sent again; its time goes on.
    private static let probeLimit = TimeSpan.seconds(10)

    private struct Probe {
        var sentAt: Instant?
        var repeatedAt: Instant?
        var isDegraded = false
    }

    private let system: BenchSystem
    private let fleet: StormFleet
    private let gateways: [StormGateway]
    private var beatAt: [Timestamp] = []
    private var probes: [String: Probe] = [:]
    private var nextLookup = 0
    private var timers: [Int] = []
    private(set) var eventLatencies: [Double] = []
    private(set) var lookupLatencies: [Double] = []
    private(set) var lastSeenAges: [Double] = []
    private(set) var lateLastSeenUpdates = 0
    private(set) var unanswered = 0

    init(_ system: BenchSystem, _ fleet: StormFleet, _ gateways: [StormGateway]) {
        self.system = system
        self.fleet = fleet
        self.gateways = gateways
        system.loop.every(StormWitnesses.beatInterval) { [unowned self] in
            fleet.beat()
            beatAt.append(Clock.wallTime())
        }
    }

    /// Begins to measure: everybody is online.
    func begin() {
        timers = [
            system.loop.every(StormWitnesses.lookupInterval) { [unowned self] in lookUp() },
            system.loop.every(StormWitnesses.probeInterval) { [unowned self] in probe() },
        ]
    }

    func end() {
        for timer in timers { system.loop.cancel(timer) }
    }

    /// An event of a witness: its probe has arrived.
    func witnessed(_ gateway: Substring, _ agent: Substring) {
        guard agent == "w0", let sent = probes[String(gateway)]?.sentAt else { return }
        eventLatencies.append(milliseconds(since: sent))
        probes[String(gateway)]?.sentAt = nil
        probes[String(gateway)]?.repeatedAt = nil
    }

    // MARK: Inside

    private func probe() {
        for gateway in gateways {
            var probe = probes[gateway.name] ?? Probe()
            let now = Clock.now()
            if let last = probe.repeatedAt ?? probe.sentAt, now < last + StormWitnesses.probeLimit { continue }
            probe.isDegraded.toggle()
            guard fleet.tell(gateway.name, "w0", isDegraded: probe.isDegraded) else { continue }
            probe.repeatedAt = probe.sentAt == nil ? nil : now
            probe.sentAt = probe.sentAt ?? now
            probes[gateway.name] = probe
        }
    }

    private func lookUp() {
        let gateway = gateways[nextLookup % gateways.count]
        // The first one's heartbeats are others than the gateway's.
        let agent = 1 + nextLookup / gateways.count % max(1, gateway.agents.count - 1)
        nextLookup += 1
        guard agent < gateway.agents.count else { return }
        let (asked, askedAt) = (Clock.now(), Clock.wallTime())
        let address = JSONValue.string("\(gateway.name)/\(gateway.agents[agent])")
        system.supervisor.operatorLink?.request(.get, ["agent": address]) { [weak self] result in
            self?.answered(result, asked, askedAt)
        }
    }

    private func answered(
        _ result: Result<JSONValue, OperatorLink.Failure>, _ asked: Instant, _ askedAt: Timestamp
    ) {
        guard case .success(let answer) = result else {
            unanswered += 1
            return
        }
        lookupLatencies.append(milliseconds(since: asked))
        guard let seen = answer["record"]?["last_seen_at"]?.string.flatMap({ Timestamp($0) }),
            let newest = beatAt.last(where: { $0 <= askedAt })
        else { return }
        lastSeenAges.append(Double(max(0, newest.millisecondsSince1970 - seen.millisecondsSince1970)))
        let due = askedAt - StormWitnesses.lastSeenLimit
        if let last = beatAt.last(where: { $0 <= due }), seen < last { lateLastSeenUpdates += 1 }
    }

    private func milliseconds(since instant: Instant) -> Double {
        Double(Clock.now().nanoseconds - instant.nanoseconds) / 1e6
    }
}
