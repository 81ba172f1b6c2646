import API
import Bus
import Model
import Testing

@testable import RollcallRuntime

/// What heartbeats and environments look like from outside.
struct HeartbeatMessageTests {
    private func beat(_ agent: String, _ seq: Int64, _ kind: BeatKind = .alive, digest: String? = nil) -> Beat {
        Beat(
            agent: Samples.address(agent), kind: kind, generation: 3, attempt: 1, bootID: "b1", seq: seq,
            templatesDigest: digest)
    }

    @Test func anAgentsHeartbeatEchoesItsWake() {
        #expect(
            JSON.text(HeartbeatMessage(beat("gw/a", 1, digest: "d1"), isEntry: false))
                == #"{"attempt":1,"boot_id":"b1","generation":3,"seq":1,"templates_digest":"d1"}"#)
        #expect(
            JSON.text(HeartbeatMessage(beat("gw/a", 2, .ended(status: 137)), isEntry: false))
                == #"{"attempt":1,"boot_id":"b1","exit_status":137,"generation":3,"seq":2,"status":"stopping"}"#)
        #expect(
            JSON.text(HeartbeatMessage(beat("gw/a", 3, .hostStopping), isEntry: false))
                == #"{"attempt":1,"boot_id":"b1","generation":3,"reason":"host_stopping","seq":3,"status":"stopping"}"#)
        let waiting = Beat(agent: Samples.address("gw/a"), kind: .waiting, bootID: "b2", note: "so far")
        #expect(
            JSON.text(HeartbeatMessage(waiting, isEntry: true))
                == #"{"agent":"a","boot_id":"b2","note":"so far","status":"waiting"}"#)
        #expect(JSON.text(HeartbeatMessage(lost: "b1")) == #"{"boot_id":"b1","status":"lost"}"#)
    }

    @Test func aGatewaySpeaksForAllInOneMessage() {
        let messages = GatewayHeartbeats.messages([beat("gw/a", 1), beat("gw/b", 7)])
        #expect(
            messages.map { String(decoding: $0, as: UTF8.self) } == [
                #"{"agents":[{"agent":"a","attempt":1,"boot_id":"b1","generation":3,"seq":1},{"agent":"b","attempt":1,"boot_id":"b1","generation":3,"seq":7}]}"#
            ])
        #expect(GatewayHeartbeats.messages([]).isEmpty)
    }

    @Test func noMessageIsLargerThanPromised() throws {
        let beats = (0..<5_000).map { beat("gw/agent-\($0)", 1) }
        let messages = GatewayHeartbeats.messages(beats)
        #expect(messages.count == 2)
        #expect(messages.allSatisfy { $0.count <= Limits.gatewayHeartbeatsBytesMax })
        let entries = try messages.flatMap { try JSON.decode(JSONValue.self, from: $0)["agents"]?.array ?? [] }
        #expect(entries.map { $0["agent"]?.string } == beats.map(\.agent.agent))
        #expect(GatewayHeartbeats.messages([beat("gw/a", 1), beat("gw/b", 1)], bytesMax: 10).count == 2)
    }

    @Test func aCommandSeesWhereTheSystemIsAndNoOthersSecrets() throws {
        let environment = RuntimeSettings.commandEnvironment(
            [
                "PATH": "/bin", "ROLLCALL_BROKER": "mqtt://op%3Aroot:secret@h:1", "ROLLCALL_USERNAME": "op:root",
                "ROLLCALL_PASSWORD": "secret", "ROLLCALL_PASSWORD_FILE": "/secret",
                "ROLLCALL_TOKEN_FILE": "gateway.token", "ROLLCALL_HTTP_TOKEN": "secret",
            ],
            broker: try BrokerAddress(parsing: "mqtt://gw:token@broker:1884"), topicRoot: "rollcall/v1",
            http: "http://h:2", tokenFile: nil)
        #expect(
            environment == [
                "PATH": "/bin", "ROLLCALL_BROKER": "mqtt://broker:1884", "ROLLCALL_TOPIC_ROOT": "rollcall/v1",
                "ROLLCALL_HOST": "broker", "ROLLCALL_MQTT_PORT": "1884", "ROLLCALL_HTTP": "http://h:2",
            ])
        let agent = RuntimeSettings.commandEnvironment(
            [:], broker: try BrokerAddress(parsing: "unix:/run/broker"), topicRoot: "r", http: nil, tokenFile: "/t")
        #expect(
            agent == ["ROLLCALL_BROKER": "unix:/run/broker", "ROLLCALL_TOPIC_ROOT": "r", "ROLLCALL_TOKEN_FILE": "/t"])
    }
}
