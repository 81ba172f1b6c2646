import API
import Model
import ProvisionerCore
import Testing
import Wire

/// `sync-templates`: the templates are read, the owner names the agents, each of them is a request.
@Suite struct TemplatesSyncTests {
    private var handler = CommandHandler(
        instance: "1", topics: Topics(), files: testFiles(), sha256: { "sha(\(String(decoding: $0, as: UTF8.self)))" })

    private mutating func handle(_ event: CommandHandler.Event, at seconds: Int64 = 0) -> [CommandHandler.Directive] {
        var directives: [CommandHandler.Directive] = []
        handler.handle(event, now: Instant(nanoseconds: seconds * 1_000_000_000), into: &directives)
        return directives
    }

    private mutating func ask(_ payload: String = #"{"gateway":"gw"}"#, key: String? = nil) -> [CommandHandler
        .Directive]
    {
        _ = handle(.partitionsAnnounced(4))
        return handle(.commandReceived(arrival("sync-templates", payload, key: key, to: "op:eve/x", id: "r1")))
    }

    private mutating func answer(
        _ id: String, _ outcome: CommandOutcome, at seconds: Int64 = 0
    ) -> [CommandHandler.Directive] {
        handle(.answered(requestID: id, outcome: outcome, mintedToken: nil), at: seconds)
    }

    private static func templates(_ text: String) throws -> TemplateSet {
        try TemplateSet(root: "t", files: ["main/M.md": text, "lead/L.md": text, "worker/X.md": text])
    }

    private static func inputs(_ role: Role, _ variables: [String: String] = [:]) -> RenderInputs {
        RenderInputs(role: role, board: role.needsBoard ? "b" : nil, variables: variables)
    }

    @Test mutating func templatesAreReadBeforeTheOwnerIsAskedForNames() throws {
        #expect(ask() == [.readTemplates])
        let asked = requests(handle(.templatesRead(try Self.templates("new {{agent}}"))))
        #expect(asked.map(\.id) == ["r1"])
        #expect(asked.map(\.command) == [.syncTemplates(TemplatesSync(gateway: "gw"), after: nil)])
        #expect(requests(handle(.templatesRead(try Self.templates("newer")))) == [], "once")
    }

    @Test mutating func eachAgentIsRenderedFromWhatItsOwnerKnowsAndCounted() throws {
        _ = ask()
        _ = handle(.templatesRead(try Self.templates("new {{agent}}")))
        let members = requests(answer("r1", .members(["a", "b", "m"])))
        #expect(members.map(\.id) == ["r1:a", "r1:b", "r1:m"])
        #expect(members.allSatisfy { $0.rendered == nil && !$0.isKeyed })
        #expect(requests(answer("r1", .members(["a", "b", "m"]))) == [], "a repeat names nobody again")
        let rendered = requests(answer("r1:a", .render(Self.inputs(.worker))))
        #expect(rendered.map(\.rendered?.digest) == ["new gw/a"])
        let told = TemplatesMessage(
            agent: AgentAddress("gw/a")!, templatesDigest: "new gw/a", overwrite: false, resetSession: false)
        #expect(answer("r1:a", .templatesSynced(.worker, isChanged: true)) == [.tellTemplates(told)])
        #expect(answer("r1:b", .templatesSynced(.lead, isChanged: false)) == [])
        let next = requests(answer("r1:m", .templatesSynced(.main, isChanged: true)))
        #expect(next.map(\.command) == [.syncTemplates(TemplatesSync(gateway: "gw"), after: "m")])
        #expect(
            replies(answer("r1", .members([]))) == [
                #"op:eve/x {"agents_skipped":1,"agents_updated":1,"errors":[],"gateway":"gw","main_updated":true}"#
            ])
        #expect(handler.pendingCount == 0)
    }

    @Test mutating func oneAgentsErrorStopsNoOther() throws {
        _ = ask()
        _ = handle(.templatesRead(try Self.templates("line\n{{owner}}")))
        _ = answer("r1", .members(["a", "b", "c", "d"]))
        _ = answer("r1:a", .render(Self.inputs(.worker)))
        _ = answer("r1:b", .render(Self.inputs(.worker, ["owner": "eve"])))
        _ = answer("r1:b", .templatesSynced(.worker, isChanged: true))
        _ = answer("r1:c", .refused(Problem.unknownAgent(AgentAddress("gw/c")!)))
        _ = answer("r1:d", .refused(Problem(.conflict, "gw/d is being deleted")))
        let errors =
            #"[{"agent":"gw/a","message":"t/worker/X.md:2: unknown variable 'owner'"},"#
            + #"{"agent":"gw/d","message":"gw/d is being deleted"}]"#
        #expect(
            replies(answer("r1", .members([]))) == [
                "op:eve/x {\"agents_skipped\":0,\"agents_updated\":1,\"errors\":\(errors),\"gateway\":\"gw\","
                    + "\"main_updated\":false}"
            ])
    }

    @Test mutating func unreadableTemplatesRefuseItAndChangeNothing() {
        _ = ask()
        let refused = handle(.templatesUnreadable("t/main/M.md:3: unknown directive '!x': only '!preserve' is known"))
        #expect(problems(refused).map(\.type) == [.invalidRequest])
        #expect(problems(refused).map(\.detail) == ["t/main/M.md:3: unknown directive '!x': only '!preserve' is known"])
        #expect(requests(refused) == [] && handler.pendingCount == 0)
    }

    @Test mutating func anAgentWithoutAnAnswerIsAnErrorAndWhoWaitsWaitsLonger() throws {
        _ = ask()
        _ = handle(.templatesRead(try Self.templates("new")))
        _ = handle(.answered(requestID: "r1", outcome: .members(["a", "b"]), mintedToken: nil), at: 10)
        _ = answer("r1:b", .templatesSynced(.worker, isChanged: true), at: 20)
        #expect(requests(handle(.timePassed, at: 26)).map(\.id) == ["r1"], "a is given up, the next are asked for")
        let text = replies(answer("r1", .members([]), at: 27)).joined()
        #expect(text.contains(#""agents_updated":1"#) && text.contains(#"{"agent":"gw/a","message":"the owner"#))
    }

    /// A provisioner that stood still lost answers, and ended with errors of agents that were synced.
    @Test mutating func whatIsNotAnsweredIsAskedAgain() throws {
        _ = ask()
        _ = handle(.templatesRead(try Self.templates("new")))
        #expect(requests(handle(.timePassed, at: 3)).map(\.id) == ["r1"], "the names")
        _ = handle(.answered(requestID: "r1", outcome: .members(["a", "b"]), mintedToken: nil), at: 4)
        #expect(requests(handle(.timePassed, at: 6)) == [])
        _ = answer("r1:a", .templatesSynced(.worker, isChanged: true), at: 6)
        #expect(requests(handle(.timePassed, at: 7)).map(\.id) == ["r1:b"])
        _ = answer("r1:b", .templatesSynced(.worker, isChanged: true), at: 8)
        #expect(requests(handle(.timePassed, at: 10)) == [])
        #expect(requests(handle(.timePassed, at: 11)).map(\.id) == ["r1"])
    }

    @Test mutating func withAKeyEachAgentsRequestHasAKeyOfItsOwn() throws {
        guard case .claim(let claim)? = ask(key: "k").first else { throw NoClaim() }
        #expect(handle(.templatesRead(try Self.templates("new"))) == [], "not before the key is claimed")
        #expect(handle(.claimed(requestID: claim.requestID, digest: claim.digest)) == [.readTemplates])
        let asked = requests(handle(.templatesRead(try Self.templates("new"))))
        let members = requests(answer(try #require(asked.first).id, .members(["a"])))
        #expect(members.map(\.id) == ["\(claim.requestID):a"] && members.allSatisfy(\.isKeyed))
    }

    @Test mutating func allAgentsOfAGatewayAreOneAskersAndPaced() throws {
        _ = ask()
        _ = handle(.templatesRead(try Self.templates("new")))
        let names = (100..<200).map { "a\($0)" }
        var sent = requests(answer("r1", .members(names))).map(\.id)
        #expect(sent.count == CommandHandler.forwardedMax)
        var settled = 0
        while settled < sent.count {
            sent += requests(answer(sent[settled], .templatesSynced(.worker, isChanged: true))).map(\.id)
            settled += 1
        }
        #expect(sent == names.map { "r1:\($0)" } + ["r1"])
    }

    private struct NoClaim: Error {}
}
