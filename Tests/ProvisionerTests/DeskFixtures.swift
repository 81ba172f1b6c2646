import API
import Model
import ProvisionerCore
import Wire

/// Files whose digest shows the agent and the variable they need.
func testFiles() -> AgentFiles {
    do {
        let templates = try TemplateSet(
            root: "t",
            files: ["main/M.md": "{{agent}}", "lead/L.md": "{{agent}}", "worker/X.md": "{{agent}} {{owner}}"])
        return AgentFiles(templates, topicRoot: Topics.defaultRoot) { $0.map(\.content).joined() }
    } catch {
        preconditionFailure("the templates of the tests are wrong: \(error)")
    }
}

func fresh(_ id: String) -> FreshSecrets {
    FreshSecrets(requestID: id, secret: "secret-\(id)")
}

func address(_ topic: String?) -> ReplyAddress? {
    let prefix = Topics().repliesPrefix
    return ReplyAddress(topic.map { prefix + $0 }, correlation: [1, 2], below: prefix)
}

func arrival(_ verb: String, _ payload: String, key: String?, to topic: String?, id: String) -> CommandArrival {
    CommandArrival(
        verb: verb, payload: Array(payload.utf8), reply: address(topic), idempotencyKey: key, traceparent: nil,
        fresh: fresh(id))
}

func testRecord(_ agent: AgentAddress) -> AgentRecord {
    AgentRecord(
        address: agent, board: "b", role: .worker, status: .online, policy: Policy(),
        createdAt: Timestamp(millisecondsSince1970: 0))
}

func requests(_ directives: [CommandHandler.Directive]) -> [PartitionRequest] {
    directives.compactMap { if case .forward(let request, _) = $0 { request } else { nil } }
}

/// The answers as `topic payload`, the topic below the replies.
func replies(_ directives: [CommandHandler.Directive]) -> [String] {
    directives.compactMap { directive in
        guard case .answer(let reply) = directive else { return nil }
        return
            "\(reply.address.topic.dropFirst(Topics().repliesPrefix.count)) \(String(decoding: reply.payload, as: UTF8.self))"
    }
}

func problems(_ directives: [CommandHandler.Directive]) -> [Problem] {
    directives.compactMap { directive in
        guard case .answer(let reply) = directive, reply.isProblem else { return nil }
        return try? JSON.decode(Problem.self, from: reply.payload)
    }
}
