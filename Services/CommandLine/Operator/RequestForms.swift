internal import API

/// The request of each operator verb (contract §8).
extension RequestForm {
    private static let address = Positional.required("agent", placeholder: "ADDRESS")
    private static let gateway = Positional.required("gateway", placeholder: "GW")
    private static let board = Member.text("board", "BOARD", "the board of a lead or a worker")
    private static let role = Member.text("role", "main|lead|worker", "what the agent is for")

    static let addGateway = RequestForm(verb: .addGateway, positional: gateway, hasPolicy: true, canUnset: true)
    static let removeGateway = RequestForm(
        verb: .removeGateway, positional: gateway, members: [.flag("force", yes: "with all its agents")])
    static let gateways = RequestForm(verb: .listGateways)
    static let provision = RequestForm(
        verb: .provision, positional: address,
        members: [role, board, .flag("wake", no: "only make the record: it stays offline")], hasPolicy: true,
        hasVariables: true)
    static let update = RequestForm(
        verb: .update, positional: address,
        members: [role, board, .flag("wake", no: "only change the record: no cycle")], hasPolicy: true,
        hasVariables: true, canUnset: true)
    static let wake = RequestForm(verb: .wake, positional: address)
    static let delete = RequestForm(verb: .delete, positional: address)
    static let rotateToken = RequestForm(
        verb: .rotateToken, positional: .agentOrGateway,
        members: [
            .text("gateway", "GW", "the gateway, instead of GW"),
            .flag("now", yes: "end the old token within 1 s, not when the new one is first used"),
        ])
    private static let pauseTargets: [Member] = [
        .text("gateway", "GW", "all agents of a gateway"), .text("board", "BOARD", "all agents of a board"),
    ]
    private static let optionalAddress = Positional.optional("agent", placeholder: "ADDRESS")
    static let pause = RequestForm(
        verb: .pause, positional: optionalAddress,
        members: pauseTargets + [.text("until", "TIME", "when it ends by itself (RFC 3339, as 2026-01-31T09:05:07Z)")])
    static let resume = RequestForm(verb: .resume, positional: optionalAddress, members: pauseTargets)
    static let syncTemplates = RequestForm(
        verb: .syncTemplates, positional: gateway,
        members: [
            .text("board", "BOARD", "only this board's agents"),
            .flag("include_main", no: "leave the gateway's main agent out"),
            .flag("lead_only", yes: "only leads"),
            .flag("reset_sessions", yes: "let agents begin a new session"),
            .flag("rotate_tokens", yes: "mint new tokens"),
            .flag("overwrite", yes: "also files that agents change"),
            .flag("wake", yes: "wake the agents whose templates changed", no: "wake nobody"),
        ])
    static let get = RequestForm(verb: .get, positional: address)
    static let agents = RequestForm(
        verb: .list,
        members: [
            .text("gateway", "GW", "only of this gateway"), .text("board", "BOARD", "only of this board"),
            .text("role", "main|lead|worker", "only of this role"),
            .list(
                "status", "STATUS[,STATUS]",
                "only of these statuses: provisioning, updating, online, offline, deleting"),
            .flag("stale_templates", yes: "only those that run other templates than wanted"),
            .text("after", "NEXT", "go on behind the 'next' of an earlier answer"),
            .integer("limit", "at most N, in one answer (default: all, in as many as it takes)"),
        ])
    static let history = RequestForm(
        verb: .history, positional: .filter("agent", placeholder: "ADDRESS"),
        members: [
            .text("gateway", "GW", "of all agents of a gateway"),
            .text("since", "TIME", "from then on (RFC 3339, as 2026-01-31T09:05:07Z)"),
            .text("before", "NEXT", "go on behind the 'next' of an earlier answer"),
            .integer("limit", "at most N events (default 100)"),
        ])
    static let summary = RequestForm(
        verb: .summary, members: [.text("gateway", "GW", "count only this gateway's agents")])
}
