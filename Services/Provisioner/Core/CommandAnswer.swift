internal import API
internal import Model

// The bodies of answers; each member is always there, absent is `null`.

/// `{record}` of `update`, `wake` and `delete`.
struct RecordAnswer: Encodable {
    let record: AgentRecord
}

/// `{record, token}` of `provision` and of `rotate-token` for an agent.
struct RecordTokenAnswer: Encodable {
    let record: AgentRecord
    let token: String?

    enum CodingKeys: String, CodingKey { case record, token }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(record, forKey: .record)
        try container.encode(token, forKey: .token)
    }
}

/// `{gateway, token}` of `add-gateway` and of `rotate-token` for a gateway.
struct GatewayTokenAnswer: Encodable {
    let gateway: String
    let token: String?

    enum CodingKeys: String, CodingKey { case gateway, token }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(gateway, forKey: .gateway)
        try container.encode(token, forKey: .token)
    }
}

/// `{gateway, deleted_agents}` of `remove-gateway`.
struct GatewayRemovedAnswer: Encodable {
    let gateway: String
    let deletedAgents: Int

    enum CodingKeys: String, CodingKey {
        case gateway
        case deletedAgents = "deleted_agents"
    }
}

/// `{paused}` of `pause` and `resume`.
struct PausedAnswer: Encodable {
    let paused: Int
}

/// `{gateway, agents_updated, agents_skipped, main_updated, errors}` of `sync-templates`.
struct SyncAnswer: Encodable {
    struct Failure: Encodable {
        let agent: AgentAddress
        let message: String
    }

    let gateway: String
    /// Leads and workers that are to run other templates now, or whose sessions or edited files are replaced.
    var agentsUpdated = 0
    /// Leads and workers that were to run these already.
    var agentsSkipped = 0
    var mainUpdated = false
    var errors: [Failure] = []

    enum CodingKeys: String, CodingKey {
        case gateway, errors
        case agentsUpdated = "agents_updated"
        case agentsSkipped = "agents_skipped"
        case mainUpdated = "main_updated"
    }
}

extension Command {
    /// Whose new token it may need.
    var mayMintFor: String? {
        switch self {
        case .provision(let request): request.agent.description
        case .rotateAgentToken(let agent, _): agent.description
        case .addGateway(let gateway, _), .rotateGatewayToken(let gateway, _): gateway
        case .update, .wake, .delete, .pause, .resume, .removeGateway, .syncTemplates, .syncAgent: nil
        }
    }

    /// The names of the variables that it sets or removes.
    var variableNames: some Sequence<String> {
        switch self {
        case .provision(let request), .update(let request): request.variables.keys
        case .wake, .delete, .rotateAgentToken, .rotateGatewayToken, .pause, .resume, .addGateway, .removeGateway,
            .syncTemplates, .syncAgent:
            [String: String?]().keys
        }
    }

    /// The agent whose token is rotated.
    var mintedAgent: AgentAddress? {
        if case .rotateAgentToken(let agent, _) = self { agent } else { nil }
    }

    /// The agent whose files may have to be rendered.
    var renderedAgent: AgentAddress? {
        switch self {
        case .provision(let request), .update(let request): request.agent
        case .wake(let agent), .syncAgent(let agent, _): agent
        case .delete, .rotateAgentToken, .rotateGatewayToken, .pause, .resume, .addGateway, .removeGateway,
            .syncTemplates:
            nil
        }
    }
}
