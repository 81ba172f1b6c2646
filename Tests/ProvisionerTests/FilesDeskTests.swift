import Contract
import Lifecycle
import ProvisionerCore
import Testing

/// Questions for an agent's files.
@Suite struct FilesDeskTests {
    private var desk = FilesDesk(files: testFiles())
    private let agent = AgentAddress(gateway: "gw", agent: "a1")!

    private mutating func handle(_ event: FilesDesk.Event, at seconds: Int64 = 0) -> [FilesDesk.Directive] {
        var directives: [FilesDesk.Directive] = []
        desk.handle(event, now: Instant(nanoseconds: seconds * 1_000_000_000), into: &directives)
        return directives
    }

    private mutating func ask() throws {
        let reply = try #require(address("gw/x"))
        #expect(handle(.filesRequested(agent, reply, questionID: "q")) == [.ask(questionID: "q", agent)])
    }

    private func answer(_ directives: [FilesDesk.Directive]) throws -> Reply {
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
        #expect(problem.type == .unavailable && desk.pendingCount == 0)
    }
}
