import API
internal import Model
import ServiceHost

/// The command subscription of `rollcall-heartbeat-ingest`.
enum HeartbeatIngestProgram {
    static let name = "rollcall-heartbeat-ingest"
    static let description = """
        Takes the heartbeats of all agents and hands them, in batches, to the reconcilers. Any number of instances share the work.
        """

    /// Runs the service until it is told to stop; the exit status.
    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let instance = arguments.value("instance") ?? "1"
        guard Identifier.isValid(instance) else {
            throw UsageError("--instance: '\(instance)' is not a name: \(Identifier.rule)")
        }
        let options = try ProgramOptions(arguments)
        return ServiceRuntime(HeartbeatIngest(), name: .heartbeatIngest, instance: instance, options: options).run()
    }
}
