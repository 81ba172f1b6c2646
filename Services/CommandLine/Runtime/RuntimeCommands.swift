internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// `rollcall agent ADDRESS`: runs one agent's command on its wakes and heartbeats for it.
public enum AgentCommand {
    public static func run(_ arguments: [String]) -> Int32 {
        RuntimeProgram.run("agent", arguments) { text throws(UsageError) in
            guard let address = AgentAddress(text) else {
                throw UsageError("'\(text)' is not an address GATEWAY/AGENT: each id is \(Identifier.rule)")
            }
            return .agent(address)
        }
    }

    static let help = helpText(
        usage: "rollcall agent ADDRESS --on-wake CMD [OPTION]...",
        description: """
            Waits for the wakes of one agent and runs CMD on each new one, in DIR/GATEWAY/AGENT.

            \(RuntimeProgram.description)
            """,
        options: RuntimeSettings.options)
}

/// `rollcall gateway GW`: does the same for all agents of a gateway, with one connection.
public enum GatewayCommand {
    public static func run(_ arguments: [String]) -> Int32 {
        RuntimeProgram.run("gateway", arguments) { text throws(UsageError) in
            guard Identifier.isValid(text) else { throw UsageError("'\(text)' is not an id: \(Identifier.rule)") }
            return .gateway(text)
        }
    }

    static let help = helpText(
        usage: "rollcall gateway GW --on-wake CMD [OPTION]...",
        description: """
            Waits for the wakes of all agents of a gateway and runs CMD on each new one, in DIR/GATEWAY/AGENT.

            \(RuntimeProgram.description)
            """,
        options: RuntimeSettings.options)
}

/// What both runtimes share as programs.
enum RuntimeProgram {
    static let description = """
        CMD finds ROLLCALL_AGENT, ROLLCALL_GENERATION, ROLLCALL_ATTEMPT, ROLLCALL_REASON and ROLLCALL_WAKE (JSON) in its
        environment, and where the system is. It checks in once CMD has lived for 1 s, heartbeats while CMD lives and says
        with which status it ended. Why a start failed is told, too. A newer cycle stops CMD (TERM, after 10 s KILL) and
        starts it again; a repeated wake and a recovery do not. SIGTERM and SIGINT stop all commands and end with status 0.

        Status: 1 another runtime of the same name has started, 2 bad usage, 69 the broker was not reachable or refused
        the token.
        """

    static func run(
        _ name: String, _ arguments: [String], identity: (String) throws(UsageError) -> RuntimeIdentity
    ) -> Int32 {
        do throws(UsageError) {
            let parsed = try ParsedArguments.locatingSystem(arguments, options: RuntimeSettings.options)
            if parsed.has("help") {
                print(name == "agent" ? AgentCommand.help : GatewayCommand.help, terminator: "")
                return ExitStatus.done
            }
            if parsed.has("version") {
                print("rollcall \(ContractVersion.product)")
                return ExitStatus.done
            }
            guard let text = parsed.positional.first else {
                throw UsageError("which \(name)? \(name == "agent" ? "ADDRESS" : "GW") is missing")
            }
            if parsed.positional.count > 1 { throw UsageError("unexpected argument '\(parsed.positional[1])'") }
            let settings = try RuntimeSettings(
                parsed, identity: try identity(text), environment: ParsedArguments.processEnvironment())
            return Runtime(settings).run()
        } catch {
            ServiceProgram.complain("rollcall \(name): \(error.reason)\nTry 'rollcall \(name) --help'.")
            return ExitStatus.usage
        }
    }
}
