import API
import Model
import Testing

/// Every command and every lookup: what is taken, and that a refusal names each member that is wrong.
@Suite struct CommandTests {
    struct Bad: Sendable, CustomTestStringConvertible {
        let verb: Verb
        let request: String
        let members: [String]

        init(_ verb: Verb, _ request: String, _ members: String...) {
            self.verb = verb
            self.request = request
            self.members = members
        }

        var testDescription: String { "\(verb.rawValue) \(request)" }
    }

    static let bad: [Bad] = [
        // The request as a whole.
        Bad(.provision, "", "agent"), Bad(.wake, "nonsense", ""), Bad(.wake, "[]", ""), Bad(.wake, "\"gw/a\"", ""),
        Bad(.wake, "null", ""), Bad(.wake, "{\"agent\":", ""), Bad(.wake, "{\"agent\": \"gw/a\"} x", ""),
        // agent
        Bad(.provision, "{}", "agent"), Bad(.wake, "{\"agent\": null}", "agent"), Bad(.wake, "{\"agent\": 7}", "agent"),
        Bad(.wake, "{\"agent\": \"gw\"}", "agent"), Bad(.delete, "{\"agent\": \"gw/a/b\"}", "agent"),
        Bad(.delete, "{\"agent\": \"gw/a b\"}", "agent"), Bad(.get, "{}", "agent"),
        Bad(.history, "{\"agent\": 1}", "agent"),
        // Unknown members, alone and with others.
        Bad(.wake, "{\"agent\": \"gw/a\", \"force\": true}", "force"),
        Bad(.wake, "{\"agent\": \"gw\", \"b\": 1, \"a\": 2}", "agent", "a", "b"),
        Bad(.listGateways, "{\"gateway\": \"gw\"}", "gateway"), Bad(.summary, "{\"agent\": \"gw/a\"}", "agent"),
        // provision and update
        Bad(.provision, "{\"agent\": \"gw/a\", \"role\": \"boss\"}", "role"),
        Bad(.provision, "{\"agent\": \"gw/a\", \"role\": 1}", "role"),
        Bad(.provision, "{\"agent\": \"gw/a\", \"board\": \"-b\"}", "board"),
        Bad(.provision, "{\"agent\": \"gw/a\", \"wake\": \"yes\"}", "wake"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": []}", "policy"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"speed\": 1}}", "policy.speed"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"checkin_deadline\": \"1w\"}}", "policy.checkin_deadline"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"checkin_deadline\": 30}}", "policy.checkin_deadline"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"checkin_deadline\": \"99ms\"}}", "policy.checkin_deadline"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"max_wake_attempts\": \"3\"}}", "policy.max_wake_attempts"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"max_wake_attempts\": 0}}", "policy.max_wake_attempts"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"max_wake_attempts\": 101}}", "policy.max_wake_attempts"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"max_wake_attempts\": 1.5}}", "policy.max_wake_attempts"),
        Bad(.update, "{\"agent\": \"gw/a\", \"policy\": {\"on_lapse\": \"sleep\"}}", "policy.on_lapse"),
        Bad(
            .update, "{\"agent\": \"gw/a\", \"policy\": {\"wake_rate\": \"50\", \"lost_grace\": true}}",
            "policy.lost_grace", "policy.wake_rate"),
        Bad(.update, "{\"agent\": \"gw/a\", \"variables\": 1}", "variables"),
        Bad(.update, "{\"agent\": \"gw/a\", \"variables\": {\"A B\": \"x\"}}", "variables.A B"),
        Bad(.update, "{\"agent\": \"gw/a\", \"variables\": {\"\": \"x\"}}", "variables."),
        Bad(.update, "{\"agent\": \"gw/a\", \"variables\": {\"A\": 1}}", "variables.A"),
        Bad(
            .update,
            "{\"role\": 1, \"board\": 2, \"policy\": 3, \"variables\": 4, \"wake\": 5, \"agent\": 6, \"x\": 7}",
            "role", "board", "policy", "variables", "wake", "agent", "x"),
        // tokens, pause, gateways
        Bad(.rotateToken, "{}", "agent"),
        Bad(.rotateToken, "{\"agent\": \"gw/a\", \"gateway\": \"gw\"}", "agent"),
        Bad(.rotateToken, "{\"gateway\": \"g/w\"}", "gateway"),
        Bad(.rotateToken, "{\"gateway\": \"gw\", \"now\": 1}", "now"),
        Bad(.pause, "{}", "agent"), Bad(.pause, "{\"gateway\": \"gw\", \"board\": \"b\"}", "gateway"),
        Bad(.pause, "{\"agent\": \"gw\"}", "agent"), Bad(.pause, "{\"board\": \"\"}", "board"),
        Bad(.pause, "{\"gateway\": \"gw\", \"until\": \"tomorrow\"}", "until"),
        Bad(.pause, "{\"gateway\": \"gw\", \"until\": 1769850307}", "until"),
        Bad(.resume, "{\"gateway\": \"gw\", \"until\": \"2026-01-31T09:05:07Z\"}", "until"),
        Bad(.addGateway, "{}", "gateway"), Bad(.addGateway, "{\"gateway\": \"gw\", \"force\": true}", "force"),
        Bad(.addGateway, "{\"gateway\": \"op:x\"}", "gateway"),
        Bad(.removeGateway, "{\"gateway\": \"gw\", \"force\": \"true\"}", "force"),
        // lookups
        Bad(.list, "{\"limit\": 0}", "limit"), Bad(.list, "{\"limit\": 1001}", "limit"),
        Bad(.list, "{\"limit\": \"10\"}", "limit"), Bad(.list, "{\"status\": \"gone\"}", "status"),
        Bad(.list, "{\"after\": \"nonsense\"}", "after"), Bad(.list, "{\"stale_templates\": 1}", "stale_templates"),
        Bad(.history, "{\"agent\": \"gw/a\", \"before\": \"x\"}", "before"),
        Bad(.summary, "{\"gateway\": \"g w\"}", "gateway"),
    ]

    @Test(arguments: bad)
    func aRefusalNamesEveryMemberThatIsWrong(bad: Bad) throws {
        let problem = #expect(throws: Problem.self) { try parse(bad.verb, bad.request) }
        #expect(problem?.type == .invalidRequest)
        #expect(problem?.status == 422)
        #expect(problem?.errors.map(\.member) == bad.members)
        #expect(problem?.errors.allSatisfy { !$0.detail.isEmpty } == true)
    }

    private func parse(_ verb: Verb, _ request: String) throws {
        if try Lookup.parse(verb, Array(request.utf8)) == nil { _ = try Command.parse(verb, Array(request.utf8)) }
    }

    private func command(_ verb: Verb, _ request: String) throws -> Command {
        try Command.parse(verb, Array(request.utf8))
    }

    @Test func aRequestThatIsTooLargeIsTooLarge() {
        let request = "{\"agent\": \"gw/a\"" + String(repeating: " ", count: 65_536) + "}"
        let problem = #expect(throws: Problem.self) { try parse(.wake, request) }
        #expect(problem?.type == .tooLarge)
        #expect(problem?.status == 413)
        let fits = "{\"agent\": \"gw/a\"" + String(repeating: " ", count: 65_536 - 17) + "}"
        #expect(throws: Never.self) { try parse(.wake, fits) }
    }

    // MARK: What is taken

    @Test func provisionTakesAllItsMembers() throws {
        let request = """
            {"agent": "gw/a", "role": "lead", "board": "b1", "wake": false,
             "policy": {"checkin_deadline": "5s", "max_wake_attempts": 2, "heartbeat_rate": 0, "lost_grace": null},
             "variables": {"A.b-C_1": "x", "gone": null}}
            """
        guard case .provision(let change) = try command(.provision, request) else {
            Issue.record("no provision")
            return
        }
        #expect(change.agent == AgentAddress("gw/a"))
        #expect(change.role == .lead)
        #expect(change.board == "b1")
        #expect(!change.wake)
        #expect(
            change.policy.settings == [
                .checkinDeadline: "5s", .maxWakeAttempts: "2", .heartbeatRate: "0", .lostGrace: nil,
            ])
        #expect(change.variables == ["A.b-C_1": "x", "gone": nil])
    }

    @Test func absentAndNullMembersHaveTheirDefaults() throws {
        let agent = try #require(AgentAddress("gw/a"))
        let plain = ProvisionRequest(agent: agent, role: nil, board: nil)
        #expect(plain.wake)
        #expect(try command(.provision, #"{"agent": "gw/a"}"#) == .provision(plain))
        #expect(
            try command(.update, #"{"agent": "gw/a", "role": null, "policy": null, "variables": null, "wake": null}"#)
                == .update(plain))
        #expect(try command(.rotateToken, #"{"agent": "gw/a"}"#) == .rotateAgentToken(agent, now: false))
        #expect(
            try command(.rotateToken, #"{"gateway": "gw", "agent": null, "now": true}"#)
                == .rotateGatewayToken("gw", now: true))
        #expect(try command(.removeGateway, #"{"gateway": "gw"}"#) == .removeGateway("gw", force: false))
        #expect(
            try command(.syncTemplates, #"{"gateway": "gw", "wake": false}"#)
                == .syncTemplates(TemplatesSync(gateway: "gw"), after: nil))
        #expect(try command(.addGateway, #"{"gateway": "gw"}"#) == .addGateway("gw", policy: PolicyPatch()))
        #expect(try command(.wake, #"{"agent": "gw/a"}"#) == .wake(agent))
        #expect(try command(.delete, #"{"agent": "gw/a"}"#) == .delete(agent))
    }

    @Test func pausesHaveOneTarget() throws {
        let until = try #require(Timestamp("2026-01-31T09:05:07.000Z"))
        #expect(
            try command(.pause, #"{"board": "b1", "until": "2026-01-31T10:05:07+01:00"}"#)
                == .pause(.board("b1"), until: until))
        #expect(try command(.pause, #"{"gateway": "gw"}"#) == .pause(.gateway("gw"), until: nil))
        let agent = try #require(AgentAddress("gw/a"))
        #expect(try command(.resume, #"{"agent": "gw/a"}"#) == .resume(.agent(agent)))
    }

    @Test func lookupsTakeTheirMembers() throws {
        func lookup(_ verb: Verb, _ request: String) throws -> Lookup? { try Lookup.parse(verb, Array(request.utf8)) }
        let agent = try #require(AgentAddress("gw/a"))
        #expect(try lookup(.get, #"{"agent": "gw/a"}"#) == .get(agent))
        #expect(try lookup(.list, "") == .list(.init(), after: nil, limit: 100))
        var filter = Lookup.AgentFilter()
        filter.gateway = "gw"
        filter.board = "b"
        filter.role = .main
        filter.statuses = [.offline]
        filter.hasStaleTemplates = true
        let all = """
            {"gateway": "gw", "board": "b", "role": "main", "status": "offline", "stale_templates": true, "after": "gw/a",
             "limit": 1000}
            """
        #expect(try lookup(.list, all) == .list(filter, after: agent, limit: 1_000))
        filter = Lookup.AgentFilter()
        filter.statuses = [.offline, .updating]
        #expect(try lookup(.list, #"{"status": ["offline", "updating"]}"#) == .list(filter, after: nil, limit: 100))
        #expect(
            try lookup(.history, #"{"agent": "gw/a", "limit": 1}"#)
                == .history(.agent(agent), since: nil, before: nil, limit: 1))
        #expect(
            try lookup(.history, #"{"gateway": "gw", "before": "7", "since": "2026-01-31T10:05:07+01:00"}"#)
                == .history(.gateway("gw"), since: Timestamp("2026-01-31T09:05:07Z"), before: 7, limit: 100))
        #expect(try lookup(.history, "{}") == .history(.everybody, since: nil, before: nil, limit: 100))
        #expect(try lookup(.summary, "{}") == .summary(gateway: nil))
        #expect(try lookup(.listGateways, "{}") == .listGateways)
        #expect(try lookup(.wake, "{}") == nil)
    }

    @Test(arguments: [
        (Verb.list, #"{"status": []}"#, "status: is an empty list"),
        (.list, #"{"status": ["online", 1]}"#, "status: has an integer in its list, not a string"),
        (.list, #"{"status": ["online", "well"]}"#, "status: 'well' is not one of"),
        (.history, #"{"agent": "gw/a", "gateway": "gw"}"#, "agent: only one of agent and gateway is taken"),
        (.history, #"{"since": "yesterday"}"#, "since: 'yesterday' is not a time"),
    ])
    func lookupsSayWhatIsWrong(verb: Verb, request: String, detail: String) {
        let problem = #expect(throws: Problem.self) { _ = try Lookup.parse(verb, Array(request.utf8)) }
        #expect(problem?.detail.hasPrefix(detail) == true, "\(problem?.detail ?? "")")
    }

    @Test func everyCommandCrossesTheBusUnchanged() throws {
        let requests: [(Verb, String)] = [
            (.provision, #"{"agent": "gw/a", "policy": {"lost_grace": null}, "variables": {"K": null, "L": "x"}}"#),
            (.update, #"{"agent": "gw/a", "role": "main", "wake": false}"#), (.wake, #"{"agent": "gw/a"}"#),
            (.delete, #"{"agent": "gw/a"}"#), (.rotateToken, #"{"gateway": "gw", "now": true}"#),
            (.pause, #"{"board": "b", "until": "2026-01-31T09:05:07.042Z"}"#), (.resume, #"{"gateway": "gw"}"#),
            (.addGateway, #"{"gateway": "gw", "policy": {"wake_rate": "5/s"}}"#),
            (.removeGateway, #"{"gateway": "gw", "force": true}"#),
            (.syncTemplates, #"{"gateway": "gw", "board": "b", "lead_only": true, "overwrite": true}"#),
        ]
        for (verb, request) in requests {
            let command = try command(verb, request)
            #expect(try JSON.decode(Command.self, from: JSON.bytes(command)) == command)
        }
    }
}
