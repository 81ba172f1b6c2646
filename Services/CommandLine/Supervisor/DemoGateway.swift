internal import API
internal import Bus
internal import Model
internal import ServiceHost

/// The gateway of `--demo N`: simulated agents that are provisioned through the real commands and answer real wakes.
final class DemoGateway: ConnectionDelegate {
    /// Entries in one message for all agents: it stays far below `Limits.gatewayHeartbeatsBytesMax`.
    private static let entriesMax = 1_000
    /// The pause before a command that was not answered is sent again.
    private static let retryAfter = TimeSpan.seconds(2)

    private unowned let supervisor: Supervisor
    private let topics: Topics
    private let loop: EventLoop
    private let log: Log
    private var fleet: DemoFleet
    private var connection: Connection?
    private var own: [String: Connection] = [:]
    private var firstBeats: [String: DemoBeat] = [:]
    private let bootID = String(UInt64.random(in: .min ... .max), radix: 36)
    private var hasBegun = false
    private var isStopping = false

    init(count: Int, supervisor: Supervisor) {
        self.supervisor = supervisor
        topics = supervisor.configuration.topics
        loop = supervisor.loop
        log = Log(service: "demo", instance: "1", format: supervisor.log.format, level: supervisor.log.level)
        fleet = DemoFleet(count: count)
    }

    func start() {
        loop.every(TimeSpan(milliseconds: 100)) { [weak self] in
            guard let self, !isStopping else { return }
            perform(fleet.advanced(to: loop.now))
        }
        command(.addGateway, ["gateway": .string(DemoFleet.gateway)]) { [unowned self] answer in
            withToken(of: DemoFleet.gateway, minted: answer["token"]?.string, connect)
        }
    }

    /// Says goodbye for the gateway: its agents are not lost, it stopped.
    func stop() {
        isStopping = true
        if let connection, connection.isConnected { publishState(.stopped, on: connection) }
        for connection in [connection].compactMap({ $0 }) + own.values {
            connection.close(within: TimeSpan(milliseconds: 500))
        }
        connection = nil
        own = [:]
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        guard connection === self.connection else { return ownConnected(connection) }
        let agents = "\(topics.root)/agents/\(DemoFleet.gateway)/+"
        connection.subscribe(["\(agents)/wake", "\(agents)/lifecycle/deleting"])
    }

    func subscribed(refused: [String], on connection: Connection) {
        guard refused.isEmpty else {
            return log.event("demo.subscription_refused", .error, ["filters": LogValue(refused.joined(separator: " "))])
        }
        publishState(.connected, on: connection)
        guard !hasBegun else { return }
        hasBegun = true
        log.event(
            "demo.gateway_connected", .info,
            ["gateway": LogValue(DemoFleet.gateway), "agents": LogValue(fleet.agents.count)])
        provisionAll()
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        guard let agent = topics.agent(of: delivery.topic) else { return }
        guard delivery.topic.hasSuffix("/wake") else { return perform(fleet.deleted(agent.agent)) }
        guard let wake = try? JSON.decode(WakeMessage.self, from: delivery.payload) else {
            return log.event("demo.bad_wake", .warning, ["agent": LogValue(agent)])
        }
        perform(
            fleet.woken(
                agent.agent, generation: wake.generation, attempt: wake.attempt, isRecovery: wake.reason == .recover,
                interval: wake.heartbeatInterval.span, now: Clock.now()))
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        guard !isStopping else { return }
        let username = connection.options.broker.username ?? ""
        if let agent = AgentAddress(username)?.agent {
            guard own[agent] === connection else { return }
            own[agent] = nil
            fleet.connectionLost(agent)
        } else if error.isRefusal {
            connection.close()
            self.connection = nil
        }
        // A token that somebody rotated: another one is asked for. The agent's counts from its next wake.
        guard error.isRefusal else { return }
        log.event("demo.refused", .warning, ["username": LogValue(username), "error": LogValue(error.description)])
        loop.after(DemoGateway.retryAfter) { [weak self] in
            guard let self, !isStopping else { return }
            rotate(username) { [unowned self] token in
                if username == DemoFleet.gateway { connect(token: token) }
            }
        }
    }

    // MARK: Provisioning

    /// One agent after the other, those that exist by a wake: a restart is a new cycle, not a new agent.
    private func provisionAll() {
        list(after: nil, found: [])
    }

    private func list(after: String?, found: Set<String>) {
        var members: [String: JSONValue] = [
            "gateway": .string(DemoFleet.gateway), "limit": .integer(Int64(Limits.pageLimitMax)),
        ]
        if let after { members["after"] = .string(after) }
        command(.list, members) { [unowned self] answer in
            let page = (answer["records"]?.array ?? []).compactMap { $0["agent"]?.string }
            let all = found.union(page)
            if let next = answer["next"]?.string { return list(after: next, found: all) }
            let pause = DemoFleet.pause(count: fleet.agents.count)
            for (index, agent) in fleet.agents.enumerated() {
                loop.after(TimeSpan(milliseconds: pause.milliseconds * Int64(index))) { [weak self] in
                    guard let self, !isStopping else { return }
                    wake(agent, exists: all.contains("\(DemoFleet.gateway)/\(agent.id)"))
                }
            }
        }
    }

    private func wake(_ agent: DemoAgent, exists: Bool) {
        let address = "\(DemoFleet.gateway)/\(agent.id)"
        if exists { return command(.wake, ["agent": .string(address)]) { _ in } }
        var members: [String: JSONValue] = ["agent": .string(address), "role": .string(agent.role.rawValue)]
        if let board = agent.board { members["board"] = .string(board) }
        command(.provision, members) { [unowned self] answer in
            guard agent.behaviour == .cut, let token = answer["token"]?.string else { return }
            keep(token, of: address)
        }
    }

    // MARK: Tokens

    /// Calls `body` with the identity's token: the one just minted, the one kept, or a new one.
    private func withToken(of username: String, minted: String?, _ body: @escaping (_ token: String) -> Void) {
        if let minted { keep(minted, of: username) }
        if let token = minted ?? supervisor.data.keptSecret(of: username) { return body(token) }
        rotate(username, body)
    }

    private func rotate(_ username: String, _ body: @escaping (_ token: String) -> Void) {
        let member = username == DemoFleet.gateway ? "gateway" : "agent"
        command(.rotateToken, [member: .string(username)]) { [unowned self] answer in
            guard let token = answer["token"]?.string else { return }
            keep(token, of: username)
            body(token)
        }
    }

    private func keep(_ token: String, of username: String) {
        do {
            try supervisor.data.keep(secret: token, of: username)
        } catch {
            log.event("demo.token_not_kept", .warning, ["error": LogValue(error.reason)])
        }
    }

    // MARK: Connections

    private func connect(token: String) {
        guard !isStopping else { return }
        var options = ConnectionOptions(broker: broker(DemoFleet.gateway, token), clientID: DemoFleet.gateway)
        options.will = state(.lost)
        connection = Connection(options, loop: loop, delegate: self)
    }

    private func connectOwn(_ id: String, token: String, _ beat: DemoBeat) {
        guard !isStopping, let agent = AgentAddress(gateway: DemoFleet.gateway, agent: id) else { return }
        own.removeValue(forKey: id)?.close(within: TimeSpan(milliseconds: 200))
        var options = ConnectionOptions(broker: broker(agent.description, token), clientID: agent.description)
        let will = JSONValue.object(["status": .string("lost"), "boot_id": .string(beat.bootID)])
        options.will = Publication(topic: topics.heartbeat(agent), payload: JSON.bytes(will))
        options.reconnects = false
        firstBeats[id] = beat
        own[id] = Connection(options, loop: loop, delegate: self)
    }

    private func ownConnected(_ connection: Connection) {
        guard let id = own.first(where: { $0.value === connection })?.key, let beat = firstBeats.removeValue(forKey: id)
        else { return }
        publishOwn(id, beat)
    }

    private func broker(_ username: String, _ token: String) -> BrokerAddress {
        BrokerAddress(
            endpoint: .tcp(host: LocalPort.host, port: supervisor.mqttPort, isEncrypted: false), username: username,
            password: token)
    }

    // MARK: Sending

    private func perform(_ directives: [DemoFleet.Directive]) {
        var entries: [JSONValue] = []
        for directive in directives {
            switch directive {
            case .beat(let agent, let beat):
                entries.append(.object(beat.members.merging(["agent": .string(agent)]) { _, new in new }))
            case .connect(let agent, let beat):
                withToken(of: "\(DemoFleet.gateway)/\(agent)", minted: nil) { [unowned self] token in
                    connectOwn(agent, token: token, beat)
                }
            case .beatOwn(let agent, let beat): publishOwn(agent, beat)
            case .cutOff(let agent):
                log.event("demo.cut_off", .info, ["agent": LogValue("\(DemoFleet.gateway)/\(agent)")])
                own[agent]?.abandon(reason: "the demo cuts it off")
            case .disconnect(let agent): own.removeValue(forKey: agent)?.close(within: TimeSpan(milliseconds: 200))
            }
        }
        guard let connection, connection.isConnected else { return }
        while !entries.isEmpty {
            let payload = JSON.bytes(
                JSONValue.object(["agents": .array(Array(entries.prefix(DemoGateway.entriesMax)))]))
            entries.removeFirst(min(entries.count, DemoGateway.entriesMax))
            // Lost with the connection: the next heartbeat follows.
            _ = try? connection.publish(
                Publication(topic: topics.gatewayHeartbeats(DemoFleet.gateway), payload: payload))
        }
    }

    private func publishOwn(_ id: String, _ beat: DemoBeat) {
        guard let agent = AgentAddress(gateway: DemoFleet.gateway, agent: id), let connection = own[id] else { return }
        let payload = JSON.bytes(JSONValue.object(beat.members))
        // Lost with the connection: that is what the Last Will is for.
        _ = try? connection.publish(Publication(topic: topics.heartbeat(agent), payload: payload))
    }

    private func publishState(_ state: GatewayStatusMessage.State, on connection: Connection) {
        // Refused only when the connection is lost: the next one announces again.
        _ = try? connection.publish(self.state(state))
    }

    private func state(_ state: GatewayStatusMessage.State) -> Publication {
        var publication = Publication(
            topic: topics.gatewayStatus(DemoFleet.gateway),
            payload: JSON.bytes(GatewayStatusMessage(state: state, bootID: bootID)))
        publication.isRetained = true
        publication.contentType = jsonContentType
        return publication
    }

    /// Sends a command until it is answered; a refusal is logged and ends it.
    private func command(_ verb: Verb, _ members: [String: JSONValue], _ completion: @escaping (JSONValue) -> Void) {
        guard let link = supervisor.operatorLink, !isStopping else { return }
        link.request(verb, members) { [weak self] result in
            guard let self, !isStopping else { return }
            switch result {
            case .success(let answer): completion(answer)
            case .failure(.refused(let problem)) where problem.type != .unavailable:
                log.event(
                    "demo.refused", .warning, ["verb": LogValue(verb.rawValue), "error": LogValue(problem.detail)])
            case .failure:
                loop.after(DemoGateway.retryAfter) { [weak self] in self?.command(verb, members, completion) }
            }
        }
    }
}
