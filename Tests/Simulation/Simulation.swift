import API
import Lifecycle
import Model
import Storage

/// A whole system by one seed: every core that decides, over a model of broker, database, clocks and processes.
public final class Simulation {
    /// What a run came to.
    public struct Outcome: Sendable {
        public let seed: UInt64
        /// The first thing that must never be, or `nil`.
        public let violation: String?
        public let steps: Int
        /// Of everything that happened: equal runs have equal digests.
        public let digest: UInt64
        /// Milliseconds from the last fault until everything was as it should be.
        public let convergedAfter: Int64
    }

    /// From the last fault until everything must be as it should be, in microseconds.
    static let bound: Int64 = 90_000_000

    let world: World
    let broker: Broker
    let oracle: Oracle
    let store: StoreProcess
    let reconcilers: [ReconcilerProcess]
    let ingests: [IngestProcess]
    let provisioners: [ProvisionerProcess]
    let gateways: [GatewayClient]
    let operatorClient: OperatorClient

    var processes: [Process] { [store] + reconcilers + ingests + provisioners }

    init(seed: UInt64, broken: Rule?, focus: Rule?) {
        let world = World(seed: seed, broken: broken, focus: focus)
        let plan = world.plan
        let broker = Broker(world)
        let oracle = Oracle(world)
        self.world = world
        self.broker = broker
        self.oracle = oracle
        store = StoreProcess(broker, oracle, SimDatabase.make(seed: seed, partitionCount: plan.partitionCount))
        reconcilers = (1...plan.reconcilers).map { ReconcilerProcess(.reconciler, "r\($0)", broker, oracle) }
        ingests = (1...plan.ingests).map { IngestProcess(.heartbeatIngest, "i\($0)", broker, oracle) }
        provisioners = (1...plan.provisioners).map { ProvisionerProcess(.provisioner, "p\($0)", broker, oracle) }
        gateways = ["g0", "g1"].map { GatewayClient($0, broker, oracle, agents: plan.agentsPerGateway) }
        operatorClient = OperatorClient(broker, oracle)
        oracle.gateways = gateways
        broker.arrived = { oracle.arrived($0) }
        broker.handed = { oracle.handed($0, to: $1) }
        broker.stalled = { oracle.outages.stalls.append($0) }
    }

    /// Runs one seed to its end.
    ///
    /// - Parameters:
    ///   - broken: a rule that does not hold in this run.
    ///   - focus: a rule whose faults are to be frequent.
    ///   - trace: is told what happens, line by line.
    public static func run(
        seed: UInt64, broken: Rule? = nil, focus: Rule? = nil, trace: ((String) -> Void)? = nil
    ) -> Outcome {
        let simulation = Simulation(seed: seed, broken: broken, focus: focus)
        simulation.world.trace = trace
        return simulation.run(seed: seed)
    }

    private func run(seed: UInt64) -> Outcome {
        for process in processes { world.after(world.random.int(0...500_000)) { process.start() } }
        for gateway in gateways { world.after(world.random.int(0...500_000)) { gateway.start() } }
        operatorClient.start()
        world.after(1_000_000) { [unowned self] in provisionEverything() }
        world.after(2_000_000 + world.random.int(0...4_000_000)) { [unowned self] in faultLater() }
        world.after(4_000_000) { [unowned self] in commandLater() }
        if world.plan.hasFlappingIngest { flap() }
        world.run(until: world.plan.chaosFor)
        let end = world.time
        if world.violations.isEmpty { converge() }
        let convergedAfter = (world.time - end) / 1_000
        if world.violations.isEmpty, world.plan.endsWithRestarts { restartAll() }
        return Outcome(
            seed: seed, violation: world.violations.first, steps: world.steps, digest: world.digest,
            convergedAfter: convergedAfter)
    }

    // MARK: The end

    /// Faults stop: within a bound everybody is where they belong.
    private func converge() {
        quiesce()
        let end = world.time + Simulation.bound
        settle(until: end, isAskedFor: false)
        guard world.violations.isEmpty else { return }
        askForAll()
        settle(until: end, isAskedFor: true)
    }

    private func settle(until end: Int64, isAskedFor: Bool) {
        var left: String? = "nothing has happened"
        while left != nil, world.time < end, world.violations.isEmpty {
            world.run(until: world.time + 250_000)
            left = unsettled(isAskedFor: isAskedFor)
        }
        if let left, world.violations.isEmpty { world.violate("not converged: \(left)") }
    }

    /// One process after the other is stopped and started, and nothing else is wrong: each hands over in time, and nobody misses it.
    private func restartAll() {
        for process in processes {
            // A fault may last for longer than its consequences.
            while !process.isReachable, world.violations.isEmpty { world.run(until: world.time + 250_000) }
            process.stop()
            while process.isUp, world.violations.isEmpty { world.run(until: world.time + 50_000) }
            guard world.violations.isEmpty else { return }
            if !process.hasHandedOver { return world.violate("\(process.name) was asked to stop and had to be ended") }
            process.start()
            settle(until: world.time + Simulation.bound, isAskedFor: true)
        }
    }

    private func quiesce() {
        world.note("faults stop")
        world.isChaotic = false
        oracle.lastFault = world.time
        store.database.failsUntil = 0
        if !broker.isUp { broker.restart() }
        // Pauses that run end by themselves.
        for process in processes where !process.isUp { process.start() }
        for gateway in gateways {
            if !gateway.isUp { gateway.start() }
            for index in gateway.agents.indices {
                gateway.change(index, to: world.random.chance(50) ? .well : .silent)
            }
        }
    }

    /// Every agent that is there is let go and asked for once more.
    private func askForAll() {
        for provisioner in provisioners where provisioner.hasBrokenTemplates {
            provisioner.crash()
            provisioner.start()
        }
        operatorClient.ask(.resume, #"{"board":"b"}"#)
        for gateway in gateways { operatorClient.ask(.resume, #"{"gateway":"\#(gateway.gateway)"}"#) }
        for agent in store.database.records.map(\.address) {
            operatorClient.ask(.resume, #"{"agent":"\#(agent)"}"#)
            operatorClient.ask(.wake, #"{"agent":"\#(agent)"}"#)
        }
    }

    /// What is not yet as it should be: nobody waits for anything, and, once asked for, everybody is where they belong.
    private func unsettled(isAskedFor: Bool) -> String? {
        if operatorClient.openCount > 0 { return "a command is not answered: \(operatorClient.openKeys[0])" }
        // Somebody may have asked who does not wait for the answer.
        if !isAskedFor, let busy = provisioners.first(where: \.isBusy) { return "\(busy.name) has not handed over" }
        let records = store.database.records
        for record in records {
            let agent = record.address
            guard let model = gateways.first(where: { $0.gateway == agent.gateway })?.agent(agent) else { continue }
            let wanted: AgentStatus = model.mode == .silent ? .offline : .online
            let status = record.status
            if !isAskedFor, status == .online || status == .offline || (record.isPaused && status != .deleting) {
                if let left = unrecovered(record, model) { return left }
            } else if status != wanted || !isAskedFor {
                return "\(agent), \(model.mode), is \(status.rawValue) and not \(wanted.rawValue)"
            }
            guard case .fact(let fact)? = broker.isRetaining("status/\(agent)")?.body else {
                return "\(agent) has no retained status"
            }
            if fact.revision != record.revision { return "\(agent) has an old retained status" }
        }
        for agent in store.database.deletedAgents where broker.isRetaining("status/\(agent)") != nil {
            return "\(agent) is deleted and has a retained status"
        }
        if let claim = reconcilers.compactMap({ $0.claimBesides(store.database.ownership) }).first { return claim }
        let owned = reconcilers.reduce(0) { $0 + $1.claimsCount }
        if owned < world.plan.partitionCount { return "\(owned) partitions have an owner" }
        if !ingests.contains(where: { $0.heartbeatSession != nil }) { return "no ingest receives heartbeats" }
        if let order = store.database.read({ try $0.orders(after: 0, limit: 1) }).first {
            return "\(order.agent) has an outstanding order"
        }
        if !store.hasPublishedAll { return "the outbox is not empty" }
        for state in store.database.read({ try $0.gateways(after: nil, limit: .max).map { try $0.state.decoded() } }) {
            if state.connection != .connected { return "\(state.gateway) is \(state.connection.rawValue)" }
            for record in records where record.address.gateway == state.gateway && record.status != .deleting {
                // One that has an end may have come to it.
                if state.pausedUntil == nil, state.isPaused != record.pausedBy.contains(.gateway) {
                    return "\(record.address) is \(state.isPaused ? "not paused" : "paused") by its gateway"
                }
            }
        }
        if let request = oracle.openIntentRecord { return "\(request) was begun and is not answered" }
        if let event = oracle.missingEvent { return "\(event) was never published" }
        return nil
    }

    /// Whoever beats is online, and whoever is wanted was asked for since its host returned.
    private func unrecovered(_ record: AgentRecord, _ model: GatewayClient.Agent) -> String? {
        let agent = record.address
        let gateways = store.database.read { try $0.gateways(after: nil, limit: .max).map { try $0.state.decoded() } }
        guard record.status == .offline, !record.isPaused, let state = oracle.agents[agent]?.state,
            let gateway = gateways.first(where: { $0.gateway == agent.gateway }), gateway.connection == .connected
        else { return nil }
        if model.mode == .well, model.isRunning { return "\(agent) beats and is offline" }
        if state.awaitsRecovery == true { return "\(agent) waits for its recovery" }
        guard record.isWanted, state.hostReturn ?? 0 != gateway.returns ?? 0 else { return nil }
        return "\(agent) is wanted, and was not asked for since its host returned"
    }
}
