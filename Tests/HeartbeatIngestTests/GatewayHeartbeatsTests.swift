import API
import HeartbeatIngestCore
import Model
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
                .formed(agent: "a1", .plain), .formed(agent: "a2", .plain),
                .formed(agent: "a3", .detailed(members)), .formed(agent: "a4", .plain),
            ])
    }

    @Test(arguments: [
        (#"{"agent":"a","seq":"1"}"#, "a malformed seq: is a string, not an integer"),
        (#"{"agent":"a","seq":1,"seq":2}"#, "a malformed seq: comes twice"),
        (#"{"agent":"gw/a"}"#, "names no agent"), (#"{"agent":5}"#, "names no agent"),
        (#"{"status":"ok"}"#, "names no agent"), (#"{"agent":"a","agent":"b"}"#, "names no agent"),
        (#""gw/a""#, "'gw/a' is not an id"), (#""""#, "'' is not an id"),
        ("7", "is an integer, not an id or an object"), ("null", "is null, not an id or an object"),
        (#"["a"]"#, "is an array, not an id or an object"),
    ])
    func aBadEntryIsRejectedAlone(entry: String, expected: String) throws {
        let message = try GatewayHeartbeats(Array(#"{"agents":["x",\#(entry),"y"]}"#.utf8))
        let texts = message.entries.map { entry in
            switch entry {
            case .formed(let agent, .rejected(let reason, let detail)): "\(agent) \(reason.rawValue) \(detail)"
            case .formed(let agent, _): agent
            case .nameless(let detail): detail
            }
        }
        #expect(texts == ["x", texts[1].hasPrefix("a ") ? expected : "agents[1]: \(expected)", "y"])
    }

    /// Each entry that is no name once copied all those before it: one message held its ingest up for minutes.
    @Test func aMessageOfManyEntriesIsReadInOneGo() throws {
        let count = Limits.gatewayHeartbeatsBytesMax / 2 - 10
        let message = try GatewayHeartbeats(
            Array("{\"agents\":[\(Array(repeating: "1", count: count).joined(separator: ","))]}".utf8))
        #expect(message.entries.count == count)
    }

    @Test func anEntryHasTheSizeOfAHeartbeat() throws {
        let note = String(repeating: " ", count: Limits.heartbeatBytesMax)
        let message = try GatewayHeartbeats(Array(#"{"agents":[{"agent":"a"\#(note)},"b"]}"#.utf8))
        guard case .formed("a", .rejected(.tooLarge, _)) = message.entries.first else {
            Issue.record("\(message.entries)")
            return
        }
        #expect(message.entries.last == .formed(agent: "b", .plain))
    }

    @Test(arguments: [
        "", "{}", "[]", #"{"agents":{}}"#, #"{"agents":"a"}"#, #"{"agents":null}"#, #"{"agents":["a""#,
        #"{"agents":["a",]}"#, #"{"agents":["a"],"agents":["b"]}"#, #"{"agents":["a"]} "b""#, "\u{feff}{}",
    ])
    func aBrokenMessageIsDroppedWhole(text: String) {
        #expect(throws: GatewayHeartbeatsError.self) { try GatewayHeartbeats(Array(text.utf8)) }
    }

    @Test func aMessageHasALargestSize() throws {
        let padding = String(repeating: " ", count: Limits.gatewayHeartbeatsBytesMax - 16)
        #expect(try GatewayHeartbeats(Array(#"{"agents":["a"]\#(padding)}"#.utf8)).names.strings == ["a"])
        #expect(throws: GatewayHeartbeatsError.self) {
            try GatewayHeartbeats(Array(#"{"agents":["a"]\#(padding) }"#.utf8))
        }
    }
}
