internal import API
internal import Bus
internal import Model
internal import RollcallSupervisor
internal import ServiceHost

/// Measures what a hundred thousand deadlines at one moment do to a private system.
final class StormBench {
    private let options: StormOptions
    private let system: BenchSystem
    private var report: StormReport
    private var counters: StormCounters!
    private var fleet: StormFleet!
    private var witnesses: StormWitnesses!
    private var witnessFleet: StormFleet!
    private var watch: StormWatch!

    init(_ options: StormOptions, _ configuration: SupervisorConfiguration) {
        self.options = options
        system = BenchSystem(configuration)
        report = StormReport(options)
    }

    func run() throws(ServiceFailure) -> StormReport {
        defer {
            counters?.close()
            fleet?.close()
            witnessFleet?.close()
            watch?.close()
            system.stop()
        }
        try system.start()
        try prepare()
        try checkIn()
        try storm()
        try comeBack()
        try endure()
        finish()
        return report
    }

    // MARK: Phases

    private func prepare() throws(ServiceFailure) {
        counters = StormCounters(system)
        watch = StormWatch(system, witnesses: options.witnessGateways, attemptsMax: options.attempts)
        try wait("the watching operator subscribes", .seconds(10)) { watch.isSubscribed }
        var silent: [(StormGateway, String)] = []
        var beating: [(StormGateway, String)] = []
        for gateway in options.fleet {
            silent.append((gateway, try system.addGateway(gateway.name, policy: options.policy)))
        }
        for gateway in options.witnessGateways {
            let policy: JSONValue = .object(["offline_after": .string("10s"), "wake_rate": .string("0")])
            beating.append((gateway, try system.addGateway(gateway.name, policy: policy)))
        }
        let addresses = (options.fleet + options.witnessGateways).flatMap { gateway in
            gateway.agents.compactMap { AgentAddress(gateway: gateway.name, agent: $0) }
        }
        report.provisionedPerSecond = try system.provision(addresses, inFlight: options.inFlight)
        fleet = StormFleet(system, silent)
        witnessFleet = StormFleet(system, beating)
        witnesses = StormWitnesses(system, witnessFleet, options.witnessGateways)
        watch.woken = { [unowned self] in
            fleet.woken($0, $1)
            witnessFleet.woken($0, $1)
        }
        watch.witnessed = { [unowned self] gateway, agent, _ in witnesses.witnessed(gateway, agent) }
        note("provisioned \(addresses.count), \(Int(report.provisionedPerSecond))/s")
    }

    private func checkIn() throws(ServiceFailure) {
        fleet.connect()
        witnessFleet.connect()
        try wait("the gateways connect", .seconds(30)) { fleet.isConnected && witnessFleet.isConnected }
        let start = Clock.now()
        fleet.beat(every: options.beatInterval)
        witnessFleet.beat()
        try wait("everybody is online", patience) { watch.onlineCount == options.agents }
        report.checkinSeconds = seconds(from: start, to: Clock.now())
        note("all online after \(report.checkinSeconds) s")
        witnesses.begin()
        system.wait(milliseconds: options.beatInterval.milliseconds)
    }

    /// All beat once more at the same moment, and never again.
    private func storm() throws(ServiceFailure) {
        fleet.fallSilent()
        fleet.beat()
        let silent = Clock.now()
        try wait("the last heartbeats are out", .seconds(30)) { fleet.isFlushed }
        watch.beginPhase()
        fleet.cut()
        let due = silent + options.offlineAfter.span
        let limit = patience + options.offlineAfter.span + .seconds(2 * Int64(options.idealSeconds))
        try wait("everybody is offline", limit) { watch.offlineCount == options.agents }
        if let lapsed = watch.marks["lapsed"] { report.lapseSeconds = seconds(from: due, to: lapsed.last) }
        report.verdictSeconds = seconds(from: due, to: Clock.now())
        note("all lapsed \(report.lapseSeconds) s and offline \(report.verdictSeconds) s after the deadline")
        for (name, mark) in watch.marks.sorted(by: { $0.key < $1.key }) {
            note(
                "  \(name): \(mark.count), \(seconds(from: due, to: mark.first)) to \(seconds(from: due, to: mark.last))"
            )
        }
    }

    private func comeBack() throws(ServiceFailure) {
        let start = Clock.now()
        watch.beginPhase()
        fleet.comeBack(beatingEvery: options.beatInterval)
        let limit = patience + .seconds(2 * Int64(options.idealSeconds))
        try wait("everybody is online again", limit) { watch.onlineCount == options.agents }
        report.returnSeconds = seconds(from: start, to: Clock.now())
        note("all back after \(report.returnSeconds) s")
        // What would come twice or late still comes.
        system.wait(milliseconds: 2_000)
    }

    /// What is done to the largest gateway, whose agents beat all the time.
    private func endure() throws(ServiceFailure) {
        guard let gateway = options.fleet.first, let witness = options.witnessGateways.first else { return }
        let aftermath = StormAftermath(
            system, watch, counters, gateway, neighbour: "\(witness.name)/w0", patience: patience)
        try aftermath.pauseAndResume()
        // Without an owner or a store `get` has nothing new to say.
        witnesses.end()
        // A store that is killed tells again what the broker had not acknowledged: from here on a repeat is right.
        report.eventsRepeated = watch.repeatedEvents
        // Of processes that have run from the start.
        report.peakMemoryMiB = system.peakMemory()
        report.cpuSeconds = system.cpu()
        try aftermath.killOwner(as: "reconciler_killed")
        try aftermath.killStore()
        fleet.leave(gateway.name)
        try aftermath.remove()
        try aftermath.killOwner(as: "reconciler_killed_after_removal")
        report.steps = aftermath.steps
        report.violations += aftermath.violations
    }

    /// For what has no pace of its own: so long that only what never comes is given up, on a busy machine as well.
    private var patience: TimeSpan { .seconds(Int64(300 + options.agents / 200)) }

    private func wait(_ what: String, _ limit: TimeSpan, _ condition: () -> Bool) throws(ServiceFailure) {
        guard system.loop.run(until: condition, for: limit) else {
            throw ServiceFailure(
                "\(what): not within \(limit.seconds) s; \(watch.onlineCount) online, \(watch.offlineCount) offline, "
                    + "\(watch.wakes) wakes, \(watch.lostEvents) events lost")
        }
    }

    // MARK: Judging

    private func finish() {
        report.events = watch.events
        report.eventsLost = watch.lostEvents
        report.wakes = watch.wakes
        report.wakesRepeated = watch.repeatedWakes
        report.busiestSecond = watch.busiestSecond
        report.longestTurnMilliseconds = counters.longestTurns
        report.longestWorkMilliseconds = counters.longestWork
        report.stalls = counters.stalls
        report.eventLatencyMilliseconds = BenchReport.Latency(witnesses.eventLatencies)
        report.lookupMilliseconds = BenchReport.Latency(witnesses.lookupLatencies)
        report.lastSeenAgeMilliseconds = BenchReport.Latency(witnesses.lastSeenAges)
        report.suspensions = watch.suspensions
        expect(report.stalls.values.reduce(0, +) == 0, "a service stalled")
        expect(watch.losses == 0 && fleet.losses == 0 && witnessFleet.losses == 0, "a connection of ours was lost")
        expect(watch.lostEvents == 0, "revisions were left out")
        expect(watch.witnessVerdicts == 0, "a beating agent lapsed or went offline")
        expect(watch.excessiveWakes == 0, "an agent was woken more often than max_wake_attempts")
        expect(witnesses.lateLastSeenUpdates == 0, "last_seen_at was more than 5 s late")
        expect(witnesses.unanswered == 0, "\(witnesses.unanswered) lookups had no answer")
        // The rate, what may be saved up of it, and what a busy machine made late by most of a second.
        let rate = options.wakeRate.perSecond
        if rate > 0 { expect(watch.busiestSecond <= 2 * rate, "wakes were not paced") }
        for gateway in options.fleet {
            let events = watch.gatewayEvents[gateway.name, default: []]
            expect(
                events.map(\.event) == [.gatewayConnected, .gatewayLost, .gatewayConnected]
                    && events.allSatisfy { $0.agents == gateway.agents.count },
                "gateway \(gateway.name) had the events \(events.map { "\($0.event.rawValue) \($0.agents)" })")
        }
    }

    private func expect(_ holds: Bool, _ violation: String) {
        if !holds { report.violations.append(violation) }
    }

    private func note(_ text: String) {
        ServiceProgram.complain("rollcall bench: \(text)")
    }

    private func seconds(from start: Instant, to end: Instant) -> Double {
        StormReport.seconds(from: start, to: end)
    }
}
