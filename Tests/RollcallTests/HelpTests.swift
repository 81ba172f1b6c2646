import ServiceHost
import Testing

@testable import RollcallOperator
@testable import RollcallRuntime

/// The help of every subcommand, as it is kept in `Golden`.
///
/// `ROLLCALL_UPDATE_GOLDEN=1 swift test --filter RollcallTests` writes the files anew; the change is then reviewed as a diff.
struct HelpTests {
    static let helps: [(name: String, text: String)] =
        [("rollcall", CommandList.help), ("agent", AgentCommand.help), ("gateway", GatewayCommand.help)]
        + CommandList.subcommands.map { ($0.name, $0.help) }

    @Test(arguments: helps.map(\.name))
    func helpIsAsItIsKept(_ name: String) throws {
        let text = try #require(HelpTests.helps.first { $0.name == name }?.text)
        let golden = Golden(name)
        if Golden.isUpdating { try golden.write(text) }
        #expect(text == golden.text)
    }

    @Test func everySubcommandIsListedOnce() {
        let names = CommandList.all.map(\.name)
        #expect(Set(names).count == names.count)
        for name in names { #expect(CommandList.help.contains("\n  \(name) ")) }
    }

    @Test(arguments: [
        (["status"], "status", []),
        (["status", "gw/a", "--json"], "status", ["gw/a", "--json"]),
        (["--broker", "mqtt://h", "status", "gw/a"], "status", ["gw/a", "--broker", "mqtt://h"]),
        (["--broker=mqtt://h", "--json", "agents"], "agents", ["--broker=mqtt://h", "--json"]),
        (["--help"], nil, ["--help"]),
        (["--broker"], nil, ["--broker"]),
        ([], nil, []),
    ])
    func optionsBeforeTheSubcommandMoveBehindIt(_ given: [String], _ subcommand: String?, _ arguments: [String]) {
        let split = CommandList.split(given)
        #expect(split.subcommand == subcommand)
        #expect(split.arguments == arguments)
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func completionsNameEverySubcommand(_ shell: String) throws {
        let text = try #require(Completions.text(for: shell, CommandList.all))
        for name in CommandList.all.map(\.name) { #expect(text.contains(name)) }
        #expect(text.contains("checkin-deadline"))
    }

    @Test func thereAreNoCompletionsForAnUnknownShell() {
        #expect(Completions.text(for: "csh", CommandList.all) == nil)
    }
}
