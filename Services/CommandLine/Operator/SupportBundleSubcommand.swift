internal import API
internal import Bus
internal import Doctor
internal import Glibc
internal import Model
internal import ServiceHost

/// `rollcall support-bundle`: what an engineer needs to see who cannot look himself, as one JSON document without secrets.
extension Subcommand {
    static let supportBundle = Subcommand(
        name: "support-bundle", placeholder: "FILE [ADDRESS]...",
        summary: "write down what an engineer needs to see, without secrets",
        details: """
            FILE becomes one JSON document, which only its owner may read: versions, services, gateways, counts, the broker's counters,
            what doctor finds, the newest events, and record and history of each ADDRESS. Tokens, passwords and the values of
            variables are taken out. Read it before you hand it on: notes and names are in it.
            Status: as of doctor.
            """,
        options: [
            OptionSpecification(
                "attach", value: "FILE", isRepeatable: true,
                help: "the end of a text file goes with it, as a log, or a page of /metrics")
        ] + OperatorSettings.requestOptions + OperatorSettings.connectionOptions + [CommonOptions.help],
        hiddenOptions: OperatorSettings.hiddenOptions
    ) { invocation throws(CommandFailure) in
        let words = invocation.arguments.positional
        guard let file = words.first, !file.isEmpty else { throw .usage("which FILE?") }
        let agents = try words.dropFirst().map { text throws(CommandFailure) in try invocation.agent(text) }
        guard access(file, F_OK) != 0 else { throw .failed("\(file): it is there already") }
        var bundle = try SupportBundle(invocation)
        let status = try bundle.gather(agents)
        do throws(FileFailure) {
            try SmallFile.replace(file, with: bundle.text + "\n")
        } catch {
            throw .failed(error.reason)
        }
        invocation.console.write("\(file) written; read it before you hand it on\n")
        return status
    }
}

private struct SupportBundle {
    private static let eventsMax: Int64 = 500
    /// Of each attached file.
    private static let attachedBytesMax = 4_194_304

    private let invocation: Invocation
    private let settings: OperatorSettings
    private var members: [String: JSONValue]

    init(_ invocation: Invocation) throws(CommandFailure) {
        self.invocation = invocation
        settings = try invocation.settings()
        members = [
            "created_at": .string("\(invocation.console.now)"), "version": .string(ContractVersion.product),
            "contract": .string("\(ContractVersion.current)"), "topic_root": .string(settings.topics.root),
            "operator": .string(settings.username), "broker": .string("\(settings.broker)"),
        ]
        let environment = ParsedArguments.processEnvironment().filter { $0.key.hasPrefix("ROLLCALL_") }
        members["environment"] = .object(environment.mapValues { .string($0) })
        var files: [JSONValue] = []
        let configuration = (invocation.arguments.value("data") ?? SystemLocation.defaultDirectory) + "/mosquitto.conf"
        for name in invocation.arguments.values("attach") + (access(configuration, R_OK) == 0 ? [configuration] : []) {
            do throws(FileFailure) {
                let bytes = Redaction.lines(try SmallFile.read(name), atMost: SupportBundle.attachedBytesMax)
                files.append(.object(["name": .string(name), "text": .string(String(decoding: bytes, as: UTF8.self))]))
            } catch {
                throw .failed(error.reason)
            }
        }
        members["files"] = .array(files)
    }

    /// The whole, without secrets.
    var text: String {
        let arguments = invocation.arguments
        let variables = ["ROLLCALL_PASSWORD", "ROLLCALL_HTTP_TOKEN"].compactMap(arguments.environmentValue)
        let redaction = Redaction(secrets: [settings.broker.password ?? ""] + variables)
        return JSON.text(redaction.value(.object(members)))
    }

    /// Asks for everything. What is not answered is missing, and the report of doctor says why.
    ///
    /// - Returns: the status of doctor.
    mutating func gather(_ agents: [AgentAddress]) throws(CommandFailure) -> Int32 {
        let (system, status) = try report(of: nil)
        members["doctor"] = system
        guard status != ExitStatus.unreachable else { return status }
        let brokerTopics = "$SYS/broker/"
        let session = OperatorSession(settings, following: [settings.topics.allPresence, brokerTopics + "#"])
        var services: [String: JSONValue] = [:]
        var counters: [String: JSONValue] = [:]
        session.received = { delivery in
            if delivery.topic.hasPrefix(brokerTopics) {
                counters[String(delivery.topic.dropFirst(brokerTopics.count))] = .string(
                    String(decoding: delivery.payload, as: UTF8.self))
            } else {
                // An emptied presence, and what cannot be read, is no service.
                services[delivery.topic] = try? JSON.decode(JSONValue.self, from: delivery.payload)
            }
        }
        try session.connect()
        defer { session.close() }
        for (name, verb) in [("summary", Verb.summary), ("gateways", .listGateways)] {
            members[name] = try answer(session, verb, [:])
        }
        members["history"] = try answer(session, .history, ["limit": .integer(SupportBundle.eventsMax)])
        var described: [JSONValue] = []
        for agent in agents {
            let address = JSONValue.string("\(agent)")
            let history: [String: JSONValue] = ["agent": address, "limit": .integer(SupportBundle.eventsMax)]
            described.append(
                .object([
                    "agent": address, "get": try answer(session, .get, ["agent": address]),
                    "history": try answer(session, .history, history), "doctor": try report(of: agent).diagnosis,
                ]))
        }
        members["agents"] = .array(described)
        members["services"] = .array(services.sorted { $0.key < $1.key }.map(\.value))
        members["broker_counters"] = .object(counters)
        return status
    }

    /// The answer, or the problem that came in its place.
    private func answer(
        _ session: OperatorSession, _ verb: Verb, _ request: [String: JSONValue]
    ) throws(CommandFailure) -> JSONValue {
        do throws(CommandFailure) {
            return try session.request(verb, request).value
        } catch {
            guard case .refused(let refusal) = error else { throw error }
            return .string(refusal.text)
        }
    }

    private func report(of agent: AgentAddress?) throws(CommandFailure) -> (diagnosis: JSONValue, status: Int32) {
        let snapshot: Snapshot
        do throws(CommandFailure) {
            snapshot = try Examination(invocation, of: agent).snapshot()
        } catch {
            guard case .refused(let refusal) = error else { throw error }
            return (.string(refusal.text), ExitStatus.failed)
        }
        let diagnosis = Diagnosis(of: snapshot)
        // What was encoded a moment ago is JSON.
        let value = (try? JSON.decode(JSONValue.self, from: JSON.bytes(diagnosis))) ?? .null
        if snapshot.broker != .reached { return (value, ExitStatus.unreachable) }
        return (value, diagnosis.isHealthy ? ExitStatus.done : ExitStatus.failed)
    }
}
