internal import API
internal import Bus
internal import Doctor
internal import Model
internal import ServiceHost

/// `rollcall doctor`: looks at the system, or at one agent, and says what is wrong, what shows it and what to do.
extension Subcommand {
    static let doctor = Subcommand(
        name: "doctor", placeholder: "[ADDRESS]", summary: "say what is wrong with the system, or with one agent",
        details: "Status: 0 nothing is wrong, 1 something is, 69 the broker cannot be reached.",
        options: [
            OptionSpecification("observe", value: "DURATION", help: "look for so long (default: one look)"),
            OptionSpecification("verbose", help: "name the checks that were not made, and why"), OperatorSettings.json,
        ] + OperatorSettings.requestOptions + OperatorSettings.connectionOptions + [CommonOptions.help],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        try invocation.refuseArguments(after: 1)
        let subject = try invocation.arguments.positional.first.map { text throws(CommandFailure) in
            try invocation.agent(text)
        }
        let began = Clock.now()
        let snapshot = try Examination(invocation, of: subject).snapshot()
        let diagnosis = Diagnosis(of: snapshot)
        invocation.show(diagnosis, since: began, isVerbose: invocation.arguments.has("verbose"))
        if snapshot.broker != .reached { return ExitStatus.unreachable }
        return diagnosis.isHealthy ? ExitStatus.done : ExitStatus.failed
    }
}

extension Invocation {
    /// `rollcall status --check`: whether the system does its work, for a monitor.
    func checkServices() throws(CommandFailure) -> Int32 {
        let began = Clock.now()
        let snapshot = try Examination(self, of: nil, ofAgents: false).snapshot()
        let diagnosis = Diagnosis(ofServicesOf: snapshot)
        show(diagnosis, since: began, isVerbose: false)
        if snapshot.broker != .reached { return ExitStatus.unreachable }
        return diagnosis.isInterrupted ? ExitStatus.failed : ExitStatus.done
    }

    fileprivate func show(_ diagnosis: Diagnosis, since began: Instant, isVerbose: Bool) {
        guard !console.isJSON else { return console.writeDocument(JSON.bytes(diagnosis)) }
        let took = TimeSpan(milliseconds: Clock.now().milliseconds(since: began))
        console.write(DoctorText.text(diagnosis, took: took, isVerbose: isVerbose, now: console.now, console.style))
    }
}

extension Invocation {
    func agent(_ text: String) throws(CommandFailure) -> AgentAddress {
        guard let agent = AgentAddress(text) else { throw .usage("'\(text)' is no GATEWAY/AGENT") }
        return agent
    }
}

/// Gathers what a diagnosis looks at.
struct Examination {
    private let subject: AgentAddress?
    private let ofAgents: Bool
    private let observed: TimeSpan
    private var settings: OperatorSettings

    /// - Parameters:
    ///   - subject: `nil` for the whole system.
    ///   - ofAgents: whether agents are looked at.
    init(_ invocation: Invocation, of subject: AgentAddress?, ofAgents: Bool = true) throws(CommandFailure) {
        self.subject = subject
        self.ofAgents = ofAgents
        settings = try invocation.settings()
        do {
            observed = try invocation.arguments.duration("observe") ?? .zero
        } catch {
            throw .usage(error.reason)
        }
        settings.timeout = min(settings.timeout ?? Gathering.answerLimit, Gathering.answerLimit)
    }

    func snapshot() throws(CommandFailure) -> Snapshot {
        let system = "$SYS/broker/"
        let session = OperatorSession(settings, following: [settings.topics.allPresence, system + "#"])
        var presences: [String: Presence] = [:]
        var incarnations = Incarnations()
        var counters: [String: Int64] = [:]
        var clocks: [String: Int64] = [:]
        session.received = { delivery in
            if delivery.topic.hasPrefix(system) {
                counters[String(delivery.topic.dropFirst(system.count))] = Int64(
                    String(decoding: delivery.payload, as: UTF8.self))
            } else {
                // An emptied presence, and what cannot be read, is no service.
                let presence = try? JSON.decode(Presence.self, from: delivery.payload)
                presences[delivery.topic] = presence
                guard let presence else { return }
                incarnations.heard(presence, now: Clock.now())
                clocks[presence.name] = presence.time.map {
                    $0.millisecondsSince1970 - Clock.wallTime().millisecondsSince1970
                }
            }
        }
        var gathering = Gathering(at: Clock.wallTime(), subject: subject, ofAgents: ofAgents)
        do {
            try session.connect()
        } catch {
            guard case .unreachable(let reason) = error else { throw error }
            let isRefused =
                reason.hasSuffix("(as \(settings.username))") || reason.hasPrefix("the broker does not let")
            gathering.snapshot.broker = isRefused ? .refused(reason) : .unreachable(reason)
            return gathering.snapshot
        }
        defer { session.close() }
        // The retained presences were queued by the broker before it took the request: they come before its answer.
        try look(session, &gathering)
        var snapshot = gathering.snapshot
        snapshot.countersBefore = counters
        if observed > .zero { _ = session.loop.run(until: { false }, for: observed) }
        snapshot.observedFor = observed
        snapshot.counters = counters
        snapshot.incarnations = incarnations
        snapshot.clocks = clocks
        snapshot.services = presences.sorted { $0.key < $1.key }.map(\.value)
        return snapshot
    }

    private func look(_ session: OperatorSession, _ gathering: inout Gathering) throws(CommandFailure) {
        do {
            while let (verb, members) = gathering.question {
                let answer = try session.request(verb, members)
                do {
                    try gathering.answered(answer.payload)
                } catch {
                    throw CommandFailure.failed(
                        "the answer to \(verb.rawValue) cannot be read: \(JSON.describe(error).detail)")
                }
            }
        } catch let failure as CommandFailure {
            // No answer is a finding; no such agent is not one of the system's.
            guard case .refused(let refusal) = failure, refusal.isUnavailable else { throw failure }
            gathering.unanswered()
        } catch {
            throw .failed("\(error)")
        }
    }
}

/// A diagnosis for people.
enum DoctorText {
    static func text(
        _ diagnosis: Diagnosis, took: TimeSpan, isVerbose: Bool, now: Timestamp, _ style: Style
    ) -> String {
        var text = diagnosis.findings.map { finding($0, now: now, style) }.joined()
        let passed = diagnosis.checks.count { $0.result == .pass }
        let skipped = diagnosis.checks.filter { $0.result == .skipped }
        if diagnosis.isHealthy {
            text += style.paint("Nothing is wrong", .green) + ": "
        }
        text += "\(passed) check\(passed == 1 ? "" : "s") passed"
        if !skipped.isEmpty { text += ", \(skipped.count) not made\(isVerbose ? "" : " (--verbose names them)")" }
        text += ", \(took.milliseconds / 1_000).\(took.milliseconds / 100 % 10) s\n"
        guard isVerbose else { return text }
        for check in skipped { text += "  \(check.id): \(Printable.text(check.because ?? ""))\n" }
        return text
    }

    private static func finding(_ finding: Finding, now: Timestamp, _ style: Style) -> String {
        let isError = finding.severity == .error
        let mark = style.paint(isError ? "✗" : "!", isError ? .red : .yellow)
        var text = "\(mark) \(Printable.text(finding.summary))  \(style.paint(finding.id, .dim))\n"
        for (index, evidence) in finding.evidence.enumerated() {
            let age = evidence.at.map { ", \(RelativeTime.text($0, now: now))" } ?? ""
            text += line(index == 0 ? "evidence" : "", "\(evidence.what) (\(evidence.source)\(age))")
        }
        text += line("cause", finding.cause)
        for (index, action) in finding.actions.enumerated() {
            text += line(index == 0 ? "do" : "", action.summary + (action.command.map { ": \($0)" } ?? ""))
        }
        return text
    }

    private static func line(_ name: String, _ text: String) -> String {
        "    \(name)" + String(repeating: " ", count: 11 - name.count) + Printable.text(text) + "\n"
    }
}
