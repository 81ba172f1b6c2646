internal import API
internal import Bus
internal import Model
internal import ServiceHost

/// A runtime's connection: who it is, what it subscribes to, its Last Will and what it publishes.
///
/// An agent's Last Will names the boot id of the command that runs, and MQTT fixes a Last Will when it connects. So each
/// connection has a boot id; the first start on it takes that one, every later start connects anew (`renewBootID`). A gateway's
/// boot id is that of this process; its agents' starts have others.
final class RuntimeLink {
    /// Without it the kernel repeats less and less often, and finds a network that is back only after as long as it was cut.
    static let deliveryLimit = TimeSpan.seconds(5)

    let settings: RuntimeSettings
    private let loop: EventLoop
    private unowned let delegate: any ConnectionDelegate
    private(set) var connection: Connection?
    private var password: String
    private var bootID = Token.random()
    private var isBootIDTaken = false
    /// Tells the answers to our requests for files from those to an earlier incarnation.
    private let correlation = Array(Token.random().utf8)

    init(_ settings: RuntimeSettings, loop: EventLoop, delegate: any ConnectionDelegate) {
        self.settings = settings
        self.loop = loop
        self.delegate = delegate
        password = settings.program.broker.password ?? ""
    }

    private var topics: Topics { settings.program.topics }
    private var replies: String { topics.replies(to: settings.identity.username) + "/-" }

    // MARK: Connecting

    func open() {
        var broker = settings.program.broker
        broker.password = password
        var options = ConnectionOptions(broker: broker, clientID: settings.identity.username + "~runtime")
        options.tls = settings.program.tls
        options.will = will
        options.endsWhenTakenOver = true
        options.deliveryLimit = RuntimeLink.deliveryLimit
        connection = Connection(options, loop: loop, delegate: delegate)
    }

    /// After a refusal: whether the token file holds another token by now, which is then used.
    func reloadToken() -> Bool {
        // A file that cannot be read now is read at the next refusal.
        guard let token = try? ProgramOptions.secret(from: settings.tokenFile), token != password else { return false }
        password = token
        reopen()
        return true
    }

    /// The boot id of a new start. For an agent the Last Will changes with it.
    func renewBootID() -> String {
        guard case .agent = settings.identity else { return Token.random() }
        defer { isBootIDTaken = true }
        guard isBootIDTaken else { return bootID }
        bootID = Token.random()
        // While it is not connected it may be about to find out that another runtime has taken its place.
        if let connection, !connection.isConnected { connection.options.will = will } else { reopen() }
        return bootID
    }

    /// The agent that this runtime is there for alone.
    var host: Host? {
        if case .agent(let address) = settings.identity { Host(agent: address, bootID: bootID) } else { nil }
    }

    private func reopen() {
        connection?.close(within: .seconds(1))
        open()
    }

    private var will: Publication {
        switch settings.identity {
        case .agent(let address):
            return message(topics.heartbeat(address), JSON.bytes(HeartbeatMessage(lost: bootID)))
        case .gateway(let gateway): return gatewayStatus(.lost, of: gateway)
        }
    }

    private func gatewayStatus(_ state: GatewayStatusMessage.State, of gateway: String) -> Publication {
        var publication = message(
            topics.gatewayStatus(gateway), JSON.bytes(GatewayStatusMessage(state: state, bootID: bootID)))
        publication.isRetained = true
        return publication
    }

    private func message(_ topic: String, _ payload: [UInt8]) -> Publication {
        var publication = Publication(topic: topic, payload: payload)
        publication.contentType = jsonContentType
        return publication
    }

    func subscribe() {
        let agents: String
        var own: [String] = []
        switch settings.identity {
        case .agent(let address): agents = address.description
        case .gateway(let gateway):
            agents = "\(gateway)/+"
            own = [topics.gatewayStatus(gateway), "\(replies)/credentials/+"]
        }
        connection?.subscribe(
            [
                "\(topics.root)/agents/\(agents)/wake", "\(topics.root)/agents/\(agents)/status",
                "\(topics.root)/agents/\(agents)/templates", "\(replies)/files/+",
            ] + own)
    }

    /// A gateway says that it is there: a wake that follows finds us when we have subscribed, and needs not follow for what has
    /// ended when that was said before.
    func sayConnected() {
        if case .gateway(let gateway) = settings.identity { publish(gatewayStatus(.connected, of: gateway)) }
    }

    /// Whether a message says that this gateway is gone, which it is not: a Last Will of an earlier connection arrived late.
    func isOwnDeath(_ delivery: Delivery) -> Bool {
        guard case .gateway(let gateway) = settings.identity, delivery.topic == topics.gatewayStatus(gateway),
            !delivery.isRetained
        else { return false }
        // What cannot be read, or was emptied with the gateway's removal, says nothing.
        let message = try? GatewayStatusMessage(reading: delivery.payload)
        return message.map { $0.state != .connected } ?? false
    }

    // MARK: Publishing

    /// What cannot be published because the connection is gone is said again after the next one.
    private func publish(_ publication: Publication) {
        _ = try? connection?.publish(publication)
    }

    func publish(_ beats: [Beat]) {
        switch settings.identity {
        case .agent:
            for beat in beats {
                publish(message(topics.heartbeat(beat.agent), JSON.bytes(HeartbeatMessage(beat, isEntry: false))))
            }
        case .gateway(let gateway):
            for payload in GatewayHeartbeats.messages(beats) {
                publish(message(topics.gatewayHeartbeats(gateway), payload))
            }
        }
    }

    func requestFiles(of agent: AgentAddress) {
        request(topics.files(agent), answer: "\(replies)/files/\(agent.agent)")
    }

    func requestCredentials(of agent: AgentAddress) {
        request(topics.credentials(agent), answer: "\(replies)/credentials/\(agent.agent)")
    }

    private func request(_ topic: String, answer: String) {
        var request = message(topic, Array("{}".utf8))
        request.responseTopic = answer
        request.correlationData = correlation
        // An answer to an older request than the last few is of no use.
        request.expirySeconds = 10
        publish(request)
    }

    /// Whose files, or credentials, an answer brings; `nil` for anything else.
    func agent(of subject: String, _ delivery: Delivery) -> AgentAddress? {
        let prefix = "\(replies)/\(subject)/"
        guard delivery.topic.hasPrefix(prefix), delivery.correlationData == correlation else { return nil }
        let id = String(delivery.topic.dropFirst(prefix.count))
        switch settings.identity {
        case .agent(let address): return address.agent == id ? address : nil
        case .gateway(let gateway): return AgentAddress(gateway: gateway, agent: id)
        }
    }

    /// A clean end.
    func close() {
        if case .gateway(let gateway) = settings.identity { publish(gatewayStatus(.stopped, of: gateway)) }
        connection?.close(within: TimeSpan(milliseconds: 800))
    }
}

/// Short random names.
enum Token {
    /// 64 random bits in base 36.
    static func random() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
    }
}
