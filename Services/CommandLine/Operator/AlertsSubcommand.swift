internal import AlertDelivery
internal import Alerts
internal import Bus
internal import Model
internal import ServiceHost

/// `rollcall alerts`: the sinks of the file that control-api reads, and whether they work.
extension Subcommand {
    static let alerts = Subcommand(
        name: "alerts", placeholder: "test SINK | list", summary: "where control-api announces agents that are offline",
        details: """
            test sends one message to a sink from here; list checks the file and shows its sinks, without what is secret.
            control-api reads the file when it starts.
            """,
        options: [
            OptionSpecification(
                "alerts", value: "FILE", environment: "ROLLCALL_ALERTS", help: "the configuration of the sinks"),
            CommonOptions.help,
        ],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        guard let path = invocation.arguments.value("alerts") else { throw .usage("which --alerts FILE?") }
        let settings: AlertSettings
        do throws(UsageError) {
            settings = try AlertSettings.read(path)
        } catch {
            throw .usage(error.reason)
        }
        switch invocation.arguments.positional.first {
        case "list":
            try invocation.refuseArguments(after: 1)
            for sink in settings.sinks {
                invocation.console.write("\(sink.name)  \(sink.form.rawValue)  \(sink.server)\n")
            }
        case "test":
            try invocation.refuseArguments(after: 2)
            guard invocation.arguments.positional.count == 2 else { throw .usage("which SINK?") }
            let name = invocation.arguments.positional[1]
            guard let sink = settings.sinks.first(where: { $0.name == name }) else {
                throw .usage("\(path): there is no sink '\(name)'")
            }
            try test(sink)
            invocation.console.write("\(name) has taken it\n")
        default: throw .usage("test SINK or list?")
        }
        return ExitStatus.done
    }

    private static func test(_ sink: AlertSink) throws(CommandFailure) {
        let loop = EventLoop()
        let poster = AlertPoster(loop: loop)
        var outcome: PostOutcome?
        poster.post(sink.trial(at: Clock.wallTime())) { outcome = $0 }
        _ = loop.run(until: { outcome != nil }, for: .seconds(30))
        switch outcome {
        case .answered(200..<300, _): return
        case .answered(let status, _): throw .failed("\(sink.name): \(sink.server) answered \(status)")
        case .failed(let reason): throw .failed("\(sink.name): \(sink.server): \(reason)")
        case nil: throw .failed("\(sink.name): \(sink.server) did not answer")
        }
    }
}
