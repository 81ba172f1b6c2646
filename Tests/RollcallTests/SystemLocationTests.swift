import Foundation
import ServiceHost
import Testing

/// Where subcommands find the system.
struct SystemLocationTests {
    @Test func theFileIsReadAsAShellWould() {
        let values = SystemLocation.values(
            in: """
                # of rollcall up
                export ROLLCALL_BROKER='mqtt://op%3Aroot:it'\\''s@127.0.0.1:18830'
                export ROLLCALL_HOST="127.0.0.1"
                ROLLCALL_MQTT_PORT=18830 # the broker's
                export EMPTY=''
                nonsense
                """)
        #expect(
            values == [
                "ROLLCALL_BROKER": "mqtt://op%3Aroot:it's@127.0.0.1:18830", "ROLLCALL_HOST": "127.0.0.1",
                "ROLLCALL_MQTT_PORT": "18830", "EMPTY": "",
            ])
    }

    @Test func theNearestAnswerWins() throws {
        let folder = try TemporaryFolder()
        try folder.write("operator.env", "export ROLLCALL_BROKER='mqtt://file'\nexport ROLLCALL_HTTP=http://h\n")
        func broker(_ arguments: [String], _ environment: [String: String]) throws -> String? {
            try parse(arguments, environment).value("broker")
        }
        let shell = ["ROLLCALL_BROKER": "mqtt://shell"]
        #expect(try broker(["--broker", "mqtt://flag", "--data", folder.path], shell) == "mqtt://flag")
        #expect(try broker(["--data", folder.path], shell) == "mqtt://file")
        #expect(try broker([], shell.merging(["ROLLCALL_DATA": folder.path]) { $1 }) == "mqtt://shell")
        #expect(try broker([], ["ROLLCALL_DATA": folder.path]) == "mqtt://file")
        #expect(try parse(["--data", folder.path], [:]).environmentValue("ROLLCALL_HTTP") == "http://h")
    }

    @Test func aNamedDirectoryMustBeOne() {
        #expect(throws: UsageError("--data: /nowhere/operator.env cannot be read")) {
            try parse(["--data", "/nowhere"], [:])
        }
        #expect(throws: Never.self) { try parse([], ["ROLLCALL_DATA": "/nowhere"]) }
    }

    private func parse(_ arguments: [String], _ environment: [String: String]) throws -> ParsedArguments {
        try ParsedArguments.locatingSystem(
            arguments, options: [CommonOptions.broker, SystemLocation.option, CommonOptions.help],
            environment: environment)
    }
}

/// A folder that is removed with its value.
final class TemporaryFolder {
    struct Failed: Error {}

    let path: String

    init() throws {
        var template = Array("/tmp/rollcall-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failed() }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)  // a folder that stays fails nothing
    }

    func write(_ name: String, _ text: String) throws {
        guard let file = fopen("\(path)/\(name)", "we") else { throw Failed() }
        fputs(text, file)
        fclose(file)
    }

    /// `nil` when there is no such file.
    func read(_ name: String) -> String? {
        guard let file = fopen("\(path)/\(name)", "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    func mode(_ name: String) -> mode_t? {
        var status = stat()
        return lstat("\(path)/\(name)", &status) == 0 ? status.st_mode & 0o7777 : nil
    }
}
