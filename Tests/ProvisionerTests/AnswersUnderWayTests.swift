import API
import Model
import ProvisionerCore
import Testing

/// Answers that the broker has not acknowledged.
struct AnswersUnderWayTests {
    private var core = ProvisionerCore(
        topics: Topics(), instance: "p", incarnation: "i", files: testFiles()
    ) { String(decoding: $0, as: UTF8.self) }

    private mutating func handle(_ input: ProvisionerInput) -> [ProvisionerAction] {
        var actions: [ProvisionerAction] = []
        core.handle(
            input, now: Instant(nanoseconds: 1), wallTime: Timestamp(millisecondsSince1970: 1_700_000_000_000),
            into: &actions)
        return actions
    }

    /// What comes of a command: the kinds of the problems that are answered, and how much is forwarded.
    private mutating func ask(_ verb: String, _ asker: String, _ id: String) -> (problems: [Problem.Kind], sent: Int) {
        let actions = handle(
            .requestReceived(
                ProvisionerRequest(
                    topic: "rollcall/v1/commands/\(verb)", payload: Array(#"{"agent":"gw/a"}"#.utf8), isRetained: false,
                    responseTopic: "rollcall/v1/replies/\(asker)/y", correlation: nil, idempotencyKey: nil,
                    traceparent: nil, fresh: fresh(id))))
        let problems = actions.compactMap { action -> Problem.Kind? in
            guard case .answer(let reply) = action else { return nil }
            return try? JSON.decode(Problem.self, from: reply.payload).type
        }
        return (problems, actions.count { if case .send = $0 { true } else { false } })
    }

    @Test mutating func whoLeavesThemGetsNoMore() throws {
        _ = handle(.connected)
        var presence = Presence(
            service: .statusStore, instance: "1", state: .running, startedAt: Timestamp(millisecondsSince1970: 0),
            configDigest: "", incarnation: "s")
        presence.partitionCount = 1
        _ = handle(.presenceReceived(presence))
        let large = Problem(.tooLarge, String(repeating: "x", count: Limits.answerBytesUnderWayMax))
        _ = handle(.answerHandedOver(Reply(try #require(address("op:eve/x")), large), ticket: 7))
        #expect(ask("wake", "op:eve", "1") == ([.tooManyRequests], 0))
        #expect(ask("list", "op:eve", "2") == ([], 0), "lookups are the store's")
        #expect(ask("wake", "op:bob", "3") == ([], 1))
        _ = handle(.acknowledged(ticket: 7, reason: 0))
        #expect(ask("wake", "op:eve", "4") == ([], 1))
    }
}
