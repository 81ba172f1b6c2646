import API
import HeartbeatIngestCore
import Model
import Testing
import Wire

@Suite struct HeartbeatTopicsTests {
    private let topics = HeartbeatTopics(Topics())
    private static let longest = String(repeating: "a", count: 63)

    @Test(arguments: [("gw", "a1"), ("A", "0"), ("g.w_1-x", "a.b_c-d"), (longest, longest)])
    func anAgentsTopicNamesIt(gateway: String, agent: String) throws {
        let address = try #require(AgentAddress(gateway: gateway, agent: agent))
        let topic = Topics().heartbeat(address)
        #expect(topics.source(of: topic) == .agent(address: "\(gateway)/\(agent)", gateway: gateway))
    }

    @Test func aGatewaysTopicNamesIt() {
        #expect(topics.source(of: Topics().gatewayHeartbeats("gw-1")) == .gateway("gw-1"))
    }

    @Test func theBrokerNamesWhomItRefused() {
        #expect(topics.source(of: Topics().refusals) == .broker)
    }

    @Test(arguments: [
        "", "rollcall/v1", "rollcall/v1/internal/refusals/x", "rollcall/v1/internal/used-secrets",
        "rollcall/v1/agents/", "rollcall/v1/agents/gw/heartbeat", "rollcall/v1/agents//a/heartbeat",
        "rollcall/v1/agents/gw//heartbeat", "rollcall/v1/agents/gw/a/", "rollcall/v1/agents/gw/a",
        "rollcall/v1/agents/gw/a/heartbeats",
        "rollcall/v1/agents/gw/a/heartbeat/x", "rollcall/v1/agents/gw/a/wake", "rollcall/v2/agents/gw/a/heartbeat",
        "rollcall/v1/agents/-gw/a/heartbeat", "rollcall/v1/agents/gw/.a/heartbeat", "rollcall/v1/agents/gw/ä/heartbeat",
        "rollcall/v1/agents/gw/a b/heartbeat", "rollcall/v1/agents/gw/\(longest)a/heartbeat",
        "rollcall/v1/gateways/gw/heartbeat",
        "rollcall/v1/gateways/gw/x/heartbeats", "rollcall/v1/gateways//heartbeats", "rollcall/v1/gateways/gw",
    ])
    func anythingElseNamesNobody(topic: String) {
        #expect(topics.source(of: topic) == nil)
    }
}
