import Contract
import HeartbeatIngestCore
import Lifecycle
import Testing

/// The form of one agent's heartbeat.
@Suite struct HeartbeatFormTests {
    @Test(arguments: [
        "", "{}", "{ }", #"{"status":"ok"}"#, #"{ "status" : "ok" }"#, #"{"note":"all quiet"}"#,
        #"{"sent_at":"2026-01-31T09:05:07.042+01:00"}"#, #"{"mood":{"deep":[1,2,{"x":null}]}}"#,
        #"{"seq":null,"boot_id":null}"#,
    ])
    func whatSaysNothingMoreIsPlain(text: String) {
        #expect(HeartbeatForm(Array(text.utf8)) == .plain)
    }

    @Test func everyMemberIsTaken() throws {
        var members = HeartbeatMembers()
        members.status = .starting
        members.extend = DurationText(2, .minutes)
        members.generation = 7
        members.attempt = 2
        members.bootID = "b-1"
        members.seq = 9_007_199_254_740_993
        members.templatesDigest = "sha256:00"
        let text = #"""
            {"status":"starting","extend":"2m","generation":7,"attempt":2,"boot_id":"b-1","seq":9007199254740993,
             "sent_at":"2026-01-31T09:05:07Z","templates_digest":"sha256:00","note":"warming up","unknown":true}
            """#
        #expect(HeartbeatForm(Array(text.utf8)) == .detailed(members))
        let agent = try #require(AgentAddress("gw/a"))
        let detail = members.detail(of: agent, tokenDigest: "d")
        #expect(detail.status == .starting && detail.extend?.description == "2m" && detail.generation == 7)
        #expect(detail.attempt == 2 && detail.bootID == "b-1" && detail.seq == 9_007_199_254_740_993)
        #expect(detail.templatesDigest == "sha256:00" && detail.tokenDigest == "d" && detail.rejected == nil)
    }

    @Test(arguments: HeartbeatStatus.allCases)
    func everyStatusIsKnown(status: HeartbeatStatus) {
        let form = HeartbeatForm(Array(#"{"status":"\#(status.rawValue)"}"#.utf8))
        guard case .detailed(let members) = form else {
            #expect(form == .plain && status == .ok)
            return
        }
        #expect(members.status == status)
    }

    @Test(arguments: [
        // not JSON, or no object
        "ok", "{", #"{"status":"ok""#, #"{"status":"ok"} x"#, " ", "[]", "null", "7", #""ok""#, #"{status:"ok"}"#,
        // wrong types
        #"{"status":1}"#, #"{"status":["ok"]}"#, #"{"extend":30}"#, #"{"generation":"3"}"#, #"{"generation":true}"#,
        #"{"attempt":1.5}"#, #"{"boot_id":4}"#, #"{"seq":"1"}"#, #"{"seq":1.5}"#, #"{"sent_at":1769850307}"#,
        #"{"templates_digest":{}}"#, #"{"note":[]}"#,
        // bad values
        #"{"status":"fine"}"#, #"{"status":""}"#, #"{"status":"OK"}"#, #"{"extend":"soon"}"#, #"{"extend":"1ms"}"#,
        #"{"extend":"31d"}"#, #"{"generation":-1}"#, #"{"attempt":-2}"#, #"{"seq":9223372036854775808}"#,
        #"{"seq":-1}"#, #"{"seq":-9223372036854775808}"#,
        #"{"sent_at":"yesterday"}"#, #"{"sent_at":"2026-02-30T00:00:00Z"}"#,
    ])
    func whatIsWrongIsMalformed(text: String) {
        #expect(HeartbeatForm(Array(text.utf8)) == .rejected(.malformed))
    }

    @Test func bytesThatAreNoTextAreMalformed() {
        #expect(HeartbeatForm([0xff, 0xfe, 0x00]) == .rejected(.malformed))
        #expect(HeartbeatForm(Array(#"{"note":""#.utf8) + [0xc3, 0x28] + Array(#""}"#.utf8)) == .rejected(.malformed))
    }

    @Test(arguments: [("boot_id", Limits.bootIDLengthMax), ("note", Limits.noteLengthMax), ("templates_digest", 256)])
    func lengthsCountCharacters(member: String, limit: Int) {
        let allowed = HeartbeatForm(Array(#"{"\#(member)":"\#(String(repeating: "ü", count: limit))"}"#.utf8))
        #expect(allowed != .rejected(.malformed))
        let refused = HeartbeatForm(Array(#"{"\#(member)":"\#(String(repeating: "ü", count: limit + 1))"}"#.utf8))
        #expect(refused == .rejected(.malformed))
    }

    @Test func sizeIsJudgedBeforeForm() {
        let padding = String(repeating: " ", count: Limits.heartbeatBytesMax - 15)
        #expect(HeartbeatForm(Array(#"{"status":"ok"\#(padding)}"#.utf8)) == .plain)
        #expect(HeartbeatForm(Array(#"{"status":"ok"\#(padding) }"#.utf8)) == .rejected(.tooLarge))
        #expect(HeartbeatForm(Array(repeating: 0, count: 4_097)) == .rejected(.tooLarge))
    }
}
