internal import API
internal import Bus
internal import Model
internal import ServiceHost

/// `rollcall sync-templates`: says how far it is while it runs, then what became of whom.
extension Subcommand {
    static let syncTemplates: Subcommand = {
        let form = RequestForm.syncTemplates
        return Subcommand(
            name: "sync-templates", placeholder: form.placeholder,
            summary: "render the templates of a gateway's agents anew",
            details: "Waits as long as agents are done one after another; --timeout is the longest pause between two.",
            options: form.options + [OperatorSettings.json] + OperatorSettings.requestOptions
                + OperatorSettings.connectionOptions + [CommonOptions.help],
            hiddenOptions: form.hiddenOptions + OperatorSettings.hiddenOptions
        ) { invocation throws(CommandFailure) in
            let request = try invocation.request(form)
            let gateway = request["gateway"]?.string ?? ""
            let topics = try invocation.settings().topics
            // A name that is none is refused by the service, with the member's name.
            let session = try invocation.connect(
                following: Identifier.isValid(gateway)
                    ? ["\(topics.root)/agents/\(gateway)/+/lifecycle/\(LifecycleEvent.templatesSynced.rawValue)"] : [])
            defer { session.close() }
            let console = invocation.console
            var (done, told) = (0, 0)
            session.received = { _ in done += 1 }
            session.loop.every(.seconds(1)) {
                guard done != told, !console.isJSON else { return }
                told = done
                console.complain("\(done) agents so far")
            }
            let answer = try session.request(.syncTemplates, request, isFollowed: true)
            if console.isJSON {
                console.writeDocument(answer.payload)
            } else {
                console.write(SyncText.table(answer.value, console.style))
            }
            return answer.value["errors"]?.array?.isEmpty ?? true ? ExitStatus.done : ExitStatus.failed
        }
    }()
}

enum SyncText {
    /// The counts, and below them each agent that failed.
    static func table(_ answer: JSONValue, _ style: Style) -> String {
        let errors = answer["errors"]?.array ?? []
        let count = { (member: String) in "\(answer[member]?.integer ?? 0)" }
        var counts = Table(["GATEWAY", "UPDATED", "SKIPPED", "MAIN", "FAILED"])
        counts.rows = [
            [
                .init(answer["gateway"]?.string ?? "?"), .init(count("agents_updated")), .init(count("agents_skipped")),
                answer["main_updated"] == .bool(true) ? "updated" : "-",
                .init("\(errors.count)", errors.isEmpty ? nil : .red),
            ]
        ]
        guard !errors.isEmpty else { return counts.text(style) }
        var failures = Table(["AGENT", "ERROR"])
        failures.rows = errors.map { [.init($0["agent"]?.string ?? "?"), .init($0["message"]?.string ?? "?")] }
        return counts.text(style) + "\n" + failures.text(style)
    }
}
