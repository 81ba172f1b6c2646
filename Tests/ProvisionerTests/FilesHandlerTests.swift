import API
import Model
import ProvisionerCore
import Testing

/// Questions for an agent's files.
@Suite struct FilesHandlerTests {
    private var handler = FilesHandler(files: testFiles(), topics: Topics())
    private let agent = AgentAddress(gateway: "gw", agent: "a1")!

    private mutating func handle(_ event: FilesHandler.Event, at seconds: Int64 = 0) -> [FilesHandler.Directive] {
        var directives: [FilesHandler.Directive] = []
        handler.handle(event, now: Instant(nanoseconds: seconds * 1_000_000_000), into: &directives)
        return directives
    }

    private mutating func ask() throws {
        let reply = try #require(address("gw/x"))
        #expect(handle(.filesRequested(agent, reply, questionID: "q")) == [.ask(questionID: "q", agent)])
    }

    private func answer(_ directives: [FilesHandler.Directive]) throws -> Reply {
        guard directives.count == 1, case .answer(let reply) = directives[0] else { throw Missing() }
        return reply
    }

    private struct Missing: Error {}

    @Test mutating func filesAreRenderedFromTheRecord() throws {
        try ask()
        var record = testRecord(agent)
        record.variables = ["owner": "eve"]
        let reply = try answer(handle(.recordFound(questionID: "q", record)))
        #expect(
            try JSON.decode(FilesAnswer.self, from: reply.payload)
                == FilesAnswer(
                    templatesDigest: "gw/a1 eve", files: [.init(name: "X.md", content: "gw/a1 eve", preserve: false)]))
        #expect(reply.address.topic == "rollcall/v1/replies/gw/x" && reply.address.correlation == [1, 2])
        #expect(handle(.recordFound(questionID: "q", record)) == [])
    }

    @Test mutating func eachAskerHasSoManyUnderWayAndNobodyElseWaits() throws {
        let own = try #require(address("gw/a1/x"))
        for number in 0..<16 {
            #expect(
                handle(.filesRequested(agent, own, questionID: "\(number)")) == [.ask(questionID: "\(number)", agent)])
        }
        let refused = try answer(handle(.filesRequested(agent, own, questionID: "more")))
        #expect(try JSON.decode(Problem.self, from: refused.payload).type == .tooManyRequests)
        // The gateway has one more for each agent, of which the store has sixteen at a time.
        let reply = try #require(address("gw/-/x"))
        for number in 0..<30 {
            let other = try #require(AgentAddress("gw/b\(number)"))
            #expect(handle(.filesRequested(other, reply, questionID: "b\(number)")).count == (number < 16 ? 1 : 0))
        }
        let known = try #require(AgentAddress("gw/b0"))
        let again = try answer(handle(.filesRequested(known, reply, questionID: "again")))
        #expect(try JSON.decode(Problem.self, from: again.payload).status == 429)
        let next = handle(.recordFound(questionID: "b3", nil))
        #expect(next.last == .ask(questionID: "b16", try #require(AgentAddress("gw/b16"))))
        #expect(handle(.timePassed, at: 15).count == 16 + 29)
        #expect(handler.pendingCount == 0)
        #expect(handle(.filesRequested(agent, own, questionID: "later"), at: 16).count == 1)
    }

    @Test mutating func anUnknownAgentIsAProblem() throws {
        try ask()
        let reply = try answer(handle(.recordFound(questionID: "q", nil)))
        #expect(try JSON.decode(Problem.self, from: reply.payload) == .unknownAgent(agent))
    }

    @Test mutating func filesThatCannotBeRenderedAreAProblem() throws {
        try ask()
        let problem = try JSON.decode(
            Problem.self, from: answer(handle(.recordFound(questionID: "q", testRecord(agent)))).payload)
        #expect(problem.type == .unavailable && problem.detail.contains("t/worker/X.md:1: unknown variable 'owner'"))
    }

    @Test mutating func aStoreThatDoesNotAnswerIsUnavailable() throws {
        try ask()
        #expect(handle(.timePassed, at: 14) == [])
        let problem = try JSON.decode(Problem.self, from: answer(handle(.timePassed, at: 15)).payload)
        #expect(problem.type == .unavailable && handler.pendingCount == 0)
    }
}
