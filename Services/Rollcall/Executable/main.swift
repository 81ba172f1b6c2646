internal import Glibc
internal import RollcallSupervisor
internal import ServiceKit

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "up": exit(UpCommand.run(Array(arguments.dropFirst())))
default:
    ServiceProgram.complain("Usage: rollcall up [OPTION]...")
    exit(ExitStatus.usage)
}
