internal import API
internal import FoundationEssentials
internal import Glibc
internal import RollcallSupervisor
internal import ServiceHost

/// `rollcall bench`: measures a private system on this machine.
public enum BenchCommand {
    private static let heartbeatsDescription = """
        Starts a private system, has N agents send heartbeats, and prints one line of JSON: heartbeats accepted by the
        reconciler a second, the time from a heartbeat to its event at an operator, the processor seconds of every process,
        and, in the same run and alternating with it, the rate of a bare publisher and subscriber through the same broker
        with the same payload, quality of service and window, and the ratio of both. With "storm" instead of "heartbeats":
        many deadlines at once; "rollcall bench storm --help" says more.
        """

    private static let stormDescription = """
        Starts a private system with N agents, has all of them fall silent at once with their gateways lost, while others
        go on beating, and lets the gateways return. Then the first gateway is paused, resumed, given another policy and
        removed, and its owner and the store are killed. Prints one line of JSON: how long each step took, the longest
        turn and the stalls of every service, what of the others was late or wrong, events lost or repeated, wakes a
        second for a gateway, memory and processor seconds of every process. Ends with 1 when anything in "violations" is
        wrong.

        The long form, one huge gateway, and many:
          rollcall bench storm --agents 100000 --gateways 1 --wake-rate 2000/s
          rollcall bench storm --agents 100000 --gateways 1000 --wake-rate 50/s
        """

    public static func run(_ arguments: [String]) -> Int32 {
        do throws(UsageError) {
            let isStorm = arguments.first == "storm"
            let options = isStorm ? StormOptions.specifications : BenchOptions.specifications
            let parsed = try ParsedArguments(arguments, options: options)
            if parsed.has("help") { return help(isStorm: isStorm) }
            switch parsed.positional {
            case ["heartbeats"]:
                let options = try BenchOptions(parsed)
                return measure(logs: parsed.has("log")) { configuration throws(ServiceFailure) in
                    print(JSON.text(try HeartbeatBench(options, configuration).run()))
                    return true
                }
            case ["storm"]:
                let options = try StormOptions(parsed)
                return measure(logs: parsed.has("log")) { configuration throws(ServiceFailure) in
                    var configuration = configuration
                    configuration.instances = [.reconciler: options.reconcilers, .heartbeatIngest: options.ingests]
                    let report = try StormBench(options, configuration).run()
                    print(JSON.text(report))
                    return report.violations.isEmpty
                }
            default: throw UsageError("say what to measure: heartbeats or storm")
            }
        } catch {
            ServiceProgram.complain("rollcall bench: \(error.reason)")
            return ExitStatus.usage
        }
    }

    private static func help(isStorm: Bool) -> Int32 {
        let usage = isStorm ? "rollcall bench storm [OPTION]..." : "rollcall bench heartbeats|storm [OPTION]..."
        let text =
            isStorm
            ? helpText(usage: usage, description: stormDescription, options: StormOptions.specifications)
            : helpText(usage: usage, description: heartbeatsDescription, options: BenchOptions.specifications)
        print(text, terminator: "")
        return ExitStatus.done
    }

    /// Runs a benchmark on a directory of its own; `body` says whether all was well.
    private static func measure(
        logs: Bool, _ body: (SupervisorConfiguration) throws(ServiceFailure) -> Bool
    ) -> Int32 {
        var template = Array("/tmp/rollcall-bench-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else {
            ServiceProgram.complain("rollcall bench: no temporary directory: \(String(cString: strerror(errno)))")
            return ExitStatus.failed
        }
        let directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // What cannot be removed stays in the temporary directory.
        defer { try? FileManager.default.removeItem(atPath: directory) }
        do throws(ServiceFailure) {
            let programs = try InstalledPrograms.locate()
            var configuration = SupervisorConfiguration(data: directory, programs: programs)
            configuration.mqttPort = 0
            configuration.httpPort = 0
            configuration.counterInterval = "100ms"
            configuration.logLevel = logs ? .info : .warning
            // It measures how much there is to be had.
            configuration.rateFactor = 0
            configuration.childOutput = logs ? 2 : open("/dev/null", O_WRONLY | O_CLOEXEC)
            return try body(configuration) ? ExitStatus.done : ExitStatus.failed
        } catch {
            ServiceProgram.complain("rollcall bench: \(error.reason)")
            return error.status
        }
    }
}
