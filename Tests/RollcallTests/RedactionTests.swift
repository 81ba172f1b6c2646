import API
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
            ("whsec_MfKQ9+r8/GKYq==, x", "[removed], x"), ("{\"s\":\"whsec_a\"}", "{\"s\":\"[removed]\"}"),
            ("\\nwhsec_a", "\\n[removed]"), ("whsec_+a/", "[removed]"), ("\\nwhsec_\(token)+a/b=", "\\[removed]"),
            ("token=tk_example.", "token=[removed]."), ("masktk_1", "masktk_1"),
            ("https://hooks.example/services/T0/B0?x=1 b", "https://hooks.example/[removed] b"),
            ("HTTP://u:p@h:1?x=1", "HTTP://[removed]@h:1[removed]"),
            ("http://h:1/ \"http://h\"", "http://h:1/ \"http://h\""),
            ("http://h: refused", "http://h: refused"), ("mqtt://h:1/x?y", "mqtt://h:1/x?y"),
        ])
    func texts(_ given: String, _ left: String) {
        #expect(Redaction(secrets: ["hunter2", ""]).text(given) == left)
    }

    @Test(arguments: [
        ("ab\ncd\n", 9, "ab\ncd\n"), ("ab\ncd\n", 6, "ab\ncd\n"), ("ab\ncd\n", 5, "cd\n"), ("ab\ncd\n", 3, "cd\n"),
        ("ab\ncd\n", 2, ""), ("abcdef", 3, ""),
    ])
    func endsOfAttachedFiles(_ text: String, _ limit: Int, _ left: String) {
        #expect(String(decoding: Redaction.lines(Array(text.utf8), atMost: limit), as: UTF8.self) == left)
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
