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
            "Connects again by itself and shows what it missed, or that there is a gap; Ctrl-C ends it with status 0.",
        options: [
            OptionSpecification("gateway", value: "GW", help: "only of this gateway and its agents"),
            OptionSpecification("json", help: "one JSON document a line, in the form of 'history'"),
        ] + OperatorSettings.connectionOptions + [CommonOptions.help],
        hiddenOptions: OperatorSettings.requestOptions + OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        let watch = try EventWatch(invocation)
        try watch.run()
        return ExitStatus.done
    }
}

/// One run of `watch`: shows what comes, and after a loss of the connection what has happened meanwhile.
private final class EventWatch {
    /// Pages of history that are read after a loss; what is older is said to be missing.
    private static let pagesMax = 20
    /// Events of different agents come in no order: so far before the last one that was seen it is looked again.
    private static let overlap = TimeSpan.seconds(10)

    private let console: Console
    private let session: OperatorSession
    private let subject: [String: JSONValue]
    private var seen = SeenEvents()
    private let begin = Clock.wallTime()
    private var newest = Clock.wallTime()
    private var isLost = false
    /// Something may have happened that was not seen.
    private var isBehind = false
    /// What comes while it is looked for what was missed.
    private var held: [LiveEvent]?

    init(_ invocation: Invocation) throws(CommandFailure) {
        var settings = try invocation.settings()
        // The services may come back later than the broker.
        settings.timeout = settings.timeout ?? OperatorSettings.timeoutDefault
        console = invocation.console
        session = OperatorSession(settings, following: try WatchFilters.filters(invocation, settings.topics))
        if let address = invocation.arguments.positional.first {
            subject = ["agent": .string(address)]
        } else {
            subject = invocation.arguments.value("gateway").map { ["gateway": .string($0)] } ?? [:]
        }
    }

    func run() throws(CommandFailure) {
        var isOver = false
        let signals = SignalDescriptor([SIGINT, SIGTERM])
        session.received = { [unowned self] delivery in
            guard let event = LiveEvent(delivery) else { return }
            if held == nil { show(event) } else { held?.append(event) }
        }
        try session.connect()
        session.availabilityChanged = { [unowned self] in changed($0, $1) }
        session.loop.watch(signals.descriptor) {
            signals.drain()
            isOver = true
        }
        while !isOver {
            _ = session.loop.run(until: { isOver || isBehind }, for: .seconds(3_600))
            if isBehind, !isOver { catchUp() }
        }
        session.availabilityChanged = { _, _ in }
        session.close()
    }

    private func changed(_ isAvailable: Bool, _ reason: String) {
        guard isAvailable == isLost else { return }
        isLost = !isAvailable
        isBehind = isAvailable
        console.complain(
            "rollcall watch: \(isAvailable ? "connected again" : "connection lost, trying again: \(reason)")")
    }

    private func show(_ event: LiveEvent) {
        guard seen.insert(event.id) else { return }
        if let time = event.value["time"]?.string.flatMap({ Timestamp($0) }) { newest = max(newest, time) }
        if console.isJSON { console.writeDocument(event.json) } else { console.write(event.text(console.style)) }
    }

    /// Shows what history has since the last event that was seen, oldest first, then what has come meanwhile.
    private func catchUp() {
        isBehind = false
        held = []
        let since = max(begin, newest - EventWatch.overlap)
        var missed: [LiveEvent] = []
        var before: String?
        var gap: String?
        do throws(CommandFailure) {
            for _ in 0..<EventWatch.pagesMax {
                var members = subject
                members["since"] = .string(since.description)
                members["limit"] = .integer(Int64(Limits.pageLimitMax))
                members["before"] = before.map(JSONValue.string)
                let answer = try session.request(.history, members).value
                missed += (answer["events"]?.array ?? []).compactMap { LiveEvent(ofHistory: $0) }
                before = answer["next"]?.string
                if before == nil { break }
            }
            if before != nil { gap = "too much has happened" }
        } catch {
            gap = error.reason
        }
        let arrived = held ?? []
        held = nil
        // Without a connection the next one looks again, from the same event on.
        if let gap, !isLost { show(gap: gap, since: since, until: missed.last?.value["time"]?.string) }
        for event in missed.reversed() + arrived { show(event) }
    }

    private func show(gap: String, since: Timestamp, until: String?) {
        let end = until ?? Clock.wallTime().description
        guard console.isJSON else {
            return console.write("\(since)  gap: events until \(end) may be missing: \(Printable.text(gap))\n")
        }
        let members: [String: JSONValue] = [
            "since": .string(since.description), "until": .string(end), "reason": .string(gap),
        ]
        console.writeDocument(JSON.bytes(JSONValue.object(["gap": .object(members)])))
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
