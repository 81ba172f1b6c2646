internal import API
internal import Bus
internal import Glibc
internal import Model
internal import Secrets
internal import ServiceHost

/// `rollcall token`: the bearer tokens of operators over HTTP, in the file that control-api reads. A token is shown once; the file
/// holds its digest.
extension Subcommand {
    static let token = Subcommand(
        name: "token", placeholder: "create NAME | list | revoke NAME", summary: "operators' tokens over HTTP",
        details: """
            Scopes: read looks; operate also wakes, pauses, resumes, updates and syncs; admin does everything.
            control-api reads the file again within a second.
            """,
        options: [
            OptionSpecification("scope", value: "SCOPE", help: "read, operate or admin (default read)"),
            OptionSpecification(
                "expires", value: "DURATION", help: "how long the token counts, as 12h or 30d (default: until revoked)"),
            OptionSpecification(
                "tokens", value: "FILE", environment: "ROLLCALL_HTTP_TOKENS",
                help: "the file of tokens (default http-tokens of the data directory)"),
            SystemLocation.option, CommonOptions.help,
        ],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        let arguments = invocation.arguments
        let file = OperatorTokenFile(
            arguments.value("tokens") ?? (arguments.value("data") ?? SystemLocation.defaultDirectory) + "/"
                + SystemLocation.httpTokens)
        let word = arguments.positional.first
        switch word {
        case "create":
            let token = try create(invocation, in: file)
            invocation.console.write("token \(token)\n")
        case "list":
            try invocation.refuseArguments(after: 1)
            for token in try file.read().compactMap(\.token) {
                let end = token.expires.map { "until \($0)" } ?? "until revoked"
                invocation.console.write("\(token.name)  \(token.scope.rawValue)  \(end)\n")
            }
        case "revoke":
            let name = try name(invocation)
            try file.change { lines throws(CommandFailure) in
                guard lines.contains(where: { $0.token?.name == name }) else {
                    throw .failed("there is no token '\(name)'")
                }
                lines.removeAll { $0.token?.name == name }
            }
        default:
            throw .usage(
                "create NAME, list or revoke NAME"
                    + (word.map { meant(by: $0, among: ["create", "list", "revoke"]) } ?? "?"))
        }
        return ExitStatus.done
    }

    private static func create(_ invocation: Invocation, in file: OperatorTokenFile) throws(CommandFailure) -> String {
        let name = try name(invocation)
        let word = invocation.arguments.value("scope") ?? Scope.read.rawValue
        guard let scope = Scope(rawValue: word) else {
            throw .usage("--scope: '\(word)' is not read, operate or admin")
        }
        let length: TimeSpan?
        do {
            length = try invocation.arguments.duration("expires")
        } catch {
            throw .usage(error.reason)
        }
        let text = Token().text
        let token = OperatorToken(
            name: name, scope: scope, digest: Digest(of: text).description,
            expires: length.map { Clock.wallTime() + $0 })
        try file.change { lines throws(CommandFailure) in
            guard !lines.contains(where: { $0.token?.name == name }) else {
                throw .failed("there is a token '\(name)' already: revoke it first")
            }
            lines.append((token.line, token))
        }
        return text
    }

    private static func name(_ invocation: Invocation) throws(CommandFailure) -> String {
        try invocation.refuseArguments(after: 2)
        guard invocation.arguments.positional.count == 2 else { throw .usage("which NAME?") }
        let name = invocation.arguments.positional[1]
        guard Identifier.isValid(name) else { throw .usage("'\(name)' is not a name: \(Identifier.rule)") }
        return name
    }
}

/// The file of operators' tokens: a line each, replaced in one step.
struct OperatorTokenFile {
    let path: String

    init(_ path: String) {
        self.path = path
    }

    /// Its lines; those that begin with `#` are no tokens, and are kept.
    typealias Lines = [(text: String, token: OperatorToken?)]

    /// - Throws: when it cannot be read, or holds what is no token: nothing of it would be kept.
    func read() throws(CommandFailure) -> Lines {
        let bytes: [UInt8]
        do throws(FileFailure) {
            bytes = try SmallFile.read(path)
        } catch {
            throw .failed(error.reason)
        }
        let text = String(decoding: bytes, as: UTF8.self)
        return try text.split(separator: "\n").map { line throws(CommandFailure) in
            if line.hasPrefix("#") { return (String(line), nil) }
            guard let token = OperatorToken(line: line) else {
                throw .failed("\(path): '\(line.prefix(80))' is not NAME SCOPE SHA256 [EXPIRES]")
            }
            return (token.line, token)
        }
    }

    /// Changes the file, or makes it; nobody else does between the reading and the writing.
    func change(_ change: (inout Lines) throws(CommandFailure) -> Void) throws(CommandFailure) {
        try FileLock.whileChanging(path) { () throws(CommandFailure) in
            var lines = access(path, F_OK) == 0 ? try read() : []
            try change(&lines)
            do throws(FileFailure) {
                try SmallFile.replace(path, with: lines.map { $0.text + "\n" }.joined())
            } catch {
                throw .failed(error.reason)
            }
        }
    }
}
