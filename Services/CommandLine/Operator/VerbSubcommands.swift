internal import API
internal import Bus
internal import Model
internal import ServiceHost

/// Subcommands that change something: a request, its answer in a line or two.
extension Subcommand {
    static let tokenFile = OptionSpecification(
        "token-file", value: "FILE", help: "write a minted token to FILE (mode 0600) instead of printing it")
    static let wait = OptionSpecification(
        "wait", value: "[DURATION]",
        help: "wait, so long at most: status 0 when the agent is online, 1 when it is offline or the time is over")

    /// - Parameter mints: it may answer with a token; `waits`: it begins a cycle, whose end can be waited for.
    static func verb(
        _ name: String, _ form: RequestForm, _ summary: String, details: String = "", mints: Bool = false,
        waits: Bool = false,
        text: @escaping @Sendable (Answer, Style) throws(CommandFailure) -> String
    ) -> Subcommand {
        Subcommand(
            name: name, placeholder: form.placeholder, summary: summary, details: details,
            options: form.options + (mints ? [tokenFile] : []) + (waits ? [wait] : []) + [OperatorSettings.json]
                + OperatorSettings.requestOptions + OperatorSettings.connectionOptions + [CommonOptions.help],
            hiddenOptions: form.hiddenOptions + OperatorSettings.hiddenOptions
        ) { invocation throws(CommandFailure) in
            try VerbCall(form: form, mints: mints, invocation: invocation, text: text).run()
        }
    }

    static let verbs: [Subcommand] = [
        verb("add-gateway", .addGateway, "add a gateway, or change its policy", mints: true) { answer, _ in
            "gateway \(answer.name("gateway")) \(answer.value["token"]?.string == nil ? "was there, policy updated" : "added")\n"
        },
        verb("remove-gateway", .removeGateway, "remove a gateway") { answer, _ in
            "gateway \(answer.name("gateway")) removed with \(answer.agents("deleted_agents"))\n"
        },
        verb(
            "provision", .provision, "make an agent and wake it; an existing one gets a new cycle",
            details: "Members that are not given keep their values. The token is shown once, when it is minted.",
            mints: true,
            waits: true, text: recordLine),
        verb(
            "update", .update, "change an agent and wake it",
            details: "Policy and variables are merged by member.", waits: true, text: recordLine),
        verb("wake", .wake, "begin a new cycle with nothing changed", waits: true, text: recordLine),
        verb("delete", .delete, "stop and remove an agent", text: recordLine),
        verb("pause", .pause, "stop waking and judging agents", details: pauseDetails) { answer, _ in
            "paused \(answer.agents("paused"))\n"
        },
        verb("resume", .resume, "end a pause", details: pauseDetails) { answer, _ in
            "resumed \(answer.agents("paused"))\n"
        },
        verb(
            "rotate-token", .rotateToken, "mint a new token of an agent or a gateway",
            details: "The old one works until the new one is first used, at most 10 minutes.", mints: true
        ) { answer, _ throws(CommandFailure) in
            answer.value["record"]?.object == nil
                ? "token of gateway \(answer.name("gateway")) rotated\n"
                : "token of \(try answer.record().address) rotated\n"
        },
        syncTemplates,
    ]

    private static let pauseDetails = "Give one of ADDRESS, --gateway and --board."

    @Sendable private static func recordLine(_ answer: Answer, _ style: Style) throws(CommandFailure) -> String {
        RecordText.line(try answer.record(), style)
    }
}

extension Answer {
    /// The record that it carries.
    func record() throws(CommandFailure) -> AgentRecord {
        try Answer.record(JSON.bytes(value["record"] ?? .null))
    }

    static func record(_ bytes: [UInt8]) throws(CommandFailure) -> AgentRecord {
        try decode(AgentRecord.self, bytes)
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws(CommandFailure) -> Value {
        do {
            return try JSON.decode(type, from: bytes)
        } catch {
            let (member, detail) = JSON.describe(error)
            throw .failed("the answer cannot be read (\(member): \(detail)); --json shows it as it came")
        }
    }

    fileprivate func name(_ member: String) -> String { Printable.text(value[member]?.string ?? "") }

    fileprivate func agents(_ member: String) -> String {
        let count = value[member]?.integer ?? 0
        return "\(count) agent\(count == 1 ? "" : "s")"
    }
}

/// One call of a verb: asks, keeps the token, waits.
private struct VerbCall {
    let form: RequestForm
    let mints: Bool
    let invocation: Invocation
    let text: @Sendable (Answer, Style) throws(CommandFailure) -> String

    private var arguments: ParsedArguments { invocation.arguments }
    private var console: Console { invocation.console }

    func run() throws(CommandFailure) -> Int32 {
        let request = try invocation.request(form)
        let tokenFile = try arguments.value("token-file").map { path throws(CommandFailure) in try TokenFile(path) }
        let waits = arguments.has("wait")
        let limit = try invocation.duration("wait")
        if waits, request["wake"] == .bool(false) {
            throw .usage("--wait: with --no-wake there is nothing to wait for")
        }
        // An address that is none is refused by the service, with the member's name.
        let agent = request["agent"]?.string.flatMap { AgentAddress($0) }
        let settings = try invocation.settings()
        let filters = waits ? agent.map { [settings.topics.status($0)] } ?? [] : []
        let session = OperatorSession(settings, following: filters)
        var waiting = OnlineWait()
        let showProgress = {
            if !console.isJSON, let progress = waiting.progress(now: console.now) { console.complain(progress) }
        }
        session.received = {
            waiting.received($0.payload)
            showProgress()
        }
        try session.connect()
        defer { session.close() }
        let answer = try session.request(form.verb, request)
        try keepToken(of: answer, in: tokenFile)
        guard waits else {
            try show(answer, tokenFile: tokenFile)
            return answer.value["errors"]?.array?.isEmpty ?? true ? ExitStatus.done : ExitStatus.failed
        }
        // The token is not left to the end of a wait that may be broken off.
        if !console.isJSON { try show(answer, tokenFile: tokenFile) }
        waiting.expected = try answer.record().generation
        showProgress()
        let end = OnlineWait.run(session.loop, for: limit) { waiting.end }
        let record = waiting.payload
        if console.isJSON {
            showDocument(answer, record: record, hidesToken: tokenFile != nil)
        } else if let record {
            console.write(RecordText.sheet(try Answer.record(record), now: console.now, console.style))
        }
        if end == .removed { throw .failed("the agent was removed") }
        if end == .overdue { throw .failed("neither online nor offline after \(arguments.value("wait") ?? "")") }
        return end == .online ? ExitStatus.done : ExitStatus.failed
    }

    private func keepToken(of answer: Answer, in file: TokenFile?) throws(CommandFailure) {
        guard let file else { return }
        guard let token = answer.value["token"]?.string else {
            return console.complain("no token was minted, the one that is there stays: \(file.path) is not written")
        }
        try file.write(token)
    }

    private func show(_ answer: Answer, tokenFile: TokenFile?) throws(CommandFailure) {
        let token = answer.value["token"]?.string
        if console.isJSON {
            guard token != nil, tokenFile != nil else { return console.writeDocument(answer.payload) }
            return showDocument(answer, record: nil, hidesToken: true)
        }
        console.write(try text(answer, console.style))
        guard let token else { return }
        console.write(tokenFile.map { "token written to \($0.path)\n" } ?? "token \(Printable.text(token))\n")
    }

    /// The answer with the record as it became, and without the token when that has gone to its file.
    private func showDocument(_ answer: Answer, record: [UInt8]?, hidesToken: Bool) {
        var members = answer.value.object ?? [:]
        // It was read as JSON when it came.
        if let record, let value = try? JSON.decode(JSONValue.self, from: record) { members["record"] = value }
        if hidesToken, members["token"] != nil { members["token"] = .null }
        console.writeDocument(JSON.bytes(JSONValue.object(members)))
    }
}
