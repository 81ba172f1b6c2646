internal import API
internal import Glibc

/// What every service's executable does: parse, refuse bad usage, run.
public enum ServiceProgram {
    /// Runs `body` with the parsed arguments; the exit status.
    ///
    /// - Parameter extra: the options of this service beside those of all.
    public static func main(
        _ name: String, description: String, options extra: [OptionSpecification],
        body: (ParsedArguments) throws(UsageError) -> Int32
    ) -> Never {
        let options = extra + CommonOptions.service
        do throws(UsageError) {
            let arguments = try ParsedArguments(Array(CommandLine.arguments.dropFirst()), options: options)
            if arguments.has("help") {
                print(
                    helpText(usage: "\(name) [OPTION]...", description: description, options: options), terminator: "")
                exit(ExitStatus.done)
            }
            if arguments.has("version") {
                print("\(name) \(ContractVersion.product)")
                exit(ExitStatus.done)
            }
            if let unexpected = arguments.positional.first { throw UsageError("unexpected argument '\(unexpected)'") }
            exit(try body(arguments))
        } catch {
            complain("\(name): \(error.reason)\nTry '\(name) --help'.")
            exit(ExitStatus.usage)
        }
    }

    /// Writes a line to standard error.
    public static func complain(_ text: String) {
        let line = Array((text + "\n").utf8)
        _ = write(2, line, line.count)
    }
}
