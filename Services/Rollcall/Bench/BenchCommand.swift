internal import Contract
internal import FoundationEssentials
internal import Glibc
internal import RollcallSupervisor
internal import ServiceKit

/// `rollcall bench heartbeats`: measures a private system on this machine.
public enum BenchCommand {
    static let description = """
        Starts a private system, has N agents send heartbeats, and prints one line of JSON: heartbeats accepted by the
        reconciler a second, the time from a heartbeat to its event at an operator, the processor seconds of every process,
        and, in the same run and alternating with it, the rate of a bare publisher and subscriber through the same broker
        with the same payload, quality of service and window, and the ratio of both.
        """

    public static func run(_ arguments: [String]) -> Int32 {
        do throws(UsageError) {
            let parsed = try ParsedArguments(arguments, options: BenchOptions.specifications)
            if parsed.has("help") {
                let usage = "rollcall bench heartbeats [OPTION]..."
                print(
                    helpText(usage: usage, description: description, options: BenchOptions.specifications),
                    terminator: "")
                return ExitStatus.done
            }
            guard parsed.positional == ["heartbeats"] else { throw UsageError("say what to measure: heartbeats") }
            return measure(try BenchOptions(parsed), logs: parsed.has("log"))
        } catch {
            ServiceProgram.complain("rollcall bench: \(error.reason)")
            return ExitStatus.usage
        }
    }

    private static func measure(_ options: BenchOptions, logs: Bool) -> Int32 {
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
            configuration.logLevel = .warning
            configuration.childOutput = logs ? 2 : open("/dev/null", O_WRONLY | O_CLOEXEC)
            let report = try HeartbeatBench(options, configuration).run()
            print(JSON.text(report))
            return ExitStatus.done
        } catch {
            ServiceProgram.complain("rollcall bench: \(error.reason)")
            return error.status
        }
    }
}
