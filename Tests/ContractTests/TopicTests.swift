import API
import Model
import Testing
import Wire

@Suite struct TopicTests {
    private let topics = Topics()
    private let agent = AgentAddress("gw-1/agent-1")!

    @Test func everyTopic() throws {
        var lines: [String] = ["# agents"]
        lines += [topics.heartbeat(agent), topics.wake(agent), topics.files(agent), topics.credentials(agent)]
        lines.append(topics.status(agent))
        lines += LifecycleEvent.allCases.map { topics.lifecycle(agent, $0) }
        lines += ["# gateways", topics.gatewayStatus("gw-1"), topics.gatewayHeartbeats("gw-1")]
        lines += GatewayEvent.allCases.map { topics.gatewayLifecycle("gw-1", $0) }
        lines.append("# commands")
        lines += Verb.allCases.map { topics.command($0.rawValue) }
        lines += ["# answers", topics.replies(to: "op:anna"), topics.replies(to: agent.description)]
        lines.append("# services")
        lines += ServiceName.allCases.map { topics.presence(service: $0.rawValue, instance: "i1") }
        lines += [
            "# filters", topics.allHeartbeats, topics.allGatewayHeartbeats, topics.allGatewayStatus,
            topics.allAgentStatus, topics.allCommands, topics.allPresence, topics.allFiles, topics.allCredentials,
            topics.allLifecycle(), topics.allLifecycle(gateway: "gw-1"), topics.allGatewayLifecycle(),
            topics.allGatewayLifecycle(gateway: "gw-1"), topics.shared(topics.allHeartbeats, by: "heartbeat-ingest"),
        ]
        try expectGolden(lines.joined(separator: "\n"), "topics.txt")
    }

    /// At most eight levels, so that other brokers take them too.
    @Test func noTopicIsDeeperThanBrokersAllow() {
        let deep = Topics(root: "a/b")
        let all = [
            deep.lifecycle(agent, .woken), deep.replies(to: agent.description) + "/1",
            deep.acknowledgements(service: "status-store", instance: "i"), deep.stream(to: .partition(15)),
            deep.shared(deep.allHeartbeats, by: "heartbeat-ingest"),
        ]
        for topic in all { #expect(topic.split(separator: "/").count <= 8, "\(topic)") }
    }

    @Test func anAgentIsReadFromItsTopic() {
        #expect(topics.agent(of: "rollcall/v1/agents/gw-1/agent-1/heartbeat") == agent)
        #expect(topics.agent(of: "rollcall/v1/agents/gw-1/agent-1/lifecycle/online") == agent)
        #expect(topics.gateway(of: "rollcall/v1/gateways/gw-1/heartbeats") == "gw-1")
    }

    @Test(arguments: [
        "", "rollcall/v1", "rollcall/v1/agents/gw-1/agent-1", "rollcall/v2/agents/gw-1/agent-1/heartbeat",
        "rollcall/v1x/agents/gw-1/agent-1/heartbeat", "rollcall/v1/agents/gw 1/a/heartbeat",
        "rollcall/v1/gateways/gw-1/heartbeats", "x/rollcall/v1/agents/gw-1/a/heartbeat",
        "rollcall/v1/agents//a/heartbeat",
    ])
    func fromNoOtherTopicAnAgentIsRead(topic: String) {
        #expect(topics.agent(of: topic) == nil)
    }

    @Test(arguments: ["rollcall/v1", "r", "a/b", "x-y_z.1"])
    func theseAreRoots(root: String) {
        #expect(Topics.isValidRoot(root))
        #expect(Topics(root: root).agent(of: Topics(root: root).wake(agent)) == agent)
    }

    @Test(arguments: [
        "", "/", "a/", "/a", "a//b", "a/b/c", "+", "a/#", "$SYS", "a b", "ä", String(repeating: "x", count: 64),
    ])
    func theseAreNot(root: String) {
        #expect(!Topics.isValidRoot(root))
    }
}
