import FoundationEssentials
import Testing

/// Holds a text equal to a file of `Golden/`: a change of the contract shows as a diff.
func expectGolden(_ text: String, _ name: String) throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(name)")
    if ProcessInfo.processInfo.environment["ROLLCALL_UPDATE_GOLDEN"] == "1" {
        try Data((text + "\n").utf8).write(to: file)
    }
    let golden = String(decoding: try Data(contentsOf: file), as: UTF8.self)
    #expect(golden == text + "\n", "Golden/\(name) differs: ROLLCALL_UPDATE_GOLDEN=1 writes it anew")
}

/// A value as JSON for people: members sorted, one a line.
func pretty(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}
