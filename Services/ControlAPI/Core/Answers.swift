internal import API
internal import Model
internal import Wire

/// A refusal over HTTP: problem+json (RFC 9457), with the bus's own types and those that only HTTP has.
struct HTTPRefusal: Error {
    let response: HTTPResponse

    init(_ problem: Problem) {
        response = .problem(problem.status, JSON.bytes(problem))
    }

    init(
        _ status: Int, _ type: String, _ title: String, _ detail: String, headers: [HTTPResponse.Header] = []
    ) {
        var response = HTTPResponse(problem: status, type: type, title, detail, errors: [])
        response.headers += headers
        self.response = response
    }

    static let noRoute = HTTPRefusal(404, "not-found", "Not found", "nothing is served at this path")

    static func method(allowed: [String]) -> HTTPRefusal {
        let list = allowed.joined(separator: ", ")
        return HTTPRefusal(
            405, "method-not-allowed", "Method not allowed", "this path takes \(list)",
            headers: [.init("Allow", list)])
    }

    static func unauthorized(_ detail: String) -> HTTPRefusal {
        HTTPRefusal(
            401, "unauthorized", "Unauthorized", detail, headers: [.init("WWW-Authenticate", "Bearer")])
    }

    static let precondition = HTTPRefusal(
        412, "precondition-failed", "Precondition failed", "the record has another revision than If-Match names")

    static func foreignHost(_ host: String) -> HTTPRefusal {
        HTTPRefusal(
            421, "misdirected-request", "Misdirected request",
            "'\(host.prefix(100))' is not a name of this server; --http-host adds one")
    }

    static func unavailable(_ detail: String) -> HTTPRefusal { HTTPRefusal(Problem(.unavailable, detail)) }
}

extension HTTPResponse {
    static func json(_ body: [UInt8], status: Int = 200, headers: [Header] = []) -> HTTPResponse {
        HTTPResponse(status, headers: [Header("Content-Type", jsonContentType)] + headers, body: body)
    }

    static func json(_ value: some Encodable) -> HTTPResponse { .json(JSON.bytes(value)) }

    /// A problem as the bus has it. Who may come again is told when.
    static func problem(_ status: Int, _ body: [UInt8]) -> HTTPResponse {
        let again = status == 503 || status == 429 ? [Header("Retry-After", "1")] : []
        return HTTPResponse(status, headers: [Header("Content-Type", Problem.contentType)] + again, body: body)
    }
}

/// What agents are answered.
enum AgentAnswer {
    struct Taken: Encodable {
        let record: AgentRecord
    }

    struct Health: Encodable {
        let record: AgentRecord

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(true, forKey: .isWell)
            try container.encode(record.address.description, forKey: .agent)
            try container.encode(record.address.agent, forKey: .name)
            try container.encode(record.address.gateway, forKey: .gateway)
            try container.encode(record.board, forKey: .board)
            try container.encode(record.status, forKey: .status)
            try container.encode(record.role, forKey: .role)
        }

        enum CodingKeys: String, CodingKey {
            case agent, status, role
            case isWell = "ok"
            case name = "agent_id"
            case gateway = "gateway_id"
            case board = "board_id"
        }
    }

    struct Board: Encodable {
        let id: String
        let name: String
    }

    struct Page: Encodable {
        let items: [Board]
        let total: Int
        let limit = 50
        let offset = 0

        init(_ items: [Board]) {
            self.items = items
            total = items.count
        }
    }

    /// What a heartbeat, or a question with an agent's token, comes to.
    static func response(_ answer: HeartbeatAnswer, to action: Route.Action, board: String?) -> HTTPResponse {
        if let reason = answer.rejected { return refusal(reason, answer.detail).response }
        guard let record = answer.record else { return refusal(.unknownAgent, nil).response }
        switch action {
        case .agentHealth: return .json(Health(record: record))
        case .boards: return .json(Page(record.board.map { [Board(id: $0, name: $0)] } ?? []))
        case .tasks:
            guard board == record.board else { return HTTPRefusal.noRoute.response }
            return .json(Page([]))
        default: return .json(Taken(record: record))
        }
    }

    private static func refusal(_ reason: RejectionReason, _ detail: String?) -> HTTPRefusal {
        let detail = detail ?? reason.rawValue
        switch reason {
        case .badToken, .unknownAgent: return .unauthorized("the token is not one of an agent")
        case .tooLarge: return HTTPRefusal(Problem(.tooLarge, detail))
        case .malformed: return HTTPRefusal(Problem(.invalidRequest, detail))
        case .deleting: return HTTPRefusal(Problem(.conflict, "the agent is being deleted"))
        case .rateLimited:
            return HTTPRefusal(
                429, "too-many-requests", "Too many requests", detail, headers: [.init("Retry-After", "1")])
        }
    }
}
