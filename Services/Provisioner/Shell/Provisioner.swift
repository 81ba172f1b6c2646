public import Bus
internal import Contract
public import Lifecycle
internal import ProvisionerCore
internal import Secrets
public import ServiceKit
internal import Streams

/// The front of the commands, the publisher of wakes, and who hands out files and credentials.
///
/// It keeps no state beyond what is under way. Three desks decide; this turns messages into their events and their
/// directives into messages.
public final class Provisioner: Service {
    /// Frames without a receipt above which new commands are refused.
    public static let keptMax = 10_000
    /// Requests and reports under way to one partition.
    public static let windowMax = 256
    /// How long a stop waits for answers before it tells the others `unavailable`.
    public static let drainLimit = TimeSpan.seconds(3)

    private let templates: TemplateSet
    private var runtime: ServiceRuntime!
    private var outlet: StreamOutlet<PartitionMessage>!
    private var commands: CommandDesk!
    private var wakes: WakeDesk!
    private var files: FilesDesk!
    private weak var connection: Connection?
    private var partitionCount: Int?
    private var tickets: [Int: WakeDesk.Key] = [:]
    private var tally = Tally()
    private var drain: Drain?

    /// How far a clean stop has come.
    private struct Drain {
        let since: Instant
        /// What the broker had for us before has been read, up to a canary, or is lost.
        var isRead = false
        /// It took too long: whoever waits was told, and this is no clean stop unless everything is handed over.
        var isGivenUp = false
    }

    private struct Tally {
        var commands: Int64 = 0
        var answers: Int64 = 0
        var orders: Int64 = 0
        var woken: Int64 = 0
        var expired: Int64 = 0
        var failed: Int64 = 0
    }

    init(templates: TemplateSet) {
        self.templates = templates
    }

    private var topics: Topics { runtime.topics }
    private var receiptsTopic: String { topics.receipts(service: runtime.name.rawValue, instance: runtime.instance) }
    private var canaryTopic: String { topics.canary(service: runtime.name.rawValue, instance: runtime.instance) }

    // MARK: Service

    public func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        outlet = StreamOutlet(
            topics: runtime.topics, service: runtime.name, instance: runtime.instance, incarnation: runtime.incarnation,
            windowMax: Provisioner.windowMax)
        runtime.watch(outlet.publisher)
        let agentFiles = AgentFiles(templates, topicRoot: topics.root) { templatesDigest(of: $0) }
        commands = CommandDesk(instance: runtime.instance, topics: topics, files: agentFiles) {
            Digest(of: $0).description
        }
        wakes = WakeDesk(topics: topics, files: agentFiles)
        files = FilesDesk(files: agentFiles)
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in tick() }
    }

    public func connected(_ connection: Connection) {
        self.connection = connection
        tickets = [:]
        connection.subscribe([
            receiptsTopic, topics.answers(instance: runtime.instance), topics.allPresence, canaryTopic,
        ])
        if drain == nil { connection.subscribe(sharedFilters(withOrders: partitionCount != nil)) }
        outlet.connection = connection
        outlet.reconnected(now: Clock.now())
    }

    public func disconnected() {
        tickets = [:]
        drain?.isRead = true
        wake(.disconnected)
    }

    public func received(_ delivery: Delivery) {
        let topic = delivery.topic
        if topic == canaryTopic {
            drain?.isRead = true
        } else if topic == receiptsTopic {
            if let receipt: StreamReceipt = decode(delivery) { _ = outlet.receive(receipt, now: Clock.now()) }
        } else if topic == topics.answers(instance: runtime.instance) {
            if let message: ProvisionerMessage = decode(delivery) { answered(message) }
        } else if topic == topics.orders {
            guard let message: OrderMessage = decode(delivery) else { return }
            tally.orders += 1
            wake(.orderReceived(message))
        } else if let levels = topics.levels(of: topic), let first = levels.first {
            // A retained request was answered when it was published; the broker hands it to every new subscriber.
            guard !delivery.isRetained || first == "services" else { return }
            switch first {
            case "commands" where levels.count == 2: command(delivery, verb: String(levels[1]))
            case "agents" where levels.count == 4: agentAsks(delivery, String(levels[3]))
            case "services":
                // What does not decode is a cleared presence.
                if let presence = try? JSON.decode(Presence.self, from: delivery.payload) {
                    heard(presence, isRetained: delivery.isRetained)
                }
            default: break
            }
        }
    }

    public func published(_ ticket: Int, reason: UInt8) {
        guard let key = tickets.removeValue(forKey: ticket) else { return }
        wake(.acknowledged(key, reason: reason))
    }

    public func turnEnded(now: Instant) {}

    public func isDrained() -> Bool {
        let now = Clock.now()
        guard let since = drain?.since else {
            drain = Drain(since: now)
            for filter in sharedFilters(withOrders: true) { connection?.unsubscribe(filter) }
            // Behind all that the broker has for us. Refused only without a connection, when it has nothing.
            let canary = Publication(topic: canaryTopic, payload: Array(runtime.incarnation.utf8))
            if (try? connection?.publish(canary)) == nil { drain?.isRead = true }
            return false
        }
        if drain?.isGivenUp == false, now.milliseconds(since: since) >= Provisioner.drainLimit.milliseconds {
            drain?.isRead = true
            drain?.isGivenUp = true
            handle(.stopped)
            handleFiles(.stopped)
        }
        let isAnswered = commands.pendingCount == 0 && files.pendingCount == 0 && wakes.count == 0
        return drain?.isRead == true && isAnswered && outlet.keptCount == 0
    }

    public var counters: [String: Int64] {
        [
            "commands": tally.commands, "answers": tally.answers, "orders": tally.orders, "woken": tally.woken,
            "expired": tally.expired, "failed": tally.failed, "pending": Int64(commands.pendingCount),
            "kept": Int64(outlet.keptCount),
        ]
    }

    // MARK: Messages

    /// Orders are taken only once their reports can be addressed.
    private func sharedFilters(withOrders: Bool) -> [String] {
        let filters =
            [topics.allCommands, topics.allFiles, topics.allCredentials] + (withOrders ? [topics.orders] : [])
        return filters.map { topics.shared($0, by: runtime.name.rawValue) }
    }

    private func heard(_ presence: Presence, isRetained: Bool) {
        runtime.check(presence, isRetained: isRetained)
        guard presence.service == ServiceName.statusStore.rawValue, let count = presence.partitionCount,
            (1...Partition.countMax).contains(count), count != partitionCount
        else { return }
        if let partitionCount {
            return runtime.fail(ServiceFailure("the store has \(count) partitions, it had \(partitionCount)"))
        }
        partitionCount = count
        if drain == nil { connection?.subscribe([topics.shared(topics.orders, by: runtime.name.rawValue)]) }
        handle(.partitionsAnnounced(count))
    }

    private func command(_ delivery: Delivery, verb: String) {
        tally.commands += 1
        let reply = ReplyAddress(
            delivery.responseTopic, correlation: delivery.correlationData, below: topics.repliesPrefix)
        if reply == nil, let topic = delivery.responseTopic { logForeign(topic) }
        commands.hasRoom = outlet.keptCount < Provisioner.keptMax
        handle(
            .commandReceived(
                CommandArrival(
                    verb: verb, payload: delivery.payload, reply: reply,
                    idempotencyKey: delivery.userProperty("idempotency-key"),
                    traceparent: TraceParent.valid(delivery.userProperty("traceparent")), fresh: freshSecrets())))
    }

    /// A request on an agent's `files` or `credentials` topic, made by the agent or its gateway: both have replies below
    /// the gateway's name.
    private func agentAsks(_ delivery: Delivery, _ what: String) {
        guard let agent = topics.agent(of: delivery.topic) else { return }
        let prefix = topics.replies(to: agent.gateway) + "/"
        guard let reply = ReplyAddress(delivery.responseTopic, correlation: delivery.correlationData, below: prefix)
        else {
            if let topic = delivery.responseTopic { logForeign(topic) }
            return  // an answer is all that these requests are for
        }
        switch what {
        case "files": handleFiles(.filesRequested(agent, reply, questionID: Token.randomIdentifier()))
        case "credentials":
            commands.hasRoom = outlet.keptCount < Provisioner.keptMax
            handle(.credentialsRequested(agent, reply, freshSecrets()))
        default: break
        }
    }

    private func answered(_ message: ProvisionerMessage) {
        switch message {
        case .answer(let requestID, let digest, let outcome, let mintedToken):
            handle(.answered(requestID: requestID, digest: digest, outcome: outcome, mintedToken: mintedToken))
        case .claimed(let requestID, let digest): handle(.claimed(requestID: requestID, digest: digest))
        case .found(let questionID, let record): handleFiles(.recordFound(questionID: questionID, record))
        }
    }

    private func tick() {
        outlet.tick(now: Clock.now())
        handle(.timePassed)
        handleFiles(.timePassed)
    }

    private func freshSecrets() -> FreshSecrets {
        let token = Token()
        return FreshSecrets(
            requestID: Token.randomIdentifier(),
            token: CandidateToken(text: token.text, digest: token.digest.description, id: token.identifier))
    }

    private func decode<Message: Decodable>(_ delivery: Delivery) -> Message? {
        do {
            return try JSON.decode(Message.self, from: delivery.payload)
        } catch {
            let (member, detail) = JSON.describe(error)
            runtime.log.event(
                "bus.unreadable", .error,
                ["topic": LogValue(delivery.topic), "error": LogValue("\(member): \(detail)")])
            return nil
        }
    }

    private func logForeign(_ topic: String) {
        runtime.log.event("command.reply_refused", .warning, ["response_topic": LogValue(topic)])
    }

    // MARK: Directives

    private func handle(_ event: CommandDesk.Event) {
        let now = Clock.now()
        var directives: [CommandDesk.Directive] = []
        commands.handle(event, now: now, into: &directives)
        for directive in directives {
            switch directive {
            case .claim(let claim):
                // Lost with the connection: it is claimed again.
                _ = try? connection?.publish(Publication(topic: topics.claims, payload: JSON.bytes(claim)))
            case .forward(let request, let partition): send(.request(request), to: partition, now)
            case .answer(let reply): publish(reply)
            }
        }
    }

    private func handleFiles(_ event: FilesDesk.Event) {
        var directives: [FilesDesk.Directive] = []
        files.handle(event, now: Clock.now(), into: &directives)
        for directive in directives {
            switch directive {
            case .ask(let questionID, let agent):
                let question = RecordQuestion(questionID: questionID, agent: agent, provisioner: runtime.instance)
                // Lost with the connection: who asked is told after a while.
                _ = try? connection?.publish(Publication(topic: topics.lookups, payload: JSON.bytes(question)))
            case .answer(let reply): publish(reply)
            }
        }
    }

    private func wake(_ event: WakeDesk.Event) {
        let now = Clock.now()
        var directives: [WakeDesk.Directive] = []
        wakes.handle(event, now: now, stamp: Clock.stamp(), into: &directives)
        for directive in directives {
            switch directive {
            case .publish(let key, let message, let expirySeconds, let traceparent):
                publish(key, message, expirySeconds, traceparent)
            case .report(let report):
                count(report.outcome)
                guard let partitionCount else { continue }
                send(.report(report), to: Partition.of(gateway: report.agent.gateway, count: partitionCount), now)
            case .warnStaleTemplates(let agent, let ordered, let rendered):
                runtime.log.event(
                    "templates.stale", .warning,
                    ["agent": LogValue(agent), "ordered": LogValue(ordered), "rendered": LogValue(rendered)])
            }
        }
    }

    private func send(_ message: PartitionMessage, to partition: Int, _ now: Instant) {
        outlet.send(message, to: .partition(partition), stream: "requests/\(partition)", now: now)
    }

    private func publish(_ reply: Reply) {
        tally.answers += 1
        var publication = Publication(topic: reply.address.topic, payload: reply.payload)
        publication.contentType = reply.contentType
        publication.correlationData = reply.address.correlation
        do {
            try connection?.publish(publication)
        } catch {
            runtime.log.event("command.unanswered", .warning, ["error": LogValue(error)])
            guard publication.payload.count > FilesDesk.answerBytesMax else { return }
            publish(Reply(reply.address, Problem(.tooLarge, "the answer has \(publication.payload.count) bytes")))
        }
    }

    private func publish(_ key: WakeDesk.Key, _ message: WakeMessage, _ expirySeconds: UInt32, _ traceparent: String?) {
        var publication = Publication(topic: topics.wake(message.agent), payload: JSON.bytes(message))
        publication.contentType = jsonContentType
        publication.expirySeconds = expirySeconds
        if let traceparent { publication.userProperties = [("traceparent", traceparent)] }
        guard let connection, let ticket = try? connection.publish(publication) else {
            // Not connected: the order will be issued again.
            return wakes.forget(key)
        }
        tickets[ticket] = key
    }

    private func count(_ outcome: WakeReport.Outcome) {
        switch outcome {
        case .woken: tally.woken += 1
        case .failed: tally.failed += 1
        case .expired: tally.expired += 1
        }
    }
}
