public import API

/// `/openapi.json`: OpenAPI 3.1, made of the table of routes.
enum OpenAPIDocument {
    static let bytes = JSON.bytes(document)

    private static let document: JSONValue = .object([
        "openapi": "3.1.0",
        "info": .object([
            "title": "Rollcall", "version": .string(ContractVersion.product),
            "description":
                "Agents check in with their token; operators provision, wake and watch them. Errors are problem+json (RFC 9457).",
        ]),
        "paths": .object(paths),
        "components": .object(["securitySchemes": .object(schemes), "schemas": .object(schemas)]),
    ])

    private static var paths: [String: JSONValue] {
        var paths: [String: [String: JSONValue]] = [:]
        for route in Route.table { paths[route.path, default: [:]][route.method.lowercased()] = operation(route) }
        return paths.mapValues(JSONValue.object)
    }

    private static let schemes: [String: JSONValue] = [
        "operator": .object([
            "type": "http", "scheme": "bearer", "description": "An operator's token: rollcall token create.",
        ]),
        "agent": .object(["type": "apiKey", "in": "header", "name": "X-Agent-Token"]),
        "agentBearer": .object(["type": "http", "scheme": "bearer", "description": "An agent's token."]),
    ]

    private static let schemas: [String: JSONValue] = [
        "Problem": .object([
            "type": "object", "required": ["type", "title", "status", "detail"],
            "properties": .object([
                "type": text, "title": text, "status": .object(["type": "integer"]), "detail": text,
                "errors": .object([
                    "type": "array",
                    "items": .object(["type": "object", "properties": .object(["member": text, "detail": text])]),
                ]),
            ]),
        ])
    ]

    private static let text = JSONValue.object(["type": "string"])
    private static let time = JSONValue.object(["type": "string", "format": "date-time"])
    private static let flag = JSONValue.object(["type": "boolean"])
    private static let name = JSONValue.object([
        "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    ])

    // MARK: Operations

    private static func operation(_ route: Route) -> JSONValue {
        var operation: [String: JSONValue] = [
            "operationId": .string(identifier(route)), "summary": .string(route.summary),
            "description": .string(description(route)), "responses": responses(route),
        ]
        var parameters = route.parameters.map { parameter($0, in: "path", name) }
        parameters += query(route).map { parameter($0.0, in: "query", $0.1) }
        switch route.access {
        case .anybody: operation["tags"] = ["service"]
        case .agent:
            operation["tags"] = ["agent-main", "agent-lead", "agent-worker"]
            operation["security"] = [.object(["agent": []]), .object(["agentBearer": []])]
            operation.merge(guidance(route)) { $1 }
        case .scope:
            operation["tags"] = ["operator"]
            operation["security"] = [.object(["operator": []])]
            if route.method != "GET" { parameters.append(parameter("Idempotency-Key", in: "header", key)) }
            if let header = condition(route) { parameters.append(parameter(header, in: "header", text)) }
        }
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body = body(route) {
            operation["requestBody"] = .object([
                "required": .bool(isBodyRequired(route)),
                "content": .object([jsonContentType: .object(["schema": body])]),
            ])
        }
        return .object(operation)
    }

    /// The header that makes an answer depend on what the client knows.
    private static func condition(_ route: Route) -> String? {
        switch route.action {
        case .events: "Last-Event-ID"
        case .fleet, .command(.get, _, _): "If-None-Match"
        case .command where route.method != "GET" && route.parameters.contains("agent"): "If-Match"
        default: nil
        }
    }

    /// As `postAgentsWake`: the method and the words of the path.
    private static func identifier(_ route: Route) -> String {
        let words = route.pattern.filter { !["api", "v1"].contains($0) }.flatMap { segment in
            segment.split { !$0.isLetter && !$0.isNumber }
        }
        return words.reduce(route.method.lowercased()) { $0 + $1.prefix(1).uppercased() + $1.dropFirst() }
    }

    private static func description(_ route: Route) -> String {
        switch route.access {
        case .anybody: "Needs no token."
        case .agent: "By the agent's own token alone, which names the agent."
        case .scope(let scope): "Needs an operator's token with the scope \(scope.rawValue)."
        }
    }

    /// What tells a language model when to use an agent's operation.
    private static func guidance(_ route: Route) -> [String: JSONValue] {
        let (intent, use): (String, String) =
            switch route.action {
            case .heartbeat:
                (
                    "agent_heartbeat",
                    "After a start or a wake, then every heartbeat_interval, and with status stopping at the end."
                )
            case .agentHealth: ("agent_health", "Before other calls, to see whether the token still counts.")
            case .boards: ("agent_boards", "To learn which board the agent belongs to.")
            default: ("agent_tasks", "Rollcall keeps no tasks: the page is always empty.")
            }
        return [
            "x-llm-intent": .string(intent), "x-when-to-use": [.string(use)],
            "x-routing-policy": ["Use this operation with the agent's own token only."],
        ]
    }

    private static let key = JSONValue.object([
        "type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "maxLength": .integer(Int64(CommandMembers.keyLengthMax)),
    ])

    private static func parameter(_ name: String, in place: String, _ schema: JSONValue) -> JSONValue {
        .object([
            "name": .string(name), "in": .string(place), "required": .bool(place == "path"), "schema": schema,
        ])
    }

    private static func query(_ route: Route) -> [(String, JSONValue)] {
        if case .events = route.action {
            return [("gateway", name), ("agent", text), ("event", text), ("after", text)]
        }
        let filter = [("gateway", name), ("board", name), ("role", text), ("status", text), ("stale_templates", flag)]
        if case .fleet = route.action { return filter }
        let limit = JSONValue.object(["type": "integer", "minimum": 1, "maximum": .integer(Int64(Limits.pageLimitMax))])
        guard case .command(let verb, let source, _) = route.action, source == .query || source == .queryOrBody else {
            return []
        }
        switch verb {
        case .list:
            return filter + [("after", text), ("limit", limit)]
        case .history:
            return (route.parameters.isEmpty ? [("gateway", name), ("agent", text)] : [])
                + [("since", time), ("before", text), ("limit", limit)]
        case .summary: return [("gateway", name)]
        case .removeGateway: return [("force", flag)]
        case .syncTemplates:
            return ["include_main", "lead_only", "reset_sessions", "rotate_tokens", "overwrite", "wake"].map {
                ($0, flag)
            } + [("board", name)]
        default: return []
        }
    }

    private static func isBodyRequired(_ route: Route) -> Bool {
        guard case .command(let verb, _, _) = route.action else { return false }
        return verb == .provision || verb == .addGateway
    }

    private static func body(_ route: Route) -> JSONValue? {
        if case .heartbeat = route.action {
            return .object([
                "type": "object",
                "properties": .object([
                    "status": .object([
                        "enum": ["ok", "online", "degraded", "starting", "waiting", "stopping", "lost"]
                    ]),
                    "note": .object(["type": "string", "maxLength": .integer(Int64(Limits.noteLengthMax))]),
                ]),
            ])
        }
        guard case .command(let verb, let source, _) = route.action, source == .body || source == .queryOrBody else {
            return nil
        }
        let policy = JSONValue.object(["type": "object"])
        var properties: [String: JSONValue] = [:]
        var required: [JSONValue] = []
        switch verb {
        case .provision, .update:
            properties = ["role": .object(["enum": ["main", "lead", "worker"]]), "board": name, "policy": policy]
            properties["variables"] = .object(["type": "object"])
            properties["wake"] = flag
            if verb == .provision {
                properties["agent"] = text
                required = ["agent"]
            }
        case .addGateway:
            properties = ["gateway": name, "policy": policy]
            required = ["gateway"]
        case .rotateToken: properties = ["now": flag]
        case .pause: properties = ["until": time]
        case .syncTemplates:
            properties = Dictionary(uniqueKeysWithValues: query(route).map { ($0.0, $0.1) })
        default: break
        }
        return .object([
            "type": "object", "properties": .object(properties), "required": .array(required),
            "additionalProperties": false,
        ])
    }

    private static func responses(_ route: Route) -> JSONValue {
        let isStream = if case .events = route.action { true } else { false }
        let type = isStream ? "text/event-stream" : jsonContentType
        let content = JSONValue.object([type: .object(["schema": .object(["type": isStream ? "string" : "object"])])])
        var responses: [String: JSONValue] = ["200": .object(["description": "Done.", "content": content])]
        if case .command(_, _, .created) = route.action {
            responses["201"] = .object(["description": "Made; its token is shown once.", "content": content])
        }
        switch route.action {
        case .command(.get, _, _), .fleet:
            responses["304"] = .object(["description": "It is what If-None-Match names."])
        default: break
        }
        let problem = JSONValue.object([
            "description": "Why it was refused.",
            "content": .object([
                Problem.contentType: .object(["schema": .object(["$ref": "#/components/schemas/Problem"])])
            ]),
        ])
        for status in statuses(route) { responses[String(status)] = problem }
        return .object(responses)
    }

    private static func statuses(_ route: Route) -> [Int] {
        switch route.access {
        case .anybody: [400, 413, 421, 503]
        case .agent: [400, 401, 404, 409, 413, 421, 422, 429, 503]
        case .scope: [400, 401, 403, 404, 409, 412, 413, 421, 422, 429, 503]
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
}
