import Contract
import HeartbeatIngestCore
import Lifecycle
import Testing

/// A gateway's message for all its agents.
@Suite struct GatewayHeartbeatsTests {
    @Test func entriesAreNamesOrObjects() throws {
        var members = HeartbeatMembers()
        members.status = .degraded
        members.seq = 7
        let text = #"{"agents":["a1","a2",{"agent":"a3","status":"degraded","seq":7},{"agent":"a4"}],"more":1}"#
        #expect(
            try GatewayHeartbeats(Array(text.utf8)).entries == [
                .plain(agent: "a1"), .plain(agent: "a2"), .detailed(agent: "a3", members), .plain(agent: "a4"),
            ])
    }

    @Test(arguments: [
        (#"{"agent":"a","status":"fine"}"#, GatewayHeartbeats.Entry.malformed(agent: "a")),
        (#"{"agent":"a","seq":"1"}"#, .malformed(agent: "a")),
        (#"{"agent":"gw/a"}"#, .nameless), (#"{"agent":5}"#, .nameless), (#"{"status":"ok"}"#, .nameless),
        (#""gw/a""#, .nameless), (#""""#, .nameless), ("7", .nameless), ("null", .nameless), (#"["a"]"#, .nameless),
    ])
    func aBadEntryIsRejectedAlone(entry: String, expected: GatewayHeartbeats.Entry) throws {
        let message = try GatewayHeartbeats(Array(#"{"agents":["x",\#(entry),"y"]}"#.utf8))
        #expect(message.entries == [.plain(agent: "x"), expected, .plain(agent: "y")])
    }

    @Test(arguments: ["", "{}", "[]", #"{"agents":{}}"#, #"{"agents":"a"}"#, #"{"agents":null}"#, #"{"agents":["a""#])
    func aBrokenMessageIsDroppedWhole(text: String) {
        #expect(throws: GatewayHeartbeatsError.self) { try GatewayHeartbeats(Array(text.utf8)) }
    }

    @Test func aMessageHasALargestSize() throws {
        let padding = String(repeating: " ", count: Limits.gatewayHeartbeatsBytesMax - 16)
        #expect(try GatewayHeartbeats(Array(#"{"agents":["a"]\#(padding)}"#.utf8)).names == ["a"])
        #expect(throws: GatewayHeartbeatsError.self) {
            try GatewayHeartbeats(Array(#"{"agents":["a"]\#(padding) }"#.utf8))
        }
    }
}
