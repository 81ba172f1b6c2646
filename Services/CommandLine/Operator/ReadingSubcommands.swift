internal import API
internal import Bus
internal import Model
internal import ServiceHost

/// Subcommands that only look.
extension Subcommand {
    private static func reading(
        _ name: String, _ form: RequestForm, _ summary: String, placeholder: String? = nil, details: String = "",
        extra: [OptionSpecification] = [],
        run: @escaping @Sendable (Invocation) throws(CommandFailure) -> Int32
    ) -> Subcommand {
        Subcommand(
            name: name, placeholder: placeholder ?? form.placeholder, summary: summary, details: details,
            options: form.options + extra + [OperatorSettings.json] + OperatorSettings.requestOptions
                + OperatorSettings.connectionOptions + [CommonOptions.help],
            hiddenOptions: form.hiddenOptions + OperatorSettings.hiddenOptions, run: run)
    }

    static let gateways = reading("gateways", .gateways, "list the gateways") { invocation throws(CommandFailure) in
        let answer = try invocation.ask(.listGateways, try invocation.request(.gateways))
        return invocation.show(answer) { StatusText.gateways(answer.value["gateways"]?.array ?? [], $0) }
    }

    static let status = reading(
        "status", .summary, "show the system, or one agent", placeholder: "[ADDRESS]",
        details: "Without an address: services, the partitions they own and how many agents are where.",
        extra: [
            OptionSpecification(
                "check", help: "say what keeps the services from their work, and end with 1 if anything does"),
            OptionSpecification(
                "dead-letters", help: "list what the status store could never commit and put aside, newest first"),
        ]
    ) { invocation throws(CommandFailure) in
        let isCheck = invocation.arguments.has("check")
        try invocation.refuseArguments(after: isCheck ? 0 : 1)
        if isCheck { return try invocation.checkServices() }
        guard !invocation.arguments.positional.isEmpty else { return try SystemStatus(invocation: invocation).run() }
        let answer = try invocation.ask(.get, ["agent": .string(invocation.arguments.positional[0])])
        if invocation.console.isJSON { return invocation.show(answer) { _ in "" } }
        let record = try answer.record()
        return invocation.show(answer) { RecordText.sheet(record, now: invocation.console.now, $0) }
    }

    static let agents = reading(
        "agents", .agents, "list agents",
        extra: [OptionSpecification("sort", value: AgentOrder.names, help: "in this order (default: by address)")]
    ) { invocation throws(CommandFailure) in
        let order = try AgentOrder(invocation)
        let request = try invocation.request(.agents)
        let isWhole = request["limit"] == nil
        let session = try invocation.connect()
        defer { session.close() }
        var pages = ListPages(request)
        var answers: [Answer] = []
        repeat {
            answers.append(try session.request(.list, pages.request))
        } while pages.advance(to: answers[answers.count - 1].value["next"]?.string) && isWhole
        let records = answers.flatMap { $0.value["records"]?.array ?? [] }
        if invocation.console.isJSON {
            // One page is shown as it came; several become one document of the same form.
            let whole = JSONValue.object(["records": .array(records), "next": .null])
            invocation.console.writeDocument(answers.count == 1 ? answers[0].payload : JSON.bytes(whole))
            return ExitStatus.done
        }
        let decoded = order.sorted(try Answer.decode([AgentRecord].self, JSON.bytes(records)))
        let console = invocation.console
        console.write(RecordText.table(decoded, now: console.now, console.style, columns: console.columns))
        if let next = answers.last?.value["next"]?.string { invocation.console.complain("more: --after \(next)") }
        return ExitStatus.done
    }

    static let history = reading("history", .history, "show what happened, to an agent or to all, newest first") {
        invocation throws(CommandFailure) in
        let answer = try invocation.ask(.history, try invocation.request(.history))
        if invocation.console.isJSON { return invocation.show(answer) { _ in "" } }
        let events = try Answer.decode([HistoryEvent].self, JSON.bytes(answer.value["events"] ?? .array([])))
        let status = invocation.show(answer) {
            EventText.table(events, $0, isOfOne: !invocation.arguments.positional.isEmpty)
        }
        if let next = answer.value["next"]?.string { invocation.console.complain("older: --before \(next)") }
        return status
    }
}

extension Invocation {
    /// The answer as it came with `--json`, else the text.
    fileprivate func show(_ answer: Answer, text: (Style) -> String) -> Int32 {
        if console.isJSON { console.writeDocument(answer.payload) } else { console.write(text(console.style)) }
        return ExitStatus.done
    }
}

/// `rollcall status` without an address.
private struct SystemStatus {
    let invocation: Invocation

    func run() throws(CommandFailure) -> Int32 {
        let request = try invocation.request(.summary)
        let session = OperatorSession(
            try invocation.settings(), following: [try invocation.settings().topics.allPresence])
        var presences: [String: JSONValue] = [:]
        session.received = { delivery in
            // An emptied presence, and what cannot be read, is no service.
            presences[delivery.topic] = try? JSON.decode(JSONValue.self, from: delivery.payload)
        }
        try session.connect()
        defer { session.close() }
        // The retained presences were queued by the broker before it took the request: they come before its answer.
        let summary: Answer?
        let failure: CommandFailure?
        do {
            (summary, failure) = (try session.request(.summary, request), nil)
        } catch {
            (summary, failure) = (nil, error)
        }
        show(presences.sorted { $0.key < $1.key }.map(\.value), summary?.value)
        if let failure { throw failure }
        return ExitStatus.done
    }

    private func show(_ services: [JSONValue], _ summary: JSONValue?) {
        let console = invocation.console
        if console.isJSON {
            return console.writeDocument(
                JSON.bytes(JSONValue.object(["services": .array(services), "summary": summary ?? .null])))
        }
        if invocation.arguments.has("dead-letters") {
            return console.write(StatusText.deadLetters(services, now: console.now, console.style))
        }
        console.write(StatusText.services(services, now: console.now, console.style))
        console.write(StatusText.warnings(services, console.style))
        if let summary { console.write("\n" + StatusText.summary(summary, console.style)) }
    }
}
