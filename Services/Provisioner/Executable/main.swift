import API
internal import ServiceHost

ServiceProgram.main(
    "rollcall-provisioner",
    description:
        "Takes the commands of operators, publishes the wakes of agents and hands out their files and credentials.",
    options: [
        OptionSpecification(
            "templates", value: "DIR", environment: "ROLLCALL_TEMPLATES",
            help: "templates of the agents' files: main/, lead/, worker/, common/")
    ]
) { arguments throws(UsageError) in
    let instance = try CommonOptions.instanceName(arguments)
    let options = try ProgramOptions(arguments)
    guard let directory = arguments.value("templates") else {
        throw UsageError("no templates: give --templates or ROLLCALL_TEMPLATES")
    }
    do throws(TemplateDirectoryError) {
        let service = Provisioner(templates: try TemplateDirectory.load(directory), directory: directory)
        return ServiceRuntime(service, name: .provisioner, instance: instance, options: options).run()
    } catch {
        throw UsageError("--templates: \(error.description)")
    }
}
