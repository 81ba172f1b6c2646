import BrokerAccessCore
import Testing

/// What a line of a table says: `R/` stands for the topic root, and the agent `gw1/a1` exists.
private func isAllowed(_ username: String, _ verb: String, _ topic: String) throws -> Bool {
    let rights = Rights(of: try #require(Username(username)), root: .standard)
    let text = topic.hasPrefix("R/") ? "rollcall/v1/" + topic.dropFirst(2) : topic
    let bytes = Array(text.utf8)
    let agentExists: Rights.AgentExists = { $0.count == 6 && Username("gw1/a1")!.isWritten(as: $0) }
    switch verb {
    case "publishes": return rights.mayPublish(bytes.span)
    case "leaves": return rights.mayLeave(bytes.span)
    case "reads": return rights.mayRead(bytes.span, agentExists: agentExists)
    case "subscribes": return rights.maySubscribe(bytes.span, agentExists: agentExists)
    case "asks": return rights.mayAskForAnswer(on: bytes.span, agentExists: agentExists)
    default: preconditionFailure("no such verb: \(verb)")
    }
}

/// The lines of a table in prose: `WHO VERB TOPIC…`.
private func lines(_ table: String) -> [[String]] {
    table.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
}

@Suite("Rights")
struct RightsTests {
    @Test(
        "allow",
        arguments: lines(
            """
            gw1/a1 publishes R/agents/gw1/a1/heartbeat R/agents/gw1/a1/files
            gw1/a1 subscribes R/agents/gw1/a1/wake R/agents/gw1/a1/templates R/agents/gw1/a1/status R/replies/gw1/a1/# R/replies/gw1/a1/+/x
            gw1/a1 reads R/replies/gw1/a1/x R/replies/gw1/a1/x/y
            gw1/a1 asks R/replies/gw1/a1/x
            gw1/a1 leaves R/agents/gw1/a1/heartbeat
            gw1 publishes R/agents/gw1/a9/heartbeat R/agents/gw1/a9/files R/agents/gw1/a9/credentials
            gw1 publishes R/gateways/gw1/status R/gateways/gw1/heartbeats
            gw1 subscribes R/agents/gw1/+/wake R/agents/gw1/+/templates R/agents/gw1/+/status R/agents/gw1/+/lifecycle/+ R/replies/gw1/# R/replies/gw1/x/#
            gw1 subscribes R/agents/gw1/a1/lifecycle/online R/replies/gw1/+/x R/gateways/gw1/status
            gw1 reads R/replies/gw1/x R/replies/gw1/x/y R/replies/gw1/a1 R/replies/gw1/a2/y
            gw1 asks R/replies/gw1/x R/replies/gw1/x/y R/replies/gw1/a1
            gw1 leaves R/gateways/gw1/status R/agents/gw1/a1/heartbeat
            op:alice publishes R/commands/provision
            op:alice subscribes # R/# +/v1/# R/agents/+/+/status $SYS/# $SYS/broker/uptime R/replies/# R/replies/op:alice/#
            op:alice subscribes R/+/op:alice/x R/gateways/+/lifecycle/+ R/services/+/+
            op:alice reads R/agents/gw1/a1/heartbeat R/replies/op:alice/x R/services/reconciler/1 $SYS/broker/uptime
            op:alice asks R/replies/op:alice/x
            svc:reconciler/1 publishes R/internal/a/b R/services/reconciler/1
            svc:reconciler/1 subscribes R/internal/# $share/g/R/internal/x R/services/# R/gateways/+/status
            svc:reconciler/1 leaves R/services/reconciler/1 R/internal/x
            svc:provisioner/2 subscribes R/commands/+ R/agents/+/+/files R/agents/+/+/credentials
            svc:provisioner/2 publishes R/agents/gw1/a1/wake R/replies/gw1/a1/x R/replies/op:alice/x/y
            svc:heartbeat-ingest/1 subscribes $share/ingest/rollcall/v1/agents/+/+/heartbeat R/gateways/+/heartbeats
            svc:status-store/1 subscribes R/commands/+ R/agents/+/+/status R/gateways/+/status
            svc:status-store/1 publishes R/agents/g/a/lifecycle/online R/agents/g/a/status R/gateways/g/lifecycle/gateway_lost
            svc:status-store/1 publishes R/gateways/g/status R/replies/op:alice/x $CONTROL/rollcall/v1
            svc:control-api/1 publishes R/commands/get R/agents/gw1/a1/heartbeat
            svc:control-api/1 subscribes R/# R/agents/+/+/lifecycle/+ R/replies/svc:control-api/1/#
            svc:control-api/1 reads R/agents/gw1/a1/status R/replies/svc:control-api/1/x
            svc:control-api/1 subscribes $SYS/broker/publish/messages/dropped $SYS/broker/store/messages/count
            svc:anything/1 asks elsewhere
            """.replacing("$share/g/R/", with: "$share/g/rollcall/v1/")))
    func allow(line: [String]) throws {
        for topic in line.dropFirst(2) {
            #expect(try isAllowed(line[0], line[1], topic), "\(line[0]) \(line[1]) \(topic)")
        }
    }

    @Test(
        "deny",
        arguments: lines(
            """
            gw1/a1 publishes R/agents/gw1/a2/heartbeat R/agents/gw2/a1/heartbeat R/agents/gw1/a1/wake R/agents/gw1/a1/credentials
            gw1/a1 publishes R/gateways/gw1/heartbeats R/commands/get R/internal/x R/replies/gw1/a1/x other $CONTROL/rollcall/v1
            gw1/a1 subscribes # R/# R/agents/gw1/+/wake R/agents/gw1/a1/# R/agents/gw1/a1/+ R/replies/gw1/a1 R/replies/gw1/#
            gw1/a1 subscribes R/agents/gw1/a2/wake R/agents/gw1/a1/heartbeat $share/g/rollcall/v1/agents/gw1/a1/wake $SYS/#
            gw1/a1 reads R/replies/gw1/a1 R/replies/gw1/a2/x R/replies/gw1/x R/agents/gw1/a2/status R/agents/gw1/a1/lifecycle/online
            gw1/a1 asks R/replies/gw1/a1 R/replies/gw1/a1/ R/replies/gw1/a2/x R/replies/gw1/a1/+ R/replies/gw1/a1/# R/x x
            gw1/a1 leaves R/agents/gw1/a1/files
            gw1 publishes R/agents/gw2/a1/heartbeat R/agents/gw1/a1/wake R/agents/gw1/a1/status R/gateways/gw2/status
            gw1 subscribes R/agents/gw1/# R/agents/+/+/wake R/agents/gw10/+/wake R/replies/# R/replies/gw1/a1/# R/replies/gw1/a1/+
            gw1 subscribes R/gateways/gw2/status R/gateways/+/status R/gateways/gw1/heartbeats
            gw1 reads R/replies/gw1/a1/x R/replies/gw1/a1/x/y R/replies/gw10/x R/agents/gw1/a1/heartbeat
            gw1 asks R/replies/gw1/a1/x R/replies/gw1 R/replies/gw2/x
            gw1 leaves R/agents/gw1/a1/credentials R/agents/gw1/a1/files
            op:alice publishes R/agents/gw1/a1/heartbeat R/agents/gw1/a1/wake R/commands R/commands/a/b R/replies/op:alice/x
            op:alice publishes R/internal/x $CONTROL/rollcall/v1 $SYS/broker/connection/x/state
            op:alice subscribes R/internal/# R/internal/x R/replies/op:bob/# R/replies/op:bob/x $share/g/# $CONTROL/# other/# R
            op:alice reads R/internal/x R/replies/op:bob/x R/replies/op:alice R/replies/gw1/a1/x other/x $CONTROL/rollcall/v1
            op:alice asks R/replies/op:alice/ R/replies/op:bob/x R/replies/op:alice1/x
            op:alice leaves R/commands/get
            svc:reconciler/1 publishes R/services/reconciler/2 R/replies/op:alice/x R/agents/gw1/a1/wake $CONTROL/rollcall/v1
            svc:reconciler/1 subscribes R/# # $share/g/# $share/g/ $share//rollcall/v1/internal/x R/commands/+ R/agents/+/+/heartbeat
            svc:provisioner/2 publishes R/agents/gw1/a1/status $CONTROL/rollcall/v1 R/commands/get
            svc:provisioner/2 subscribes R/agents/+/+/heartbeat R/replies/# R/agents/#
            svc:heartbeat-ingest/1 publishes R/agents/gw1/a1/wake R/replies/op:alice/x
            svc:status-store/1 publishes R/agents/g/a/wake R/agents/g/a/heartbeat $CONTROL/dynamic-security/v1
            svc:status-store/1 subscribes $CONTROL/rollcall/v1 $CONTROL/#
            svc:status-store/1 leaves $CONTROL/rollcall/v1
            svc:control-api/1 publishes R/agents/gw1/a1/status R/replies/op:alice/x
            svc:control-api/1 subscribes $SYS/# R/replies/op:alice/# R/replies/svc:control-api/10/#
            svc:control-api/1 reads R/replies/op:alice/x R/replies/svc:control-api/10/x
            svc:status-store2/1 publishes $CONTROL/rollcall/v1
            """))
    func deny(line: [String]) throws {
        for topic in line.dropFirst(2) {
            #expect(try !isAllowed(line[0], line[1], topic), "\(line[0]) \(line[1]) \(topic)")
        }
    }

    @Test("follow another topic root")
    func root() throws {
        let root = try #require(TopicRoot("site"))
        let rights = Rights(of: try #require(Username("gw1/a1")), root: root)
        #expect(rights.mayPublish("site/agents/gw1/a1/heartbeat"))
        #expect(!rights.mayPublish("rollcall/v1/agents/gw1/a1/heartbeat"))
    }
}
