import ServiceHost

ServiceProgram.main(
    ProvisionerProgram.name, description: ProvisionerProgram.description, options: ProvisionerProgram.options
) { arguments throws(UsageError) in
    try ProvisionerProgram.run(arguments)
}
