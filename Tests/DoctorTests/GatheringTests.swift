import API
import Lifecycle
import Model
import Testing

@testable import Doctor

/// Which lookups a diagnosis is made of.
struct GatheringTests {
    private func record(_ name: String) -> AgentRecord {
        AgentRecord(
            address: AgentAddress(name)!, board: nil, role: .main, status: .offline, policy: Policy(),
            createdAt: Timestamp(millisecondsSince1970: 0))
    }

    private func asked(_ gathering: Gathering) -> String? {
        gathering.question.map { "\($0.verb.rawValue) \(JSON.text(JSONValue.object($0.members)))" }
    }

    private func begin(_ subject: String? = nil) throws -> Gathering {
        var gathering = Gathering(
            at: Timestamp(millisecondsSince1970: 1), subject: subject.flatMap { AgentAddress($0) })
        #expect(asked(gathering) == "list-gateways {}")
        #expect(gathering.snapshot.isAnswered == nil)
        try gathering.answered(Array(#"{"gateways":[{"agents":2,"gateway":"g","policy":{},"state":"lost"}]}"#.utf8))
        #expect(gathering.snapshot.gateways == [Snapshot.Gateway(name: "g", state: .lost, agents: 2)])
        #expect(gathering.snapshot.isAnswered == true)
        return gathering
    }

    private func page(_ names: [String], next: String? = nil) -> [UInt8] {
        let records = names.map { JSON.text(record($0)) }.joined(separator: ",")
        return Array(#"{"next":\#(next.map { "\"\($0)\"" } ?? "null"),"records":[\#(records)]}"#.utf8)
    }

    @Test func ofTheSystem() throws {
        var gathering = try begin()
        let unwell = #""limit":500,"status":["offline","provisioning","updating"]}"#
        #expect(asked(gathering) == "list {" + unwell)
        try gathering.answered(page(["g/a"], next: "g/a"))
        #expect(asked(gathering) == #"list {"after":"g/a","# + unwell)
        try gathering.answered(page(["g/b"]))
        #expect(asked(gathering) == #"list {"limit":500,"stale_templates":true,"status":"online"}"#)
        try gathering.answered(page(["h/c"]))
        // Of those that are online and have the newest files the ones in whom something shows.
        #expect(asked(gathering) == #"list {"limit":500,"stale_templates":false,"status":"online"}"#)
        var well = record("h/d")
        well.status = .online
        var tight = well
        tight.policy.offlineAfter = tight.policy.heartbeatInterval
        try gathering.answered(Array("{\"next\":null,\"records\":[\(JSON.text(well)),\(JSON.text(tight))]}".utf8))
        #expect(asked(gathering) == nil)
        #expect(gathering.snapshot.records.map(\.address.description) == ["g/a", "g/b", "h/c", "h/d"])
        #expect(gathering.snapshot.records[3].policy == tight.policy)
    }

    @Test func ofAnAgent() throws {
        var gathering = try begin("g/a")
        #expect(asked(gathering) == #"get {"agent":"g/a"}"#)
        try gathering.answered(Array(#"{"record":\#(JSON.text(record("g/a")))}"#.utf8))
        #expect(asked(gathering) == #"history {"agent":"g/a","limit":50}"#)
        try gathering.answered(
            Array(
                (#"{"events":[{"event":"woken","record":null,"time":"1970-01-01T00:00:00.005Z"},"#
                    + #"{"event":"provision_failed","record":{"last_provision_error":"no"},"#
                    + #""time":"1970-01-01T00:00:00.004Z"}],"next":null}"#).utf8))
        #expect(asked(gathering) == nil)
        #expect(
            gathering.snapshot.events == [
                Snapshot.Event(event: "woken", at: Timestamp(millisecondsSince1970: 5)),
                Snapshot.Event(event: "provision_failed", at: Timestamp(millisecondsSince1970: 4), error: "no"),
            ])
    }

    @Test func withoutAgents() throws {
        var gathering = Gathering(at: Timestamp(millisecondsSince1970: 1), subject: nil, ofAgents: false)
        #expect(asked(gathering) == "list-gateways {}")
        try gathering.answered(Array(#"{"gateways":[]}"#.utf8))
        #expect(asked(gathering) == nil)
        #expect(gathering.snapshot.isAnswered == true)
    }

    @Test func enoughIsEnough() throws {
        var gathering = try begin()
        let names = (0..<500).map { "g/a\($0)" }
        for _ in 0..<(Gathering.recordsMax / 500) { try gathering.answered(page(names, next: "g/z")) }
        #expect(asked(gathering)?.contains("stale_templates") == true)
    }

    @Test func whatIsNotAnsweredIsAFinding() throws {
        var gathering = try begin()
        gathering.unanswered()
        #expect(asked(gathering) == nil)
        #expect(gathering.snapshot.isAnswered == false)
    }

    @Test func whatIsNoAnswerIsRefused() throws {
        var gathering = try begin()
        #expect(throws: DecodingError.self) { try gathering.answered(Array("{}".utf8)) }
    }
}
