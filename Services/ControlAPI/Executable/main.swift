import ServiceHost

ServiceProgram.main(
    ControlAPIProgram.name, description: ControlAPIProgram.description, options: ControlAPIProgram.options
) { arguments throws(UsageError) in
    try ControlAPIProgram.run(arguments)
}
