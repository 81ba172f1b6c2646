import API
import HeartbeatIngestCore
import Model
import Testing
import Wire

/// The form of one agent's heartbeat.
@Suite struct HeartbeatFormTests {
    @Test(arguments: [
        "", "{}", "{ }", #"{"status":"ok"}"#, #"{ "status" : "ok" }"#,
        #"{"sent_at":"2026-01-31T09:05:07.042+01:00"}"#, #"{"sent_at":"yesterday"}"#, #"{"sent_at":1769850307042}"#,
        #"{"sent_at":"2026-01-31T09:05:07+0000"}"#, #"{"temperature":1e999}"#, #"{"generation":null,"state":null}"#,
        #"{"mood":{"deep":[1,2,{"x":null}]}}"#,
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
        members.note = "warming up"
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
        #expect(detail.note == "warming up")
    }

    @Test func anEndIsTakenWithItsReasonAndStatus() {
        var members = HeartbeatMembers()
        members.status = .stopping
        members.reason = .hostStopping
        members.exitStatus = 137
        let text = #"{"status":"stopping","reason":"host_stopping","exit_status":137}"#
        #expect(HeartbeatForm(Array(text.utf8)) == .detailed(members))
        #expect(HeartbeatForm(Array(#"{"status":"stopping","exit_status":256}"#.utf8)) != .detailed(members))
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

    private static func fault(_ payload: [UInt8]) -> String? {
        guard case .rejected(.malformed, let detail) = HeartbeatForm(payload) else { return nil }
        return detail
    }

    @Test(arguments: [
        // not JSON, or no object
        "ok", "{", #"{"status":"ok""#, #"{"status":"ok"} x"#, " ", "[]", "null", "7", #""ok""#, #"{status:"ok"}"#,
        // wrong types
        #"{"status":1}"#, #"{"status":["ok"]}"#, #"{"extend":30}"#, #"{"generation":"3"}"#, #"{"generation":true}"#,
        #"{"attempt":1.5}"#, #"{"boot_id":4}"#, #"{"seq":"1"}"#, #"{"seq":1.5}"#,
        #"{"templates_digest":{}}"#, #"{"note":[]}"#,
        // bad values
        #"{"status":"fine"}"#, #"{"status":""}"#, #"{"status":"OK"}"#, #"{"extend":"soon"}"#, #"{"extend":"1ms"}"#,
        #"{"extend":"31d"}"#, #"{"generation":-1}"#, #"{"attempt":-2}"#, #"{"seq":9223372036854775808}"#,
        #"{"seq":-1}"#, #"{"seq":-9223372036854775808}"#,
        // another system's
        #"{"state":"offline"}"#, #"{"state":"lost","boot_id":"b"}"#,
        // no strict JSON
        #"{"seq":1,}"#, #"{"seq":1,"seq":2}"#, #"{"x":{"a":1,"a":2}}"#, "\u{feff}{}", #"{"note":NaN}"#,
    ])
    func whatIsWrongIsMalformed(text: String) {
        #expect(HeartbeatFormTests.fault(Array(text.utf8)) != nil)
    }

    @Test(arguments: [
        ("Online", "not JSON (RFC 8259): 'O' at byte 1 where a value is expected"),
        (#"{"seq":1,}"#, "not JSON (RFC 8259): '}' at byte 10 where a member's name in quotes is expected"),
        (#"{"seq":1,"seq":2}"#, "seq: comes twice"),
        ("[]", "is an array, not an object"),
        (
            #"{"status":"okay","seq":"1"}"#,
            "status: 'okay' is not one of \(HeartbeatStatus.allCases.map(\.rawValue).joined(separator: ", "));"
                + " seq: is a string, not an integer"
        ),
        (#"{"state":"offline"}"#, "state: stands without status, as in another system's Last Will"),
    ])
    func whatIsWrongIsNamed(text: String, detail: String) {
        #expect(HeartbeatFormTests.fault(Array(text.utf8)) == detail)
    }

    @Test func bytesThatAreNoTextAreMalformed() {
        #expect(HeartbeatFormTests.fault([0xff, 0xfe, 0x00]) != nil)
        #expect(HeartbeatFormTests.fault(Array(#"{"note":""#.utf8) + [0xc3, 0x28] + Array(#""}"#.utf8)) != nil)
    }

    @Test(arguments: [("boot_id", Limits.bootIDLengthMax), ("note", Limits.noteLengthMax), ("templates_digest", 256)])
    func lengthsCountCharacters(member: String, limit: Int) {
        let allowed = Array(#"{"\#(member)":"\#(String(repeating: "ü", count: limit))"}"#.utf8)
        #expect(HeartbeatFormTests.fault(allowed) == nil)
        let refused = Array(#"{"\#(member)":"\#(String(repeating: "ü", count: limit + 1))"}"#.utf8)
        #expect(HeartbeatFormTests.fault(refused) == "\(member): is longer than \(limit) characters")
    }

    @Test func sizeIsJudgedBeforeForm() {
        let padding = String(repeating: " ", count: Limits.heartbeatBytesMax - 15)
        let tooLarge = HeartbeatForm.rejected(.tooLarge, detail: "has 4097 bytes, at most 4096 are taken")
        #expect(HeartbeatForm(Array(#"{"status":"ok"\#(padding)}"#.utf8)) == .plain)
        #expect(HeartbeatForm(Array(#"{"status":"ok"\#(padding) }"#.utf8)) == tooLarge)
        #expect(HeartbeatForm(Array(repeating: 0, count: 4_097)) == tooLarge)
    }
}
