import Contract
import Testing

@testable import RollcallOperator

/// What is taken out of a support bundle, and what stays.
struct RedactionTests {
    private static let token = "X9k_2-" + String(repeating: "aZ4", count: 12) + "q"
    private static let digest = String(repeating: "0f", count: 32)

    @Test(
        arguments: [
            ("nothing to see", "nothing to see"),
            ("rc1:gw/a.\(token)", "rc1:gw/a.[removed]"), ("\(token) \(token)", "[removed] [removed]"),
            ("{\"token\":\"\(token)\"}", "{\"token\":\"[removed]\"}"), ("\\n\(token)", "\\[removed]"),
            ("sha256:\(digest)", "sha256:\(digest)"), ("agent gw/\(token.dropLast())", "agent gw/\(token.dropLast())"),
            ("mqtts://op%3Aa:pass@h:1/x", "mqtts://[removed]@h:1/x"), ("mqtt://h:1 a@b", "mqtt://h:1 a@b"),
            ("it is hunter2!", "it is [removed]!"), ("größer ✓", "größer ✓"), ("://", "://"),
        ])
    func texts(_ given: String, _ left: String) {
        #expect(Redaction(secrets: ["hunter2", ""]).text(given) == left)
    }

    @Test func valuesOfVariablesGoAndTheirNamesStay() {
        let record = JSONValue.object([
            "variables": .object(["KEY": .string("v"), "OTHER": .string("w")]), "n": .integer(1),
        ])
        let left = Redaction(secrets: []).value(.object(["events": .array([record])]))
        let removed = JSONValue.object(["KEY": .string("[removed]"), "OTHER": .string("[removed]")])
        #expect(left["events"]?.array?.first?["variables"] == removed)
        #expect(left["events"]?.array?.first?["n"] == .integer(1))
    }
}
