internal import Glibc
internal import Lifecycle
internal import Secrets
internal import ServiceKit

/// `rollcall identity`: operators and services in the file that the broker's plugin reads, each with its secret in a file of its
/// own. What is there already is left as it is.
extension Subcommand {
    static let identity = Subcommand(
        name: "identity", placeholder: "add NAME... | list | remove NAME",
        summary: "operators and services that the broker lets in",
        details: """
            NAME is op:NAME or svc:SERVICE/INSTANCE; agents and gateways are made by 'provision' and 'add-gateway'.
            Send mosquitto SIGHUP after a change.
            """,
        options: [
            OptionSpecification(
                "identities", value: "FILE", help: "the file of the broker (default identities of the data directory)"),
            OptionSpecification(
                "secrets", value: "DIR", help: "where secrets are written (default secrets of the data directory)"),
            OptionSpecification(
                "group", value: "GROUP", help: "who may read the file besides its owner, as mosquitto"),
            SystemLocation.option, CommonOptions.help,
        ],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        let arguments = invocation.arguments
        let data = arguments.value("data") ?? SystemLocation.defaultDirectory
        let identities = IdentityFile(
            path: arguments.value("identities") ?? data + "/identities",
            secrets: arguments.value("secrets") ?? data + "/secrets", group: arguments.value("group"))
        let names = Array(arguments.positional.dropFirst())
        switch arguments.positional.first {
        case "add":
            guard !names.isEmpty else { throw .usage("which NAME?") }
            for name in names where !IdentityFile.isValid(name) {
                throw .usage("'\(name)' is neither op:NAME nor svc:SERVICE/INSTANCE")
            }
            for name in names {
                let secret = try identities.add(name)
                invocation.console.write("\(name)  secret in \(secret)\n")
            }
        case "list":
            guard names.isEmpty else { throw .usage("unexpected argument '\(names[0])'") }
            for line in try identities.read() { invocation.console.write("\(line.name)\n") }
        case "remove":
            guard names.count == 1 else { throw .usage("which NAME?") }
            try identities.remove(names[0])
        default: throw .usage("add NAME..., list or remove NAME?")
        }
        return ExitStatus.done
    }
}

/// The file `identities`: `NAME SHA256HEX` a line.
private struct IdentityFile {
    let path: String
    let secrets: String
    let group: String?

    static func isValid(_ name: String) -> Bool {
        if name.hasPrefix("op:") { return Identifier.isValid(name.dropFirst("op:".count)) }
        guard name.hasPrefix("svc:") else { return false }
        let levels = name.dropFirst("svc:".count).split(separator: "/", omittingEmptySubsequences: false)
        return levels.count == 2 && levels.allSatisfy { Identifier.isValid($0) }
    }

    /// Lines that name nobody are none of ours, and are kept.
    func read() throws(CommandFailure) -> [(name: String, text: String)] {
        guard access(path, F_OK) == 0 else { return [] }
        return try SmallFile.read(path).split(separator: "\n").map { line in
            (String(line.prefix { $0 != " " }), String(line))
        }
    }

    /// The file of its secret. A secret that is there stays; so does the identity.
    func add(_ name: String) throws(CommandFailure) -> String {
        let file = secrets + "/" + String(name.map { $0 == ":" || $0 == "/" ? "-" : $0 })
        var lines = try read()
        if mkdir(secrets, 0o700) != 0, errno != EEXIST { throw SmallFile.failure(secrets) }
        let secret: String
        if access(file, F_OK) == 0 {
            do {
                secret = try ProgramOptions.secret(from: file)
            } catch {
                throw .failed(error.reason)
            }
        } else {
            secret = Token().text
            try SmallFile.write(secret + "\n", to: file, mode: 0o600, group: nil)
        }
        let line = "\(name) \(Digest(of: secret))"
        guard !lines.contains(where: { $0.text == line }) else { return file }
        lines.removeAll { $0.name == name }
        try write(lines.map(\.text) + [line])
        return file
    }

    func remove(_ name: String) throws(CommandFailure) {
        let lines = try read()
        guard lines.contains(where: { $0.name == name }) else { throw .failed("\(path): there is no '\(name)'") }
        try write(lines.filter { $0.name != name }.map(\.text))
    }

    private func write(_ lines: [String]) throws(CommandFailure) {
        try SmallFile.write(
            lines.map { $0 + "\n" }.joined(), to: path, mode: group == nil ? 0o600 : 0o640, group: group)
    }
}

/// Files of lines: read whole, and replaced in one step (rename(2)).
enum SmallFile {
    static func read(_ path: String) throws(CommandFailure) -> String {
        guard let file = fopen(path, "re") else { throw failure(path) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4_096)
        while case let count = fread(&block, 1, block.count, file), count > 0 { bytes += block.prefix(count) }
        guard ferror(file) == 0 else { throw failure(path) }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func write(_ text: String, to path: String, mode: mode_t, group: String?) throws(CommandFailure) {
        let unfinished = path + ".new"
        unlink(unfinished)
        let descriptor = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure(unfinished) }
        defer { close(descriptor) }
        if let group {
            guard let entry = getgrnam(group) else { throw .failed("--group: there is no group '\(group)'") }
            guard fchown(descriptor, uid_t.max, entry.pointee.gr_gid) == 0 else { throw failure(unfinished) }
        }
        let bytes = Array(text.utf8)
        guard fchmod(descriptor, mode) == 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count,
            fsync(descriptor) == 0, rename(unfinished, path) == 0
        else { throw failure(path) }
    }

    static func failure(_ path: String) -> CommandFailure { .failed("\(path): \(String(cString: strerror(errno)))") }
}
