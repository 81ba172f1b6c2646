internal import API
internal import Alerts
import Bus
internal import ControlAPICore
internal import HTTP
import Model
internal import Secrets
import ServiceHost
internal import Wire

/// Hosts `ControlAPICore` between HTTP and the bus: what arrives becomes its inputs, its actions become messages and answers.
/// Nothing is decided here.
final class ControlAPI: Service {
    struct Settings {
        var address = "127.0.0.1"
        var port = 18_080
        var connections = 8_000
        var hosts: [String] = []
        /// The file of the operators' tokens.
        var tokens: String?
        // Files in PEM.
        var certificate: String?
        var key: String?
        var clientAuthority: String?
        var alerts: AlertSettings?
    }

    let settings: Settings
    private var runtime: ServiceRuntime!
    private var core: ControlAPICore!
    private var server: HTTPServer!
    /// Servers with certificates of before, until they have answered what they have.
    private var retired: [HTTPServer] = []
    private var tokens: WatchedFile?
    /// Of the file of tokens.
    private(set) var unreadableLines: [Int] = []
    private(set) var certificateEnd: Timestamp?
    private(set) var alerts: AlertHost?
    private weak var connection: Connection?
    /// Streams whose clients have not taken all yet.
    private var written: Set<Int> = []

    init(_ settings: Settings) {
        self.settings = settings
    }

    // MARK: Service

    func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        var options = HTTPServer.Options()
        options.address = settings.address
        options.port = settings.port
        options.tls = try tls()
        options.connectionsMax = DescriptorLimit.raised(for: settings.connections)
        if options.connectionsMax < settings.connections {
            runtime.log.event(
                "http.connections_limited", .warning,
                ["connections": LogValue(options.connectionsMax), "error": "ulimit -n allows no more"])
        }
        core = ControlAPICore(
            asker: asker, hosts: settings.hosts, dashboard: DashboardFile.all, streamsMax: options.connectionsMax / 2
        ) { Digest(of: $0).description }
        do {
            server = try HTTPServer(loop: runtime.loop, options: options)
        } catch {
            throw ServiceFailure(error.description)
        }
        server.received = { [unowned self] in handle(.requestReceived($0)) }
        server.cancelled = { [unowned self] in
            written.remove($0)
            handle(.requestCancelled(id: $0))
        }
        runtime.log.event(
            "http.listening", .info, ["port": LogValue(server.port), "tls": .bool(options.tls != nil)])
        tokens = settings.tokens.map { WatchedFile($0) }
        readTokens()
        alerts = settings.alerts.map { AlertHost($0, runtime, replies: ownReplies) }
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in handle(.ticked) }
        runtime.loop.every(.seconds(1)) { [unowned self] in readTokens() }
    }

    func connected(_ connection: Connection) {
        self.connection = connection
        alerts?.connected(connection)
        handle(.connected)
    }

    func subscribed(refused: [String]) {
        alerts?.subscribed()
        handle(.subscribed)
    }

    func disconnected() {
        alerts?.disconnected()
        handle(.disconnected)
    }

    func received(_ delivery: Delivery) {
        if alerts?.received(delivery) ?? false { return }
        if delivery.topic == heartbeatAnswers {
            if let answer = try? WireFormat.decode(HeartbeatAnswer.self, from: delivery.payload) {
                handle(.heartbeatAnswered(answer))
            }
        } else if delivery.topic == eventPages {
            guard let number = Int(String(decoding: delivery.correlationData ?? [], as: UTF8.self)),
                let page = EventPage(delivery.payload)
            else { return }
            handle(.eventsAnswered(number: number, page))
        } else if delivery.topic == replies {
            guard let number = Int(String(decoding: delivery.correlationData ?? [], as: UTF8.self)) else { return }
            handle(
                .commandAnswered(
                    number: number, payload: delivery.payload, isProblem: delivery.contentType == Problem.contentType))
        } else if delivery.topic.hasPrefix(ControlAPI.brokerCounters) {
            let name = String(delivery.topic.dropFirst(ControlAPI.brokerCounters.count))
            if let count = Int64(String(decoding: delivery.payload, as: UTF8.self)) {
                handle(.brokerCounted(name, count))
            }
        } else if let presence = try? JSON.decode(Presence.self, from: delivery.payload) {
            runtime.check(presence, isRetained: delivery.isRetained)
            handle(.presenceReceived(presence))
        } else if delivery.payload.isEmpty {
            handle(.presenceCleared(delivery.topic.split(separator: "/").suffix(2).joined(separator: "/")))
        }
    }

    func turnEnded(now: Instant) {
        retired.removeAll(where: \.isStopped)
        for id in written.sorted() where servers.contains(where: { $0.isDrained(id) }) {
            written.remove(id)
            handle(.streamDrained(id: id))
        }
    }

    /// Certificates that are at fault change nothing: those that were read before stay in force.
    func reload() {
        tokens = settings.tokens.map { WatchedFile($0) }
        readTokens()
        guard settings.certificate != nil else { return }
        do throws(ServiceFailure) {
            let next = try taken(over: try tls())
            server.stop(within: ControlAPI.retirement)
            retired.append(server)
            server = next
            runtime.log.event("http.certificates_read")
        } catch {
            runtime.log.event("http.certificates_unreadable", .error, ["error": LogValue(error.reason)])
        }
    }

    func isDrained() -> Bool {
        for server in servers { server.stop(within: .seconds(3)) }
        return servers.allSatisfy(\.isStopped)
    }

    var metrics: [Metric] { core.metrics + (alerts?.metrics ?? []) }

    /// Requests that servers of before have are answered for so long.
    private static let retirement = TimeSpan.seconds(20)
    private var servers: [HTTPServer] { retired + [server] }

    // MARK: Messages

    /// Who asks: each incarnation numbers anew, and what is answered to one before is nobody's.
    private var asker: String { "\(runtime.instance)/\(runtime.incarnation)" }
    private var ownReplies: String {
        runtime.topics.replies(to: "svc:\(runtime.name.rawValue)/\(asker)")
    }
    private var heartbeatAnswers: String { runtime.topics.heartbeatAnswers(asker: asker) }
    private var replies: String { ownReplies + "/http" }
    /// What mosquitto counts (mosquitto(8), broker status).
    private static let brokerCounters = "$SYS/broker/"
    private var eventPages: String { ownReplies + "/events" }

    private func handle(_ input: ControlAPIInput) {
        var actions: [ControlAPIAction] = []
        core.handle(input, now: Clock.now(), wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: ControlAPIAction) {
        switch action {
        case .subscribe:
            connection?.subscribe(
                [heartbeatAnswers, replies, eventPages, runtime.topics.allPresence]
                    + BrokerCounters.names.map { ControlAPI.brokerCounters + $0 } + (alerts?.filters ?? []))
        // Each request is known to one of the servers, and nothing to the others.
        case .respond(let id, let response): for server in servers { server.answer(id, response) }
        case .openStream(let id, let headers): for server in servers { server.openStream(id, headers: headers) }
        case .write(let id, let bytes): for server in servers where server.write(id, bytes) { written.insert(id) }
        case .endStream(let id):
            written.remove(id)
            for server in servers { server.endStream(id) }
        case .askEvents(let question, let number):
            var publication = Publication(topic: runtime.topics.eventQuestions, payload: WireFormat.bytes(question))
            publication.responseTopic = eventPages
            publication.correlationData = Array(String(number).utf8)
            // Lost with the connection: it is asked again.
            _ = try? connection?.publish(publication)
        case .handIn(let agent, let token, let payload, let asker):
            var publication = Publication(topic: runtime.topics.heartbeat(agent), payload: payload)
            publication.userProperties = [("x-agent-token", token)]
            publication.responseTopic = heartbeatAnswers
            publication.correlationData = asker.correlation
            publish(publication, asker.number)
        case .command(let verb, let payload, let number, let key, let trace, let ifMatch):
            var publication = Publication(topic: runtime.topics.command(verb), payload: payload)
            publication.responseTopic = replies
            publication.correlationData = Array(String(number).utf8)
            publication.contentType = jsonContentType
            publication.userProperties =
                (key.map { [("idempotency-key", $0)] } ?? []) + (trace.map { [("traceparent", $0)] } ?? [])
                + (ifMatch.map { [("if-match", $0)] } ?? [])
            publish(publication, number)
        }
    }

    private func publish(_ publication: Publication, _ number: Int) {
        do {
            guard let connection, connection.isConnected else {
                return handle(.commandRefused(number: number, reason: "the broker is not connected"))
            }
            try connection.publish(publication)
        } catch {
            handle(.commandRefused(number: number, reason: error.description))
        }
    }

    private func tls() throws(ServiceFailure) -> HTTPServer.Options.TLS? {
        guard let certificate = settings.certificate, let key = settings.key else { return nil }
        var tls = HTTPServer.Options.TLS(
            certificate: try ControlAPI.bytes(of: certificate), key: try ControlAPI.bytes(of: key))
        var fault = Certificate.fault(
            certificate: tls.certificate, named: certificate, key: tls.key, named: key)
        if let path = settings.clientAuthority {
            let authority = try ControlAPI.bytes(of: path)
            fault = fault ?? Certificate.fault(authority: authority, named: path)
            tls.clientAuthority = authority
        }
        if let fault { throw ServiceFailure(fault, status: ExitStatus.usage) }
        certificateEnd = Certificate.secondsLeft(tls.certificate).map { Clock.wallTime() + .seconds($0) }
        return tls
    }

    private func taken(over tls: HTTPServer.Options.TLS?) throws(ServiceFailure) -> HTTPServer {
        do throws(HTTPFailure) {
            return try HTTPServer(takingOverFrom: server, tls: tls)
        } catch {
            throw ServiceFailure(error.description)
        }
    }

    private static func bytes(of path: String) throws(ServiceFailure) -> [UInt8] {
        do throws(FileFailure) {
            return try SmallFile.read(path)
        } catch {
            throw ServiceFailure(error.reason, status: ExitStatus.usage)
        }
    }

    // MARK: Tokens

    private func readTokens() {
        guard let text = tokens?.readIfChanged() else { return }
        var list: [OperatorToken] = []
        unreadableLines = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            if let token = OperatorToken(line: line) {
                list.append(token)
            } else {
                unreadableLines.append(index + 1)
                runtime.log.event(
                    "http.token_unreadable", .error,
                    [
                        "file": LogValue(settings.tokens ?? ""), "line": LogValue(index + 1),
                        "error": "is not NAME SCOPE SHA256 [EXPIRES]",
                    ])
            }
        }
        runtime.log.event("http.tokens_read", .debug, ["count": LogValue(list.count)])
        handle(.tokensRead(list))
    }
}
