import API
internal import Model
internal import ServiceHost

ServiceProgram.main(
    "rollcall-reconciler",
    description: "Owns partitions of agents: keeps their deadlines, orders their wakes, decides who is offline.",
    options: CommonOptions.policy
) { arguments throws(UsageError) in
    let policy = Policy().overridden(by: try CommonOptions.policyOverrides(arguments))
    let options = try ProgramOptions(arguments)
    let instance = try CommonOptions.instanceName(arguments)
    return ServiceRuntime(
        ReconcilerService(systemPolicy: policy), name: .reconciler, instance: instance, options: options
    ).run()
}
