import API
internal import ServiceHost

ServiceProgram.main(
    "rollcall-heartbeat-ingest",
    description: """
        Takes the heartbeats of all agents and hands them, in batches, to the reconcilers. Any number of instances share the work.
        """, options: []
) { arguments throws(UsageError) in
    let instance = try CommonOptions.instanceName(arguments)
    let options = try ProgramOptions(arguments)
    return ServiceRuntime(HeartbeatIngest(), name: .heartbeatIngest, instance: instance, options: options).run()
}
