internal import API
internal import Bus
internal import Model

/// The gateways of a storm: they beat for their agents, fall silent, are lost, and return.
final class StormFleet: ConnectionDelegate {
    /// Names in one message: a message is decoded whole.
    private static let namesMax = 500
    /// Wakes are answered together, so often.
    private static let answerInterval = TimeSpan(milliseconds: 50)

    private final class Member {
        let gateway: StormGateway
        let address: BrokerAddress
        let beats: [Publication]
        var connection: Connection?
        var isReady = false
        /// Agents whose wake is to be answered.
        var woken: [String] = []
        /// Agents that answered one, and beat since.
        var running: [String] = []
        var isRunning: Set<String> = []

        init(_ gateway: StormGateway, _ address: BrokerAddress, _ topics: Topics) {
            self.gateway = gateway
            self.address = address
            beats = StormFleet.messages(gateway.agents, topics.gatewayHeartbeats(gateway.name))
        }
    }

    private let system: BenchSystem
    private var members: [Substring: Member] = [:]
    private(set) var answersWakes = false
    private(set) var losses = 0
    private var isLosing = false
    private var beatTimer: Int?

    init(_ system: BenchSystem, _ gateways: [(gateway: StormGateway, token: String)]) {
        self.system = system
        for (gateway, token) in gateways {
            members[Substring(gateway.name)] = Member(
                gateway, system.address(of: gateway.name, token: token), system.topics)
        }
        system.loop.every(StormFleet.answerInterval) { [unowned self] in answerWakes() }
    }

    var isConnected: Bool { members.values.allSatisfy(\.isReady) }
    /// Whether everything that was published is acknowledged.
    var isFlushed: Bool { members.values.allSatisfy { ($0.connection?.outstanding ?? 0) == 0 } }

    func connect() {
        for member in members.values {
            var options = ConnectionOptions(broker: member.address, clientID: member.gateway.name)
            options.will = status(member, "lost")
            options.reconnects = false
            member.connection = Connection(options, loop: system.loop, delegate: self)
        }
    }

    /// Beats for everybody now and every `interval`.
    func beat(every interval: TimeSpan) {
        beat()
        beatTimer = system.loop.every(interval) { [unowned self] in beat() }
    }

    func beat() {
        for member in members.values {
            guard let connection = member.connection, connection.isConnected else { continue }
            // Refused only when the connection is lost, which is counted.
            for message in member.beats { _ = try? connection.publish(message) }
        }
    }

    func fallSilent() {
        if let beatTimer { system.loop.cancel(beatTimer) }
        beatTimer = nil
    }

    /// Ends every connection without a word, as a crash would.
    func cut() {
        isLosing = true
        for member in members.values {
            member.connection?.abandon(reason: "cut off")
            member.connection?.close()
            member.connection = nil
            member.isReady = false
        }
        isLosing = false
    }

    /// Connects again; wakes are answered with a heartbeat from now on, and whoever was woken goes on beating.
    func comeBack(beatingEvery interval: TimeSpan) {
        answersWakes = true
        connect()
        beatTimer = system.loop.every(interval) { [unowned self] in
            for member in members.values { publish(member.running, of: member) }
        }
    }

    /// One gateway goes for good, with a word.
    func leave(_ gateway: String) {
        members.removeValue(forKey: Substring(gateway))?.connection?.close()
    }

    func close() {
        for member in members.values { member.connection?.close(within: .zero) }
    }

    func woken(_ gateway: Substring, _ agent: Substring) {
        guard answersWakes else { return }
        members[gateway]?.woken.append(String(agent))
    }

    /// A heartbeat of one agent alone that says something new.
    func tell(_ gateway: String, _ agent: String, isDegraded: Bool) -> Bool {
        let topic = "\(system.topics.root)/agents/\(gateway)/\(agent)/heartbeat"
        let payload = isDegraded ? "{\"status\":\"degraded\"}" : "{\"status\":\"ok\"}"
        let publication = Publication(topic: topic, payload: Array(payload.utf8))
        return (try? members[Substring(gateway)]?.connection?.publish(publication)) != nil
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        guard let member = members.values.first(where: { $0.connection === connection }) else { return }
        member.isReady = true
        _ = try? connection.publish(status(member, "connected"))
    }

    func received(_ delivery: Delivery, on connection: Connection) {}

    func disconnected(_ error: BusError, on connection: Connection) {
        if !isLosing { losses += 1 }
    }

    // MARK: Inside

    private func answerWakes() {
        for member in members.values where !member.woken.isEmpty {
            guard member.connection?.isConnected == true else { continue }
            publish(member.woken, of: member)
            for agent in member.woken where member.isRunning.insert(agent).inserted { member.running.append(agent) }
            member.woken = []
        }
    }

    private func publish(_ agents: [String], of member: Member) {
        guard let connection = member.connection, connection.isConnected else { return }
        let topic = system.topics.gatewayHeartbeats(member.gateway.name)
        for message in StormFleet.messages(agents, topic) { _ = try? connection.publish(message) }
    }

    private func status(_ member: Member, _ state: String) -> Publication {
        var publication = Publication(
            topic: system.topics.gatewayStatus(member.gateway.name), payload: Array("{\"state\":\"\(state)\"}".utf8))
        publication.isRetained = true
        return publication
    }

    private static func messages(_ agents: [String], _ topic: String) -> [Publication] {
        stride(from: 0, to: agents.count, by: namesMax).map { start in
            let names = Array(agents[start..<min(agents.count, start + namesMax)])
            return Publication(topic: topic, payload: JSON.bytes(["agents": names]))
        }
    }
}
