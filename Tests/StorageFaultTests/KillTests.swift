import Foundation
import StorageFaults
import Testing

/// A process of its own does the workload and is killed (SIGKILL) at one of its operations.
@Suite struct KillTests {
    /// The lines that it wrote.
    private func run(_ arguments: String..., killed isKilled: Bool) throws -> [Substring] {
        let process = Process()
        let program: URL = try #require(KillTests.program())
        process.executableURL = program
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(process.terminationReason == (isKilled ? .uncaughtSignal : .exit))
        #expect(process.terminationStatus == (isKilled ? SIGKILL : 0))
        return String(decoding: text, as: UTF8.self).split(separator: "\n")
    }

    /// Beside the test's own program, or in the package's build directory.
    private static func program() -> URL? {
        let build = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent(".build/debug")
        let directories = [Bundle.main.bundleURL, URL(fileURLWithPath: CommandLine.arguments[0]), build].map {
            $0.hasDirectoryPath ? $0 : $0.deletingLastPathComponent()
        }
        return directories.map { $0.appendingPathComponent("rollcall-store-kill") }.first {
            FileManager.default.isExecutableFile(atPath: $0.path)
        }
    }

    /// How many operations the whole workload has.
    private func operations() throws -> Int {
        let place = try Place()
        let last = try #require(try run(place.path, killed: false).last)
        return try #require(Int(last.dropFirst("operations ".count)))
    }

    @Test func aKilledProcessLeavesWholeSteps() throws {
        let expectation = try Expectation()
        let count = try operations()
        #expect(count > 1_000)
        for operation in Swift.stride(from: 1, through: count, by: stride(53)) {
            let place = try Place()
            let reported = try run(place.path, String(operation), killed: true).last.flatMap { Int($0) }
            let complaint = expectation.complaint(of: place.path, reported: reported)
            #expect(complaint == nil, "killed at operation \(operation)")
        }
    }

    /// That this test finds something: a process that reports what it has not yet committed.
    @Test func aReportBeforeTheCommitIsFound() throws {
        let expectation = try Expectation()
        let operations = Swift.stride(from: 1, through: try operations(), by: 53)
        let found = try operations.contains { operation in
            let place = try Place()
            let reported = try run(place.path, String(operation), "early", killed: true).last.flatMap { Int($0) }
            return expectation.complaint(of: place.path, reported: reported)?.contains("was reported") == true
        }
        #expect(found)
    }
}
