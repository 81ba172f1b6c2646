internal import API
internal import Model
internal import ServiceHost

/// One subcommand of an operator: how it is called, what its help says, what it does.
struct Subcommand: Sendable {
    let name: String
    /// As in the usage line.
    let placeholder: String
    /// One line for the list of subcommands, and the begin of its help.
    let summary: String
    var details = ""
    let options: [OptionSpecification]
    var hiddenOptions: [OptionSpecification] = []
    let run: @Sendable (Invocation) throws(CommandFailure) -> Int32

    var help: String {
        let usage = ["rollcall", name, placeholder, "[OPTION]..."].filter { !$0.isEmpty }.joined(separator: " ")
        return helpText(
            usage: usage, description: Subcommand.sentence(summary) + (details.isEmpty ? "" : "\n\n\(details)"),
            options: options)
    }

    private static func sentence(_ text: String) -> String {
        text.prefix(1).uppercased() + text.dropFirst() + "."
    }

    /// Parses, runs and says what went wrong; the exit status.
    func run(_ arguments: [String]) -> Int32 {
        let parsed: ParsedArguments
        do {
            parsed = try ParsedArguments.locatingSystem(arguments, options: options + hiddenOptions)
        } catch {
            ServiceProgram.complain("rollcall \(name): \(error.reason)\nTry 'rollcall \(name) --help'.")
            return ExitStatus.usage
        }
        let console = Console(parsed)
        if parsed.has("help") {
            console.write(help)
            return ExitStatus.done
        }
        if parsed.has("version") {
            console.write("rollcall \(ContractVersion.product)\n")
            return ExitStatus.done
        }
        do {
            return try run(Invocation(arguments: parsed, console: console))
        } catch {
            complain(error, on: console)
            return error.status
        }
    }

    private func complain(_ failure: CommandFailure, on console: Console) {
        switch failure {
        case .usage(let reason): console.complain("rollcall \(name): \(reason)\nTry 'rollcall \(name) --help'.")
        case .unreachable(let reason): console.complain("rollcall \(name): \(Printable.text(reason))")
        case .failed(let reason): console.complain("rollcall \(name): \(Printable.text(reason))")
        case .refused(let refusal):
            console.complain(
                console.isJSON ? String(decoding: refusal.payload, as: UTF8.self) : "rollcall \(name): \(refusal.text)")
        }
    }
}

/// One call of a subcommand.
struct Invocation {
    let arguments: ParsedArguments
    let console: Console

    /// What the arguments say of the system.
    func settings() throws(CommandFailure) -> OperatorSettings {
        do throws(UsageError) {
            return try OperatorSettings(arguments)
        } catch {
            throw .usage(error.reason)
        }
    }

    func duration(_ name: String) throws(CommandFailure) -> TimeSpan? {
        do throws(UsageError) {
            return try arguments.duration(name)
        } catch {
            throw .usage(error.reason)
        }
    }

    func request(_ form: RequestForm) throws(CommandFailure) -> [String: JSONValue] {
        do throws(UsageError) {
            return try form.request(arguments)
        } catch {
            throw .usage(error.reason)
        }
    }

    /// A session that is connected.
    func connect(following filters: [String] = []) throws(CommandFailure) -> OperatorSession {
        let session = OperatorSession(try settings(), following: filters)
        try session.connect()
        return session
    }

    /// Asks once.
    func ask(_ verb: Verb, _ members: [String: JSONValue]) throws(CommandFailure) -> Answer {
        let session = try connect()
        defer { session.close() }
        return try session.request(verb, members)
    }

    func refuseArguments(after count: Int) throws(CommandFailure) {
        guard arguments.positional.count > count else { return }
        throw .usage("unexpected argument '\(arguments.positional[count])'")
    }
}
