internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// `rollcall watch`: lifecycle events as they happen.
extension Subcommand {
    static let watch = Subcommand(
        name: "watch", placeholder: "[ADDRESS]", summary: "show events as they happen",
        details:
            "Connects again by itself; Ctrl-C ends it with status 0. Events while it is not connected are in 'history'.",
        options: [
            OptionSpecification("gateway", value: "GW", help: "only of this gateway and its agents"),
            OptionSpecification("json", help: "one JSON document a line, in the form of 'history'"),
        ] + OperatorSettings.connectionOptions + [CommonOptions.help],
        hiddenOptions: OperatorSettings.requestOptions + OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        let settings = try invocation.settings()
        let filters = try WatchFilters.filters(invocation, settings.topics)
        let console = invocation.console
        let signals = SignalDescriptor([SIGINT, SIGTERM])
        let session = OperatorSession(settings, following: filters)
        var seen = SeenEvents()
        session.received = { delivery in
            guard let event = LiveEvent(delivery), seen.insert(event.id) else { return }
            if console.isJSON { console.writeDocument(event.json) } else { console.write(event.text(console.style)) }
        }
        try session.connect()
        var isLost = false
        session.availabilityChanged = { isAvailable, reason in
            guard isAvailable == isLost else { return }
            isLost = !isAvailable
            console.complain(
                "rollcall watch: \(isAvailable ? "connected again" : "connection lost, trying again: \(reason)")")
        }
        session.loop.watch(signals.descriptor) {
            signals.drain()
            session.loop.stop()
        }
        session.loop.run()
        session.availabilityChanged = { _, _ in }
        session.close()
        return ExitStatus.done
    }
}

/// What `watch` subscribes to.
enum WatchFilters {
    static func filters(_ invocation: Invocation, _ topics: Topics) throws(CommandFailure) -> [String] {
        try invocation.refuseArguments(after: 1)
        return try filters(
            address: invocation.arguments.positional.first, gateway: invocation.arguments.value("gateway"), topics)
    }

    static func filters(address: String?, gateway: String?, _ topics: Topics) throws(CommandFailure) -> [String] {
        if let gateway, !Identifier.isValid(gateway) {
            throw .usage("--gateway: '\(gateway)' is not an id: \(Identifier.rule)")
        }
        guard let address else {
            return [topics.allLifecycle(gateway: gateway), topics.allGatewayLifecycle(gateway: gateway)]
        }
        guard let agent = AgentAddress(address) else {
            throw .usage("'\(address)' is not an address GATEWAY/AGENT: each id is \(Identifier.rule)")
        }
        guard gateway == nil || gateway == agent.gateway else {
            throw .usage("--gateway: \(agent) belongs to \(agent.gateway)")
        }
        return ["\(topics.root)/agents/\(agent)/lifecycle/+"]
    }
}
