internal import API

/// One operation over HTTP: where it lies, who may ask for it and what it becomes. The same table answers requests, says which
/// methods a path has, and is published as `/openapi.json`.
struct Route: Sendable {
    enum Access: Sendable {
        case anybody
        /// The token of an agent.
        case agent
        case scope(Scope)
    }

    /// What a request becomes.
    enum Action: Sendable {
        case health, readiness, document, services, events, fleet, doctor
        case heartbeat, agentHealth, boards, tasks
        /// A verb of the bus. `path`: the members that segments of the path give; `query` and `body`: whether they give others.
        case command(Verb, takes: Source, answer: Answer)
    }

    /// Where the members of a request come from, besides the path.
    enum Source: Sendable { case nothing, query, body, queryOrBody }

    enum Answer: Equatable, Sendable {
        case plain, record
        case page(String)
        case created
    }

    let method: String
    /// Segments; `{gateway}`, `{agent}` and `{board}` stand for any.
    let pattern: [String]
    let access: Access
    let action: Action
    let summary: String

    init(_ method: String, _ path: String, _ access: Access, _ action: Action, _ summary: String) {
        self.method = method
        pattern = path.split(separator: "/").map(String.init)
        self.access = access
        self.action = action
        self.summary = summary
    }

    var path: String { "/" + pattern.joined(separator: "/") }

    /// The parts of the path that stand for something, in their order.
    var parameters: [String] { pattern.filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) } }

    /// What the path's segments stand for; `nil` when it is another path.
    func match(_ path: [String]) -> [String: String]? {
        guard path.count == pattern.count else { return nil }
        var values: [String: String] = [:]
        for (segment, expected) in zip(path, pattern) {
            if expected.hasPrefix("{") {
                values[String(expected.dropFirst().dropLast())] = segment
            } else if segment != expected {
                return nil
            }
        }
        return values
    }
}

extension Route {
    /// All operations.
    static let table: [Route] = open + ofAgents + ofOperators

    private static let open: [Route] = [
        Route("GET", "/healthz", .anybody, .health, "Whether this process runs"),
        Route("GET", "/readyz", .anybody, .readiness, "Whether requests can be served"),
        Route("GET", "/openapi.json", .anybody, .document, "This description"),
    ]

    private static let ofAgents: [Route] = [
        Route("POST", "/api/v1/agent/heartbeat", .agent, .heartbeat, "Check in, and say that the agent is alive"),
        Route("GET", "/api/v1/agent/healthz", .agent, .agentHealth, "Whether the token counts, and who it belongs to"),
        Route("GET", "/api/v1/agent/boards", .agent, .boards, "The agent's own board"),
        Route("GET", "/api/v1/agent/boards/{board}/tasks", .agent, .tasks, "An empty page: Rollcall keeps no tasks"),
    ]

    private static let ofOperators: [Route] = [
        Route(
            "GET", "/api/v1/agents", .scope(.read), .command(.list, takes: .query, answer: .page("records")),
            "Agents by address, page by page"),
        Route(
            "POST", "/api/v1/agents", .scope(.admin), .command(.provision, takes: .body, answer: .created),
            "Provision an agent"),
        Route(
            "GET", "/api/v1/agents/{gateway}/{agent}", .scope(.read),
            .command(.get, takes: .nothing, answer: .record), "One agent's record"),
        Route(
            "PATCH", "/api/v1/agents/{gateway}/{agent}", .scope(.operate),
            .command(.update, takes: .body, answer: .record), "Change an agent"),
        Route(
            "DELETE", "/api/v1/agents/{gateway}/{agent}", .scope(.admin),
            .command(.delete, takes: .nothing, answer: .record), "Delete an agent"),
        Route(
            "POST", "/api/v1/agents/{gateway}/{agent}/wake", .scope(.operate),
            .command(.wake, takes: .body, answer: .record), "Begin a new cycle"),
        Route(
            "POST", "/api/v1/agents/{gateway}/{agent}/rotate-token", .scope(.admin),
            .command(.rotateToken, takes: .body, answer: .record), "Mint a new token"),
        Route(
            "POST", "/api/v1/agents/{gateway}/{agent}/pause", .scope(.operate),
            .command(.pause, takes: .body, answer: .plain), "Pause an agent"),
        Route(
            "POST", "/api/v1/agents/{gateway}/{agent}/resume", .scope(.operate),
            .command(.resume, takes: .body, answer: .plain), "Resume an agent"),
        Route(
            "GET", "/api/v1/agents/{gateway}/{agent}/history", .scope(.read),
            .command(.history, takes: .query, answer: .page("events")), "An agent's events, newest first"),
        Route(
            "GET", "/api/v1/history", .scope(.read), .command(.history, takes: .query, answer: .page("events")),
            "Events, newest first"),
        Route(
            "GET", "/api/v1/gateways", .scope(.read), .command(.listGateways, takes: .nothing, answer: .plain),
            "All gateways"),
        Route(
            "POST", "/api/v1/gateways", .scope(.admin), .command(.addGateway, takes: .body, answer: .created),
            "Add a gateway, or change its policy"),
        Route(
            "DELETE", "/api/v1/gateways/{gateway}", .scope(.admin),
            .command(.removeGateway, takes: .query, answer: .plain), "Remove a gateway"),
        Route(
            "POST", "/api/v1/gateways/{gateway}/templates/sync", .scope(.operate),
            .command(.syncTemplates, takes: .queryOrBody, answer: .plain), "Bring the agents' files in step"),
        Route(
            "POST", "/api/v1/gateways/{gateway}/pause", .scope(.operate),
            .command(.pause, takes: .body, answer: .plain), "Pause all agents of a gateway"),
        Route(
            "POST", "/api/v1/gateways/{gateway}/resume", .scope(.operate),
            .command(.resume, takes: .body, answer: .plain), "Resume them"),
        Route(
            "POST", "/api/v1/gateways/{gateway}/rotate-token", .scope(.admin),
            .command(.rotateToken, takes: .body, answer: .plain), "Mint a new token of a gateway"),
        Route(
            "POST", "/api/v1/boards/{board}/pause", .scope(.operate), .command(.pause, takes: .body, answer: .plain),
            "Pause all agents of a board"),
        Route(
            "POST", "/api/v1/boards/{board}/resume", .scope(.operate),
            .command(.resume, takes: .body, answer: .plain), "Resume them"),
        Route(
            "GET", "/api/v1/summary", .scope(.read), .command(.summary, takes: .query, answer: .plain),
            "How many agents are in which status"),
        Route(
            "GET", "/api/v1/fleet", .scope(.read), .fleet,
            "All agents as one table: columns and rows, times in milliseconds since 1970"),
        Route("GET", "/api/v1/events", .scope(.read), .events, "Events as they are committed (Server-Sent Events)"),
        Route(
            "GET", "/api/v1/doctor", .scope(.read), .doctor, "What is wrong with the system, what shows it, what to do"),
        Route("GET", "/api/v1/doctor/{gateway}/{agent}", .scope(.read), .doctor, "The same of one agent"),
        Route("GET", "/api/v1/services", .scope(.read), .services, "The services, as they announce themselves"),
    ]
}
