import API
internal import ServiceHost

ServiceProgram.main(
    "rollcall-status-store",
    description: "Keeps all state of Rollcall, publishes what is committed, and answers what can be looked up.",
    options: StatusStoreOptions.specifications
) { (arguments) throws(UsageError) in
    let options = try StatusStoreOptions(arguments)
    let common = try ProgramOptions(arguments)
    let instance = try CommonOptions.instanceName(arguments)
    return ServiceRuntime(StatusStore(options), name: .statusStore, instance: instance, options: common).run()
}
