import ServiceHost

ServiceProgram.main(HeartbeatIngestProgram.name, description: HeartbeatIngestProgram.description, options: []) {
    arguments throws(UsageError) in
    try HeartbeatIngestProgram.run(arguments)
}
