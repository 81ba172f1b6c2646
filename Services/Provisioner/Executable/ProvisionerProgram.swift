import API
internal import Model
import ServiceHost

/// The command line of `rollcall-provisioner`.
enum ProvisionerProgram {
    static let name = "rollcall-provisioner"
    static let description = """
        Takes the commands of operators, publishes the wakes of agents and hands out their files and credentials.
        """

    static let options = [
        OptionSpecification(
            "templates", value: "DIR", environment: "ROLLCALL_TEMPLATES",
            help: "templates of the agents' files: main/, lead/, worker/, common/")
    ]

    /// Runs the service until it is told to stop; the exit status.
    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let instance = arguments.value("instance") ?? "1"
        guard Identifier.isValid(instance) else {
            throw UsageError("--instance: '\(instance)' is not a name: \(Identifier.rule)")
        }
        let options = try ProgramOptions(arguments)
        guard let directory = arguments.value("templates") else {
            throw UsageError("no templates: give --templates or ROLLCALL_TEMPLATES")
        }
        do {
            let templates = try TemplateDirectory.load(directory)
            let service = Provisioner(templates: templates, directory: directory)
            return ServiceRuntime(service, name: .provisioner, instance: instance, options: options).run()
        } catch {
            throw UsageError("--templates: \(error.description)")
        }
    }
}
