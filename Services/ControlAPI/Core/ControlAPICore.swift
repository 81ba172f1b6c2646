public import API
internal import Doctor
public import Model
internal import Wire

/// Serves agents and operators over HTTP: all that control-api decides.
///
/// A pure value: inputs and the time go in, actions come out. It holds nothing that must survive: several instances serve at
/// once. An agent's heartbeat goes the way of all heartbeats, over the agent's own topic, and is answered 200 when the agent's
/// owner has taken it and what it changed is committed; an operator's request becomes a command on the bus.
public struct ControlAPICore: Sendable {
    /// An agent is told 503 when no owner has answered for so long.
    static let heartbeatLimit = TimeSpan.seconds(5)
    /// An operator is, when nobody has answered a command: longer than a provisioner waits for an owner.
    static let commandLimit = TimeSpan.seconds(15)
    /// And when the store has not answered a question.
    static let lookupLimit = TimeSpan.seconds(5)
    /// Diagnoses that are being made; whoever wants another one comes again.
    static let diagnosesMax = 8

    /// A request that waits for an answer from the bus.
    struct Waiting: Sendable {
        let id: Int
        let route: Route
        let path: [String: String]
        let request: HTTPRequest
        let deadline: Instant
        var command: PendingCommand?
        /// Whoever asked has gone; the services work on it all the same.
        var isGone = false
        /// What a diagnosis is made of so far.
        var gathering: Gathering?
    }

    /// A command that waits for its turn, or for its answer.
    struct PendingCommand: Sendable {
        let verb: Verb
        /// The name of the token that asks.
        let asker: String
        let payload: [UInt8]
        let key: String?
        /// The revisions that `If-Match` names, with commas: the record's owner compares them when it executes the command.
        var revisions: String?
    }

    private let asker: String
    private let hosts: Set<String>
    private let dashboard: Dashboard
    private let sha256: @Sendable ([UInt8]) -> String
    private var tokens: [String: OperatorToken] = [:]
    private(set) var presences = Presences()
    var waiting: [Int: Waiting] = [:]
    var turns = CommandTurns()
    private var streams: EventStreams
    private var tables: FleetTables
    var nextNumber = 0
    var isServing = false
    private var requests: Int64 = 0
    private var heartbeats: Int64 = 0
    var refused: Int64 = 0
    var broker = BrokerCounters()
    public private(set) var times = RequestTimes()

    // The time of the input that is handled.
    var now = Instant(nanoseconds: 0)
    var wallTime = Timestamp(millisecondsSince1970: 0)

    /// - Parameters:
    ///   - asker: this incarnation of this instance, by which answers find it; no other one has it.
    ///   - hosts: names of this server besides those of the loopback interface, in lower case and without a port.
    ///   - dashboard: its files.
    ///   - streamsMax: streams of events that may be open at once.
    ///   - sha256: the digest of a message in hexadecimal.
    public init(
        asker: String, hosts: [String] = [], dashboard: [DashboardFile] = [], streamsMax: Int = 500,
        sha256: @escaping @Sendable ([UInt8]) -> String
    ) {
        self.dashboard = Dashboard(dashboard, sha256: sha256)
        self.asker = asker
        self.hosts = Set(hosts).union(["127.0.0.1", "localhost", "[::1]"])
        self.sha256 = sha256
        tables = FleetTables(sha256: sha256)
        streams = EventStreams(countMax: streamsMax)
    }

    public var streamCount: Int { streams.count }

    public var metrics: [Metric] {
        [
            Metric("rollcall_http_requests", .counter, "Requests over HTTP.", Double(requests)),
            Metric(
                "rollcall_http_requests_refused", .counter, "Requests that were answered 400 or above.",
                Double(refused)),
            Metric("rollcall_http_heartbeats", .counter, "Heartbeats that came over HTTP.", Double(heartbeats)),
            Metric(
                "rollcall_http_requests_waiting", .gauge, "Requests that wait for an answer of the bus.",
                Double(waiting.count)),
            Metric("rollcall_sse_streams", .gauge, "Open streams of events.", Double(streams.count)),
            Metric(
                "rollcall_broker_messages_dropped", .counter,
                "Messages that the broker has dropped, by its own count.",
                broker.newest[BrokerCounters.dropped].map { [([], Double($0))] } ?? []),
            times.metric,
        ]
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: ControlAPIInput, now: Instant, wallTime: Timestamp, into actions: inout [ControlAPIAction]
    ) {
        self.now = now
        self.wallTime = wallTime
        let first = actions.count
        handle(input, &actions)
        takeTurns(&actions)
        for action in actions[first...] {
            switch action {
            case .respond(let id, let response): times.ended(id, status: response.status, now: now)
            case .openStream(let id, _): times.forget(id)
            case .subscribe, .write, .endStream, .askEvents, .handIn, .command: break
            }
        }
    }

    private mutating func handle(_ input: ControlAPIInput, _ actions: inout [ControlAPIAction]) {
        switch input {
        case .connected: actions.append(.subscribe)
        case .subscribed: isServing = true
        case .disconnected:
            isServing = false
            presences.disconnected()
            streams.disconnected(now: now)
            tables.disconnected(&actions)
            // What was asked may be done; nobody knows.
            expire(where: { _ in true }, "the connection to the broker was lost", &actions)
        case .requestReceived(let request):
            times.began(request, now: now)
            receive(request, &actions)
        case .requestCancelled(let id):
            times.forget(id)
            cancel(id)
            streams.closed(id)
            tables.cancelled(id)
        case .streamDrained(let id): streams.drained(id, now: now, &actions)
        case .eventsAnswered(let number, let page) where number < 0:
            tables.received(page, number: number, now: now, &actions)
        case .eventsAnswered(let number, let page): streams.received(page, number: number, now: now, &actions)
        case .heartbeatAnswered(let answer): answered(answer, &actions)
        case .commandAnswered(let number, let payload, let isProblem) where number < 0:
            tables.answered(number, payload, isProblem: isProblem, now: now, &actions)
        case .commandAnswered(let number, let payload, let isProblem):
            answered(number, payload, isProblem: isProblem, &actions)
        case .commandRefused(let number, let reason):
            tables.refused(number, reason, &actions)
            guard let request = remove(number) else { break }
            unanswered(request, reason, &actions)
        case .presenceReceived(let presence): presences.received(presence, now: now, wallTime: wallTime)
        case .presenceCleared(let name): presences.cleared(name)
        case .brokerCounted(let name, let count): broker.counted(name, count, now: now)
        case .tokensRead(let list):
            tokens = Dictionary(list.map { ($0.digest, $0) }) { _, newest in newest }
        case .ticked:
            presences.ticked(now: now)
            broker.ticked(now: now)
            expire(where: { [now] in $0.deadline <= now }, lateness, &actions)
            endUnauthorized(&actions)
            streams.ticked(now: now, &actions)
            tables.ticked(now: now, &actions)
        }
    }

    // MARK: Requests

    private mutating func receive(_ request: HTTPRequest, _ actions: inout [ControlAPIAction]) {
        requests += 1
        do throws(HTTPRefusal) {
            try serve(request, &actions)
        } catch {
            refuse(request.id, error, &actions)
        }
    }

    mutating func refuse(_ id: Int, _ refusal: HTTPRefusal, _ actions: inout [ControlAPIAction]) {
        refused += 1
        actions.append(.respond(id: id, refusal.response))
    }

    private mutating func serve(
        _ request: HTTPRequest, _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        try checkHost(request.header("host") ?? "")
        if let response = try dashboard.response(request) {
            return actions.append(.respond(id: request.id, response))
        }
        let (route, path) = try ControlAPICore.route(request)
        let token: OperatorToken
        switch route.access {
        case .anybody: return try serveAnybody(request, route, &actions)
        case .agent: return try serveAgent(request, route, path, &actions)
        case .scope(let scope): token = try authorize(request, scope)
        }
        switch route.action {
        case .services:
            actions.append(.respond(id: request.id, .json(["services": presences.all])))
        case .events:
            guard isServing else { throw .unavailable("the broker is not connected") }
            try streams.open(request, by: token.digest, now: now, &actions)
        case .fleet:
            guard isServing else { throw .unavailable("the broker is not connected") }
            try tables.open(request, now: now, wallTime: wallTime, &actions)
        case .doctor: try diagnose(request, route, path, &actions)
        case .command(let verb, let source, _): try command(verb, source, request, route, path, token, &actions)
        case .health, .readiness, .document, .heartbeat, .agentHealth, .boards, .tasks: throw .noRoute
        }
    }

    private func serveAnybody(
        _ request: HTTPRequest, _ route: Route, _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        switch route.action {
        case .readiness:
            if let reason = unreadiness { throw .unavailable(reason) }
            actions.append(.respond(id: request.id, .json(["ready": true])))
        case .document:
            actions.append(.respond(id: request.id, .json(OpenAPIDocument.bytes)))
        default: actions.append(.respond(id: request.id, .json(["ok": true])))
        }
    }

    /// A page of another origin that a browser was led to by a name that is not ours gets nothing (DNS rebinding).
    private func checkHost(_ header: String) throws(HTTPRefusal) {
        let host = header.lowercased()
        let end =
            host.hasPrefix("[") ? host.firstIndex(of: "]").map { host.index(after: $0) } : host.firstIndex(of: ":")
        let port = host[(end ?? host.endIndex)...]
        guard hosts.contains(String(host[..<port.startIndex])), port.isEmpty || ControlAPICore.isPort(port) else {
            throw .foreignHost(header)
        }
    }

    private static func isPort(_ text: Substring) -> Bool {
        (2...6).contains(text.utf8.count) && text.first == ":"
            && text.dropFirst().utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    private static func route(_ request: HTTPRequest) throws(HTTPRefusal) -> (Route, [String: String]) {
        let matching = Route.table.compactMap { route in route.match(request.path).map { (route, $0) } }
        guard !matching.isEmpty else { throw .noRoute }
        let method = request.method == "HEAD" ? "GET" : request.method
        guard let found = matching.first(where: { $0.0.method == method }) else {
            let methods = matching.map(\.0.method)
            throw .method(allowed: (methods + (methods.contains("GET") ? ["HEAD"] : [])).sorted())
        }
        return found
    }

    private var unreadiness: String? {
        isServing ? missing : "the broker is not connected"
    }

    private var missing: String? {
        let running = Set(presences.all.filter { $0.state == .running }.map(\.service))
        let missing = [ServiceName.provisioner, .reconciler, .heartbeatIngest, .statusStore].map(\.rawValue).filter {
            !running.contains($0)
        }
        return missing.isEmpty ? nil : "not running: \(missing.joined(separator: ", "))"
    }

    /// Why a request is given up.
    private var lateness: String { "nobody answered in time" + (missing.map { "; \($0)" } ?? "") }

    private static func bearer(_ request: HTTPRequest) -> Substring? {
        guard let header = request.header("authorization"), header.lowercased().hasPrefix("bearer ") else { return nil }
        return header.dropFirst("bearer ".count).drop { $0 == " " }
    }

    // MARK: Agents

    private mutating func serveAgent(
        _ request: HTTPRequest, _ route: Route, _ path: [String: String], _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        guard let text = request.header("x-agent-token").map({ $0[...] }) ?? ControlAPICore.bearer(request) else {
            throw .unauthorized("an agent's token is wanted, as X-Agent-Token or Authorization: Bearer")
        }
        guard let token = TokenText(text), let agent = AgentAddress(token.username) else {
            throw .unauthorized("the token is not one of an agent")
        }
        guard isServing else { throw .unavailable("the broker is not connected") }
        let isHeartbeat = if case .heartbeat = route.action { true } else { false }
        if isHeartbeat { heartbeats += 1 }
        let payload = isHeartbeat ? ControlAPICore.heartbeat(request.body) : []
        let number = wait(request, route, path, for: ControlAPICore.heartbeatLimit)
        let asker = HeartbeatAsker(name: asker, number: number, wish: isHeartbeat ? .heartbeat : .probe)
        actions.append(.handIn(agent, token: String(text), payload: payload, asker))
    }

    /// What agents of before send: `online` is another word for `ok` here. Whatever else is wrong the ingest says.
    private static func heartbeat(_ body: [UInt8]) -> [UInt8] {
        // Its size counts as it came.
        guard body.count <= Limits.heartbeatBytesMax, let value = try? JSON.read(body), var members = value.object,
            members["status"]?.string == "online"
        else {
            return body
        }
        members["status"] = .string(HeartbeatStatus.ok.rawValue)
        return JSON.bytes(JSONValue.object(members))
    }

    private mutating func answered(_ answer: HeartbeatAnswer, _ actions: inout [ControlAPIAction]) {
        guard answer.asker.name == asker, let request = remove(answer.asker.number) else { return }
        let response = AgentAnswer.response(answer, to: request.route.action, board: request.path["board"])
        if response.status >= 400 { refused += 1 }
        actions.append(.respond(id: request.id, response))
    }

    // MARK: Operators

    private func authorize(_ request: HTTPRequest, _ scope: Scope) throws(HTTPRefusal) -> OperatorToken {
        guard let text = ControlAPICore.bearer(request) else {
            throw .unauthorized("an operator's token is wanted, as Authorization: Bearer")
        }
        // Looked up by its digest: how long it takes says nothing about a token (see SECURITY.md).
        guard let token = token(of: sha256(Array(text.utf8))) else {
            throw .unauthorized("the token is not one of an operator, or it has ended")
        }
        guard token.scope >= scope else {
            throw HTTPRefusal(
                Problem(
                    .notAuthorized,
                    "'\(token.name)' has the scope \(token.scope.rawValue), this takes \(scope.rawValue)"))
        }
        return token
    }

    /// The token of this digest, while it counts.
    private func token(of digest: String) -> OperatorToken? {
        tokens[digest].flatMap { token in token.expires.map { wallTime < $0 } ?? true ? token : nil }
    }

    /// Who may not open a stream any more may not go on reading it. Every scope may.
    private mutating func endUnauthorized(_ actions: inout [ControlAPIAction]) {
        for (id, digest) in streams.readers where token(of: digest) == nil { streams.end(id, &actions) }
    }
}
