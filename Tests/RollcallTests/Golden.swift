import Glibc
import ServiceHost

/// A text that is kept beside the tests.
struct Golden {
    static let isUpdating = ParsedArguments.processEnvironment()["ROLLCALL_UPDATE_GOLDEN"] == "1"

    private let path: String

    init(_ name: String) {
        let directory = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        path = "/\(directory)/Golden/\(name).txt"
    }

    /// `nil` when there is none.
    var text: String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    struct WriteFailed: Error {}

    func write(_ text: String) throws {
        guard let file = fopen(path, "we") else { throw WriteFailed() }
        defer { fclose(file) }
        guard fputs(text, file) >= 0 else { throw WriteFailed() }
    }
}
