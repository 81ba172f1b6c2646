internal import Glibc
internal import Model
internal import Secrets
internal import ServiceHost

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
            path: arguments.value("identities") ?? "\(data)/\(SystemLocation.identities)",
            secrets: arguments.value("secrets") ?? "\(data)/\(SystemLocation.secrets)", group: arguments.value("group"))
        let names = Array(arguments.positional.dropFirst())
        let word = arguments.positional.first
        switch word {
        case "add":
            guard !names.isEmpty else { throw .usage("which NAME?") }
            for name in names where !IdentityFile.isValid(name) {
                throw .usage("'\(name)' is neither op:NAME nor svc:SERVICE/INSTANCE")
            }
            try FileLock.whileChanging(identities.path) { () throws(CommandFailure) in
                for name in names {
                    let secret = try identities.add(name)
                    invocation.console.write("\(name)  secret in \(secret)\n")
                }
            }
        case "list":
            guard names.isEmpty else { throw .usage("unexpected argument '\(names[0])'") }
            for line in try identities.read() { invocation.console.write("\(line.name)\n") }
        case "remove":
            guard names.count == 1 else { throw .usage("which NAME?") }
            try FileLock.whileChanging(identities.path) { () throws(CommandFailure) in
                try identities.remove(names[0])
            }
        default:
            throw .usage(
                "add NAME..., list or remove NAME"
                    + (word.map { meant(by: $0, among: ["add", "list", "remove"]) } ?? "?"))
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
        do throws(FileFailure) {
            return String(decoding: try SmallFile.read(path), as: UTF8.self).split(separator: "\n").map { line in
                (String(line.prefix { $0 != " " }), String(line))
            }
        } catch {
            guard error.isAbsent else { throw .failed(error.reason) }
            return []
        }
    }

    /// The file of its secret. A secret that is there stays; so does the identity.
    func add(_ name: String) throws(CommandFailure) -> String {
        let file = "\(secrets)/\(SystemLocation.secretFileName(of: name))"
        var lines = try read()
        if mkdir(secrets, 0o700) != 0, errno != EEXIST {
            throw .failed("\(secrets): \(String(cString: strerror(errno)))")
        }
        let secret: String
        if access(file, F_OK) == 0 {
            do {
                secret = try ProgramOptions.secret(from: file)
            } catch {
                throw .failed(error.reason)
            }
        } else {
            secret = Token().text
            try replace(file, with: secret + "\n")
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
        let text = lines.map { $0 + "\n" }.joined()
        try replace(path, with: text, mode: group == nil ? 0o600 : 0o640, group: group)
    }

    private func replace(
        _ file: String, with text: String, mode: UInt32 = 0o600, group: String? = nil
    ) throws(CommandFailure) {
        do throws(FileFailure) {
            try SmallFile.replace(file, with: text, mode: mode, group: group)
        } catch {
            throw .failed(error.reason)
        }
    }
}
