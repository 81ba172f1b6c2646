internal import Glibc
public import ServiceHost

/// All subcommands of `rollcall`: those of operators, which are here, and the programs beside them.
public enum CommandList {
    /// A subcommand as help and completions show it.
    public struct Entry: Sendable {
        public let name: String
        public let summary: String
        /// Its arguments, as in the usage line.
        let placeholder: String
        /// Empty for a program that keeps its own.
        public let options: [OptionSpecification]

        public init(name: String, summary: String, placeholder: String = "", options: [OptionSpecification] = []) {
            self.name = name
            self.summary = summary
            self.placeholder = placeholder
            self.options = options
        }
    }

    static let subcommands: [Subcommand] =
        Subcommand.verbs
        + [
            Subcommand.gateways, Subcommand.status, Subcommand.agents, Subcommand.history, Subcommand.watch,
            Subcommand.doctor,
            Subcommand.token, Subcommand.identity, Subcommand.alerts, Subcommand.backup, Subcommand.supportBundle,
            Subcommand.completions,
        ]

    private static let runtimeOptions = ["on-wake", "dir", "token-file"].map {
        OptionSpecification($0, value: "VALUE", help: "see 'rollcall agent --help'")
    }
    private static let programs = [
        Entry(name: "up", summary: "run a whole system on this machine"),
        Entry(
            name: "agent", summary: "run one agent: start CMD on its wakes, heartbeat for it", placeholder: "ADDRESS",
            options: runtimeOptions),
        Entry(
            name: "gateway", summary: "run all agents of a gateway the same way", placeholder: "GW",
            options: runtimeOptions),
        Entry(name: "bench", summary: "measure a system"),
    ]

    static let all: [Entry] =
        programs
        + subcommands.map {
            Entry(name: $0.name, summary: $0.summary, placeholder: $0.placeholder, options: $0.options)
        }

    /// What `rollcall --help` prints.
    public static let help: String = {
        var text = """
            Usage: rollcall SUBCOMMAND [ARGUMENT]... [OPTION]...

            Wakes agents, hears their heartbeats and says who is there.

            Subcommands:

            """
        for entry in all {
            text += "  \(entry.name)" + String(repeating: " ", count: 18 - entry.name.count) + entry.summary + "\n"
        }
        return text + """

            'rollcall SUBCOMMAND --help' tells more. The broker is --broker, ROLLCALL_BROKER, or that of the system that
            'rollcall up' runs in .rollcall (--data DIR or ROLLCALL_DATA for another directory).

            Status: 0 done, 1 failed or refused, 2 bad usage or an invalid request, 69 the broker is not reachable or refuses
            the credentials.

            """
    }()

    /// Runs an operator's subcommand; `nil` when there is none of that name.
    public static func run(_ name: String, _ arguments: [String]) -> Int32? {
        subcommands.first { $0.name == name }?.run(arguments)
    }

    /// The subcommand that a misspelt one means, as a question; empty when none is near.
    public static func meant(by name: String) -> String {
        ServiceHost.meant(by: name, among: all.map(\.name))
    }

    /// The subcommand and its arguments: options before it, which every subcommand takes, move behind it.
    public static func split(_ arguments: [String]) -> (subcommand: String?, arguments: [String]) {
        let withValue = [
            "--broker", "--data", "--topic-root", "--ca-file", "--cert-file", "--key-file", "--connect-timeout",
            "--log-format", "--log-level",
        ]
        var index = 0
        while index < arguments.count, arguments[index].hasPrefix("-") {
            index += withValue.contains(arguments[index]) ? 2 : 1
        }
        guard index < arguments.count else { return (nil, arguments) }
        return (arguments[index], Array(arguments[(index + 1)...] + arguments[..<index]))
    }
}
