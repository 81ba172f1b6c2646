public import Model

/// What operators can ask for: the last level of `R/commands/{verb}`.
public enum Verb: String, CaseIterable, Sendable, Codable {
    case provision, update, wake, delete
    case rotateToken = "rotate-token"
    case pause, resume
    case syncTemplates = "sync-templates"
    case addGateway = "add-gateway"
    case removeGateway = "remove-gateway"
    case listGateways = "list-gateways"
    case get, list, history, summary

    /// Whether the status store answers it from what is committed; the provisioner takes all others.
    public var isLookup: Bool {
        switch self {
        case .get, .list, .history, .summary, .listGateways: true
        case .provision, .update, .wake, .delete, .rotateToken, .pause, .resume, .syncTemplates, .addGateway,
            .removeGateway:
            false
        }
    }
}

/// What a pause or a resume is about.
public enum PauseTarget: Hashable, Sendable, Codable {
    case agent(AgentAddress)
    case gateway(String)
    case board(String)

    public var cause: PauseCause {
        switch self {
        case .agent: .agent
        case .gateway: .gateway
        case .board: .board
        }
    }
}

public struct ProvisionRequest: Codable, Hashable, Sendable {
    public var agent: AgentAddress
    public var role: Role?
    public var board: String?
    public var policy: PolicyPatch
    public var variables: [String: String?]
    public var wake: Bool

    public init(
        agent: AgentAddress, role: Role?, board: String?, policy: PolicyPatch = PolicyPatch(),
        variables: [String: String?] = [:], wake: Bool = true
    ) {
        self.agent = agent
        self.role = role
        self.board = board
        self.policy = policy
        self.variables = variables
        self.wake = wake
    }
}

/// A `sync-templates` request.
public struct TemplatesSync: Codable, Hashable, Sendable {
    public let gateway: String
    public var board: String?
    public var includesMain = true
    public var isLeadOnly = false
    public var resetsSessions = false
    /// Also files that agents change.
    public var overwrites = false
    public var wakes = false
    /// Each agent's gateway asks for a new token for it.
    public var rotatesTokens = false

    public init(gateway: String) {
        self.gateway = gateway
    }

    /// Whether it is about an agent of this role and board.
    public func selects(_ role: Role, board: String?) -> Bool {
        switch role {
        case .main: includesMain
        case .lead: self.board == nil || self.board == board
        case .worker: !isLeadOnly && (self.board == nil || self.board == board)
        }
    }

    /// Whether there is something to do for an agent that is to run these templates already.
    public var isForced: Bool { overwrites || resetsSessions || rotatesTokens }
}

/// A command whose every member has been checked for form.
public enum Command: Codable, Hashable, Sendable {
    case provision(ProvisionRequest)
    /// The members of `provision`, with nothing required but the agent.
    case update(ProvisionRequest)
    case wake(AgentAddress)
    case delete(AgentAddress)
    case rotateAgentToken(AgentAddress, now: Bool)
    case rotateGatewayToken(String, now: Bool)
    case pause(PauseTarget, until: Timestamp?)
    case resume(PauseTarget)
    case addGateway(String, policy: PolicyPatch)
    case removeGateway(String, force: Bool)
    /// Asks the owner whose templates are meant, so many at a time, by name and behind `after`.
    case syncTemplates(TemplatesSync, after: String?)
    /// One of these agents. Its provisioner sends it, no operator.
    case syncAgent(AgentAddress, TemplatesSync)

    /// The one agent that it is about.
    public var agent: AgentAddress? {
        switch self {
        case .provision(let request), .update(let request): request.agent
        case .wake(let agent), .delete(let agent), .rotateAgentToken(let agent, _), .syncAgent(let agent, _): agent
        case .pause(.agent(let agent), _), .resume(.agent(let agent)): agent
        case .pause, .resume, .rotateGatewayToken, .addGateway, .removeGateway, .syncTemplates: nil
        }
    }

    /// The gateway whose partition owns the effect; `nil` for a board, which may lie across all of them.
    public var gateway: String? {
        switch self {
        case .provision, .update, .wake, .delete, .rotateAgentToken, .syncAgent, .pause(.agent, _), .resume(.agent):
            agent?.gateway
        case .syncTemplates(let sync, _): sync.gateway
        case .rotateGatewayToken(let gateway, _), .addGateway(let gateway, _), .removeGateway(let gateway, _): gateway
        case .pause(.gateway(let gateway), _), .resume(.gateway(let gateway)): gateway
        case .pause(.board, _), .resume(.board): nil
        }
    }
}

/// A question that the status store answers.
public enum Lookup: Hashable, Sendable {
    public struct AgentFilter: Hashable, Sendable {
        public var gateway: String?
        public var board: String?
        public var role: Role?
        /// One of these; `nil` for any.
        public var statuses: Set<AgentStatus>?
        public var hasStaleTemplates: Bool?

        public init() {}
    }

    /// Whose events.
    public enum HistorySubject: Hashable, Sendable {
        case everybody
        case gateway(String)
        case agent(AgentAddress)
    }

    case get(AgentAddress)
    case list(AgentFilter, after: AgentAddress?, limit: Int)
    case history(HistorySubject, since: Timestamp?, before: Int64?, limit: Int)
    case summary(gateway: String?)
    case listGateways
}

extension Command {
    /// A command from its verb and its request. Collects everything that is wrong before it refuses.
    public static func parse(_ verb: Verb, _ payload: [UInt8]) throws(Problem) -> Command {
        var reader = try MemberReader(payload)
        let command: Command?
        switch verb {
        case .provision: command = reader.provisionRequest().map(Command.provision)
        case .update: command = reader.provisionRequest().map(Command.update)
        case .wake: command = reader.requiredAgent().map(Command.wake)
        case .delete: command = reader.requiredAgent().map(Command.delete)
        case .rotateToken: command = reader.rotation()
        case .pause:
            let until = reader.timestamp("until")
            command = reader.pauseTarget().map { .pause($0, until: until) }
        case .resume: command = reader.pauseTarget().map(Command.resume)
        case .addGateway:
            let policy = reader.policy()
            command = reader.requiredIdentifier("gateway").map { .addGateway($0, policy: policy) }
        case .removeGateway:
            let force = reader.bool("force") ?? false
            command = reader.requiredIdentifier("gateway").map { .removeGateway($0, force: force) }
        case .syncTemplates: command = try reader.templatesSync().map { .syncTemplates($0, after: nil) }
        case .get, .list, .history, .summary, .listGateways: command = nil
        }
        try reader.finish()
        guard let command else { throw Problem(.unavailable, "\(verb.rawValue) is not built yet") }
        return command
    }
}

extension Lookup {
    /// A lookup from its verb and its request; `nil` for a verb that is none.
    public static func parse(_ verb: Verb, _ payload: [UInt8]) throws(Problem) -> Lookup? {
        guard verb.isLookup else { return nil }
        var reader = try MemberReader(payload)
        let lookup: Lookup?
        switch verb {
        case .get: lookup = reader.requiredAgent().map(Lookup.get)
        case .list:
            var filter = AgentFilter()
            filter.gateway = reader.identifier("gateway")
            filter.board = reader.identifier("board")
            filter.role = reader.choice("role")
            filter.statuses = reader.choices("status")
            filter.hasStaleTemplates = reader.bool("stale_templates")
            let after = reader.cursor("after") { AgentAddress($0) }
            lookup = .list(filter, after: after, limit: reader.pageLimit())
        case .history:
            let before = reader.cursor("before") { Int64($0) }
            let since = reader.timestamp("since")
            let limit = reader.pageLimit()
            lookup = reader.historySubject().map { .history($0, since: since, before: before, limit: limit) }
        case .summary: lookup = .summary(gateway: reader.identifier("gateway"))
        case .listGateways: lookup = .listGateways
        default: lookup = nil
        }
        try reader.finish()
        return lookup
    }
}
