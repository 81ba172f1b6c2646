import Foundation
import Simulation
import Testing

/// The table of rules as a document.
@Suite struct RuleTableTests {
    @Test func theDocumentIsTheTable() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "infra/docs/rules.md")
        if ProcessInfo.processInfo.environment["ROLLCALL_UPDATE_GOLDEN"] == "1" {
            try Data(Rule.markdown.utf8).write(to: file)
        }
        let document = String(decoding: try Data(contentsOf: file), as: UTF8.self)
        #expect(document == Rule.markdown, "ROLLCALL_UPDATE_GOLDEN=1 writes it anew")
    }

    @Test func eachRuleHasARow() {
        #expect(Rule.rows.count == Rule.allCases.count)
        #expect(Set(Rule.rows.map(\.rule)) == Set(Rule.allCases))
        #expect(Set(Rule.rows.map(\.says)).count == Rule.allCases.count)
    }
}
