import API
import Model

// What goes wrong, and what operators ask for meanwhile.
extension Simulation {
    func provisionEverything() {
        for gateway in gateways {
            operatorClient.ask(.addGateway, #"{"gateway":"\#(gateway.gateway)"}"#)
            for agent in gateway.agents { world.after(600_000) { [unowned self] in provision(agent.address) } }
        }
    }

    func provision(_ agent: AgentAddress, wake: Bool = true) {
        let attempts = world.random.int(1...world.plan.attemptsMax)
        let lapse = world.random.pick(["wake", "offline"])
        operatorClient.ask(
            .provision,
            """
            {"agent":"\(agent)","role":"worker","board":"b","wake":\(wake),"policy":{"max_wake_attempts":\(attempts),\
            "on_lapse":"\(lapse)"}}
            """, agent: agent)
    }

    // MARK: Commands

    func commandLater() {
        world.after(world.random.int(0...2 * world.plan.commandEvery)) { [unowned self] in
            guard world.isChaotic else { return }
            command()
            commandLater()
        }
    }

    private func command() {
        if world.plan.otherUsePercent > 0, world.random.chance(world.plan.otherUsePercent) {
            return operatorClient.askOld(isOther: true)
        }
        let gateway = world.random.pick(gateways)
        let agent = world.random.pick(gateway.agents).address
        if !world.plan.wishes.isEmpty, world.random.chance(80) {
            let wish = world.random.pick(world.plan.wishes)
            if wish == .provision { return provision(agent) }
            return operatorClient.ask(wish, #"{"agent":"\#(agent)"}"#, agent: agent)
        }
        switch world.random.int(0...99) {
        case 0..<20: operatorClient.ask(.wake, #"{"agent":"\#(agent)"}"#, agent: agent)
        case 20..<31:
            operatorClient.ask(
                .update, #"{"agent":"\#(agent)","variables":{"n":"\#(world.random.int(0...9))"}}"#, agent: agent)
        case 31..<35: operatorClient.askOld(isOther: false)
        case 35..<37: operatorClient.askOld(isOther: true)
        case 37..<42: change(agent)
        case 42..<43: mention(agent, gateway)
        case 43..<55: provision(agent, wake: !world.random.chance(15))
        case 55..<67: operatorClient.ask(.delete, #"{"agent":"\#(agent)"}"#, agent: agent)
        case 67..<70: operatorClient.ask(.pause, #"{"board":"b"\#(until)}"#)
        case 70..<73: operatorClient.ask(.resume, #"{"board":"b"}"#)
        case 73..<78: operatorClient.ask(.pause, #"{"agent":"\#(agent)"\#(until)}"#)
        case 78..<87: operatorClient.ask(.resume, #"{"agent":"\#(agent)"}"#)
        case 87..<92: operatorClient.ask(.pause, #"{"gateway":"\#(gateway.gateway)"\#(until)}"#)
        case 92..<96: operatorClient.ask(.resume, #"{"gateway":"\#(gateway.gateway)"}"#)
        case 96..<97:
            removeGateway(gateway, isMentioned: false)
        default: operatorClient.ask(.rotateToken, #"{"agent":"\#(agent)"}"#)
        }
    }

    /// A change that a cycle in progress does not see.
    private func change(_ agent: AgentAddress) {
        let change = world.random.pick([
            #""variables":{"n":"\#(world.random.int(0...9))"}"#,
            #""policy":{"max_wake_attempts":\#(world.random.int(1...3))}"#,
            #""policy":{"checkin_deadline":"\#(world.random.int(8...12))00ms"}"#,
        ])
        operatorClient.ask(.update, #"{"agent":"\#(agent)","wake":false,\#(change)}"#, agent: agent)
    }

    /// Something whose answer is late, asked by somebody who does not wait for it.
    private func mention(_ agent: AgentAddress, _ gateway: GatewayClient) {
        switch world.random.int(0...3) {
        case 0: operatorClient.mention(.delete, #"{"agent":"\#(agent)"}"#, agent: agent)
        case 1: operatorClient.mention(.pause, #"{"gateway":"\#(gateway.gateway)"}"#)
        case 2: operatorClient.mention(.resume, #"{"gateway":"\#(gateway.gateway)"}"#)
        default: removeGateway(gateway, isMentioned: true)
        }
    }

    private func removeGateway(_ gateway: GatewayClient, isMentioned: Bool) {
        let payload = #"{"gateway":"\#(gateway.gateway)","force":true}"#
        if isMentioned {
            operatorClient.mention(.removeGateway, payload)
        } else {
            operatorClient.ask(.removeGateway, payload)
        }
        world.after(world.random.int(0...4_000_000)) { [unowned self] in
            operatorClient.ask(.addGateway, #"{"gateway":"\#(gateway.gateway)"}"#)
        }
    }

    private var until: String {
        guard world.random.chance(30) else { return "" }
        let end = Timestamp(
            millisecondsSince1970: 1_700_000_000_000 + world.time / 1_000 + world.random.int(3_000...12_000))
        return #","until":"\#(end)""#
    }

    // MARK: Faults

    func faultLater() {
        let isPair = world.plan.pairsPercent > 0 && world.random.chance(world.plan.pairsPercent)
        world.after(world.random.int(0...(isPair ? 500_000 : 2 * world.plan.faultEvery))) { [unowned self] in
            guard world.isChaotic else { return }
            // Near the end nothing new begins: the rest of the run is for what is under way.
            fail(world.random.pick(world.plan.faults))
            faultLater()
        }
    }

    private func fail(_ fault: Plan.Fault) {
        oracle.lastFault = world.time
        switch fault {
        case .crashStore: crash(store)
        case .crashReconciler: crash(world.random.pick(reconcilers))
        case .crashIngest: crash(world.random.pick(ingests))
        case .crashProvisioner: crash(world.random.pick(provisioners))
        case .crashBroker: crashBroker()
        case .dropConnection: broker.drop(world.random.pick(clients))
        case .dropHeartbeats: broker.drop(world.random.pick(ingests).subscription)
        case .cutConnection: broker.cut(world.random.pick(clients))
        case .stallBroker: broker.stall(until: world.time + world.random.int(50_000...4_000_000))
        case .pauseStore: pause(store)
        case .pauseReconciler: pause(world.random.pick(reconcilers))
        case .pauseIngest: pause(world.random.pick(ingests))
        case .pauseProvisioner: pause(world.random.pick(provisioners))
        case .stepWallClock: stepWallClock()
        case .failCommits:
            store.database.failsUntil =
                world.time + world.random.int(world.plan.commitsFailMin...world.plan.longMax)
        case .crashGateway: hurt(world.random.pick(gateways))
        case .changeAgent: changeAgent()
        case .stopStore: stop(store)
        case .stopReconciler: stop(world.random.pick(reconcilers))
        case .stopIngest: stop(world.random.pick(ingests))
        case .stopProvisioner: stop(world.random.pick(provisioners))
        case .saveBroker: broker.save()
        case .cutHeartbeats: broker.cut(world.random.pick(ingests).subscription)
        case .muteConnection: broker.mute(world.random.pick(processes))
        case .muteIngest: broker.mute(world.random.pick(ingests))
        case .interruptConnection: broker.interrupt(world.random.pick(clients))
        case .interruptHeartbeats: broker.interrupt(world.random.pick(ingests).subscription)
        }
    }

    /// As long as the run lasts.
    func flap() {
        world.after(300_000) { [unowned self] in
            flap()
            guard let ingest = ingests.dropFirst().first, ingest.heartbeatSession != nil else { return }
            ingest.crash()
            world.after(100_000) { if !ingest.isUp { ingest.start() } }
        }
    }

    private func stop(_ process: Process) {
        guard process.isUp, !process.isStopping else { return }
        process.stop()
        startAgain(process, after: world.random.pick([10_000, 300_000, world.random.int(500_000...12_000_000)]))
    }

    private func startAgain(_ process: Process, after delay: Int64) {
        world.after(delay) { [unowned self] in
            oracle.lastFault = world.time
            guard process.isUp else { return process.start() }
            if process.isStopping { startAgain(process, after: 50_000) }
        }
    }

    private func crash(_ process: Process) {
        guard process.isUp else { return }
        process.crash()
        world.after(world.random.pick([world.random.int(20_000...400_000), world.random.int(500_000...6_000_000)])) {
            [unowned self] in
            oracle.lastFault = world.time
            if !process.isUp { process.start() }
        }
    }

    private func crashBroker() {
        guard broker.isUp else { return }
        broker.crash(keeps: world.random.pick([.all, .snapshot, .nothing, .nothing]))
        world.after(world.random.int(50_000...3_000_000)) { [unowned self] in
            oracle.lastFault = world.time
            if !broker.isUp { broker.restart() }
        }
    }

    private func pause(_ process: Process) {
        let length = world.random.pick([
            world.random.int(20_000...900_000), world.random.int(world.plan.longMin...world.plan.longMax),
        ])
        process.pause(until: world.time + length)
        world.after(length) { [unowned self] in
            guard world.isChaotic else { return }
            oracle.lastFault = world.time
        }
    }

    private var clients: [Client] { processes + ingests.map(\.subscription) }

    private func stepWallClock() {
        oracle.lastWallStep = world.time
        world.random.pick(processes).wallOffset += world.random.pick([-300_000, -4_000, 4_000, 300_000] as [Int64])
    }

    private func hurt(_ gateway: GatewayClient) {
        gateway.wasHurt()
        if world.random.chance(50) {
            broker.drop(gateway)
        } else if gateway.isUp {
            gateway.crash()
            world.after(world.random.int(100_000...5_000_000)) { if !gateway.isUp { gateway.start() } }
        }
    }

    private func changeAgent() {
        let gateway = world.random.pick(gateways)
        let index = Int(world.random.int(0...Int64(gateway.agents.count) - 1))
        if world.random.chance(25) { return gateway.sayGoodbye(index) }
        gateway.change(index, to: gateway.anyMode)
    }
}
