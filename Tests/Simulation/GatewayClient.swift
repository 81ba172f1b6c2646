import API
import Model
import Wire

/// A gateway with its agents: they answer wakes and beat, each in its way.
final class GatewayClient: Client {
    enum Mode: CaseIterable {
        /// Answers every wake at once, beats in time.
        case well
        /// Says nothing.
        case silent
        /// Answers every wake, once, and is not heard of again.
        case shy
        /// Answers about when its deadline ends, then beats.
        case slow
        /// Says `starting` first.
        case starting
    }

    struct Agent {
        let address: AgentAddress
        var mode = Mode.well
        var isRunning = false
        /// Since when it has been well and its own connection unbroken, but for the broker.
        var wellSince: Int64 = 0
        var runningSince: Int64 = 0
        var newest: (generation: Int, attempt: Int) = (0, 0)
        /// Counts changes, so that what was planned before means nothing.
        var plan = 0
        /// Whether its beats name the generation, and whether its first answer does.
        var echoes = false
        var isPlain = false
        /// Whether it tells one start from another, and which one this is.
        var tellsBoots = false
        var boot = 0

        var bootID: String? { tellsBoots ? "b\(boot)" : nil }
    }

    let gateway: String
    private let oracle: Oracle
    private(set) var agents: [Agent]
    /// Until it is connected again its agents are not well.
    private var isHurt = false
    /// Whether it tells one start of it from another.
    private let tellsIncarnation: Bool

    init(_ gateway: String, _ broker: Broker, _ oracle: Oracle, agents count: Int) {
        self.gateway = gateway
        self.oracle = oracle
        tellsIncarnation = broker.world.random.chance(broker.world.plan.bootsPercent)
        agents = (0..<count).compactMap { AgentAddress(gateway: gateway, agent: "a\($0)") }.map { Agent(address: $0) }
        super.init("gateway/\(gateway)", broker)
        for index in agents.indices {
            agents[index].mode = anyMode
            agents[index].echoes = world.random.chance(world.plan.echoesPercent)
            agents[index].isPlain = !agents[index].echoes && world.random.chance(world.plan.plainPercent)
            agents[index].tellsBoots = world.random.chance(world.plan.bootsPercent)
        }
    }

    var anyMode: Mode {
        if let favourite = world.plan.favourite, world.random.chance(70) { return favourite }
        return world.random.pick(Mode.allCases)
    }

    func agent(_ address: AgentAddress) -> Agent? { agents.first { $0.address == address } }

    func change(_ index: Int, to mode: Mode, runs: Bool? = nil) {
        world.note("\(agents[index].address) is \(mode)")
        agents[index].mode = mode
        agents[index].plan += 1
        agents[index].wellSince = isHurt ? .max : world.time
        if let runs { agents[index].isRunning = runs }
        if mode == .silent || mode == .shy { agents[index].isRunning = false }
        if agents[index].isRunning { beatLater(index) }
    }

    func sayGoodbye(_ index: Int) {
        guard agents[index].isRunning else { return }
        agents[index].isRunning = false
        agents[index].plan += 1
        agents[index].wellSince = .max
        send(goodbye(index))
    }

    private func goodbye(_ index: Int) -> HeartbeatDetail {
        var detail = HeartbeatDetail(agent: agents[index].address)
        detail.status = .stopping
        detail.bootID = agents[index].bootID
        return detail
    }

    /// When it was connected last.
    private(set) var openedAt: Int64 = 0

    override var connectTime: ClosedRange<Int64> { 2_000...world.plan.gatewayReturnMax }

    override var isAdmitted: Bool { broker.admitted.contains(gateway) }

    /// Something that is not the system's fault happened to it.
    func wasHurt() {
        isHurt = true
        for index in agents.indices { agents[index].wellSince = .max }
    }

    override func started() {
        for index in agents.indices {
            agents[index].isRunning = false
            agents[index].plan += 1
        }
        wasHurt()
    }

    /// Its own, and those of the agents that say which start they speak for.
    override func wills() -> [SimMessage] {
        [status(.lost)]
            + agents.filter(\.tellsBoots).map { agent in
                var detail = HeartbeatDetail(agent: agent.address)
                detail.status = .lost
                detail.bootID = agent.bootID
                return SimMessage(topic: .heartbeats, body: .heartbeat(detail))
            }
    }

    override func opened() {
        guard let session else { return }
        openedAt = world.time
        broker.subscribe(session, agents.map { .wake($0.address) })
        if isHurt { for index in agents.indices { agents[index].wellSince = world.time + 50_000 } }
        isHurt = false
        broker.publish(session, status(.connected))
    }

    private func status(_ state: GatewayStatusMessage.State) -> SimMessage {
        let status = GatewayStatusMessage(state: state, bootID: tellsIncarnation ? "life-\(launch)" : nil)
        return SimMessage(
            topic: .gatewayStatus, body: .gatewayStatus(gateway, status), retainedKey: "gateway/\(gateway)")
    }

    override func deliver(_ message: SimMessage) {
        guard case .wake(let wake, _, _) = message.body, !isPaused,
            let index = agents.firstIndex(where: { $0.address == wake.agent })
        else { return }
        guard (wake.generation, wake.attempt) >= agents[index].newest || world.isBroken(.runtimesIgnoreOldWakes) else {
            return
        }
        agents[index].newest = (wake.generation, wake.attempt)
        switch agents[index].mode {
        case .silent: break
        case .well: answer(index, after: world.random.int(2_000...40_000))
        case .shy: answer(index, after: world.random.int(2_000...700_000))
        case .slow: answer(index, after: world.random.int(850_000...1_030_000))
        case .starting:
            var detail = HeartbeatDetail(agent: wake.agent)
            detail.status = .starting
            detail.generation = wake.generation
            detail.bootID = agents[index].bootID
            detail.extend = DurationText(world.random.int(500...1_500), .milliseconds)
            send(detail)
            answer(index, after: world.random.int(300_000...1_400_000))
        }
    }

    private func answer(_ index: Int, after delay: Int64) {
        agents[index].plan += 1
        let (launch, plan) = (launch, agents[index].plan)
        world.after(delay) { [unowned self] in
            guard isUp, self.launch == launch, agents[index].plan == plan else { return }
            let isShy = agents[index].mode == .shy
            let isNew = !agents[index].isRunning
            let last = goodbye(index)
            if isNew {
                agents[index].runningSince = world.time
                agents[index].boot += 1
            }
            agents[index].isRunning = !isShy
            var detail = HeartbeatDetail(agent: agents[index].address)
            detail.bootID = agents[index].bootID
            if !agents[index].isPlain {
                detail.generation = agents[index].newest.generation
                detail.attempt = agents[index].newest.attempt
            }
            send(detail)
            if !isShy { beatLater(index) }
            // The start before this one is heard of late.
            guard isNew, agents[index].tellsBoots, world.random.chance(30) else { return }
            world.after(world.random.int(100_000...900_000)) { [unowned self] in
                if isUp, self.launch == launch { send(last) }
            }
        }
    }

    private func beatLater(_ index: Int) {
        let (launch, plan) = (launch, agents[index].plan)
        world.after(world.random.int(300_000...420_000)) { [unowned self] in
            guard isUp, self.launch == launch, agents[index].plan == plan, agents[index].isRunning else { return }
            var detail = HeartbeatDetail(agent: agents[index].address)
            if agents[index].echoes { detail.generation = agents[index].newest.generation }
            detail.bootID = agents[index].bootID
            if !isPaused { send(detail) }
            beatLater(index)
        }
    }

    private func send(_ detail: HeartbeatDetail) {
        guard let session, session.isOpen else { return }
        broker.publish(session, SimMessage(topic: .heartbeats, body: .heartbeat(detail)))
    }
}

/// Whoever asks: repeats each command under its key until it is answered.
final class OperatorClient: Client {
    private struct Asked {
        let command: SimCommand
        var tries = 0
    }

    private var open: [Asked] = []
    private var answered: [SimCommand] = []
    private var count = 0
    private var uses = 0
    let oracle: Oracle

    init(_ broker: Broker, _ oracle: Oracle) {
        self.oracle = oracle
        super.init("operator", broker)
    }

    var openCount: Int { open.count }
    var openKeys: [String] { open.map { "\($0.command.key) \($0.command.verb) \($0.command.payload)" } }

    func ask(_ verb: Verb, _ payload: String, agent: AgentAddress? = nil) {
        count += 1
        let command = SimCommand(key: "k\(count)", verb: verb, payload: payload, agent: agent)
        world.note("operator \(command.key) \(verb.rawValue) \(payload)")
        oracle.asked(command)
        begin(command)
    }

    /// Asks something that was answered once more, or something else under its key.
    func askOld(isOther: Bool) {
        let olds = answered.filter { old in !open.contains { $0.command.key == old.key } }
        guard !olds.isEmpty else { return }
        let old = world.random.pick(olds)
        var command = old
        if isOther {
            guard let first = old.agent else { return }
            // Often of the other gateway, which may lie in another partition.
            let gateway = world.random.chance(50) ? first.gateway : first.gateway == "g0" ? "g1" : "g0"
            let agent = "\(gateway)/\(first.agent)"
            command = SimCommand(
                key: old.key, verb: .update, payload: #"{"agent":"\#(agent)","wake":false,"variables":{"n":"x"}}"#)
            command.isOtherUse = true
        }
        world.note("operator \(command.key) again \(command.verb.rawValue) \(command.payload)")
        begin(command)
    }

    /// Asks once and does not wait for the answer.
    func mention(_ verb: Verb, _ payload: String, agent: AgentAddress? = nil) {
        count += 1
        let command = SimCommand(key: "k\(count)", verb: verb, payload: payload, agent: agent)
        world.note("operator \(command.key) \(verb.rawValue) \(payload), once")
        send(command)
    }

    private func begin(_ command: SimCommand) {
        uses += 1
        var command = command
        command.askedAt = world.time
        command.tag = "\(command.key).\(uses)"
        open.append(Asked(command: command))
        send(command)
        askAgain(command.tag)
    }

    override func opened() {
        guard let session else { return }
        broker.subscribe(session, [.replies])
    }

    override func deliver(_ message: SimMessage) {
        guard case .reply(let tag, let isProblem, let payload) = message.body,
            let index = open.firstIndex(where: { $0.command.tag == tag })
        else { return }
        // A problem that cannot be read is none of the service's.
        let problem = isProblem ? try? JSON.decode(Problem.self, from: payload) : nil
        if problem?.type == .unavailable { return }
        let command = open.remove(at: index).command
        world.note("operator \(tag) is answered\(problem.map { ": \($0)" } ?? "")")
        if !command.isOtherUse { answered.append(command) }
        oracle.answered(command, problem, payload)
    }

    private func send(_ command: SimCommand) {
        guard let session, session.isOpen else { return }
        broker.publish(session, SimMessage(topic: .commands, body: .command(command)))
    }

    private func askAgain(_ tag: String) {
        world.after(3_000_000) { [unowned self] in
            guard let asked = open.first(where: { $0.command.tag == tag }) else { return }
            send(asked.command)
            askAgain(tag)
        }
    }
}
