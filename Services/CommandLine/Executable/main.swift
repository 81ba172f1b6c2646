import API
import Glibc
import RollcallBench
import RollcallOperator
import RollcallRuntime
import RollcallSupervisor
import ServiceHost

let (subcommand, arguments) = CommandList.split(Array(CommandLine.arguments.dropFirst()))

switch subcommand {
case nil where arguments.contains("--help") || arguments.contains("-h"), "help":
    print(CommandList.help, terminator: "")
    exit(ExitStatus.done)
case nil where arguments.contains("--version"):
    print("rollcall \(ContractVersion.product)")
    exit(ExitStatus.done)
case nil:
    ServiceProgram.complain("rollcall: which subcommand?\nTry 'rollcall --help'.")
    exit(ExitStatus.usage)
case "up": exit(UpCommand.run(arguments))
case "bench": exit(BenchCommand.run(arguments))
case "agent": exit(AgentCommand.run(arguments))
case "gateway": exit(GatewayCommand.run(arguments))
case let name?:
    if let status = CommandList.run(name, arguments) { exit(status) }
    ServiceProgram.complain(
        "rollcall: there is no subcommand '\(name)'\(CommandList.meant(by: name))\nTry 'rollcall --help'.")
    exit(ExitStatus.usage)
}
