internal import API
import Bus
import Model
internal import ProvisionerCore
internal import Secrets
import ServiceHost
internal import Streams
internal import Wire

/// Hosts `ProvisionerCore` on the bus: what arrives becomes its inputs, its actions become messages. Nothing is decided here.
final class Provisioner: Service {
    /// How often the templates on disk are looked at.
    private static let watchInterval = TimeSpan.seconds(2)

    private let templates: TemplateSet
    private let directory: String
    /// Of the templates as they were read, and as they were seen last.
    private var readMarks: [String]
    private var seenMarks: [String]
    private var runtime: ServiceRuntime!
    private var core: ProvisionerCore!
    private var publisher: FramePublisher!
    private weak var connection: Connection?
    private var isDrainedByCore = false
    /// Why the templates could not be read anew the last time.
    private var unreadable: String?

    /// - Parameter directory: where `templates` were read, and are read again.
    init(templates: TemplateSet, directory: String) {
        self.templates = templates
        self.directory = directory
        readMarks = TemplateDirectory.marks(directory)
        seenMarks = readMarks
    }

    // MARK: Service

    func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        let files = AgentFiles(templates, topicRoot: topics.root) { templatesDigest(of: $0) }
        core = ProvisionerCore(
            topics: topics, instance: runtime.instance, incarnation: runtime.incarnation, files: files
        ) { Digest(of: $0).description }
        publisher = FramePublisher(topics: topics)
        runtime.watch(publisher)
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in handle(.ticked) }
        runtime.loop.every(Provisioner.watchInterval) { [unowned self] in watchTemplates() }
    }

    /// Templates with a fault change nothing: those that were read before stay in force.
    func reload() {
        let input = readTemplates()
        guard case .templatesUnreadable(let reason) = input else {
            runtime.log.event("templates.read", .info, ["directory": LogValue(directory)])
            return handle(input)
        }
        runtime.log.event("templates.unreadable", .error, ["error": LogValue(reason)])
    }

    /// Templates that have changed are read once nobody writes them any more.
    private func watchTemplates() {
        let marks = TemplateDirectory.marks(directory)
        defer { seenMarks = marks }
        if marks != readMarks, marks == seenMarks { reload() }
    }

    func connected(_ connection: Connection) {
        self.connection = connection
        handle(.connected)
    }

    func disconnected() { handle(.disconnected) }

    func received(_ delivery: Delivery) {
        switch delivery.topic {
        case canary: handle(.canaryReceived)
        case acknowledgements:
            if let acknowledgement: StreamAcknowledgement = decode(delivery) {
                handle(.acknowledgementReceived(acknowledgement))
            }
        case answers: if let message: ProvisionerMessage = decode(delivery) { handle(.answerReceived(message)) }
        case topics.orders: if let message: OrderMessage = decode(delivery) { handle(.orderReceived(message)) }
        default:
            guard topics.levels(of: delivery.topic)?.first == "services" else {
                return handle(.requestReceived(request(delivery)))
            }
            // What does not decode is a cleared presence.
            guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
            runtime.check(presence, isRetained: delivery.isRetained)
            handle(.presenceReceived(presence))
        }
    }

    func published(_ ticket: Int, reason: UInt8) { handle(.acknowledged(ticket: ticket, reason: reason)) }

    func turnEnded(now: Instant) { handle(.turnEnded) }

    func isDrained() -> Bool {
        handle(.stopRequested)
        return isDrainedByCore
    }

    var metrics: [Metric] { core.counters.metrics }

    // MARK: Messages

    private var topics: Topics { runtime.topics }
    private var name: String { runtime.name.rawValue }
    private var acknowledgements: String { topics.acknowledgements(service: name, instance: runtime.instance) }
    private var canary: String { topics.canary(service: name, instance: runtime.instance) }
    private var answers: String { topics.answers(instance: runtime.instance) }

    private func filters(_ subscription: ProvisionerSubscription) -> [String] {
        switch subscription {
        case .own: [acknowledgements, answers, topics.allPresence, canary]
        case .requests:
            [topics.allCommands, topics.allFiles, topics.allCredentials].map { topics.shared($0, by: name) }
        case .orders: [topics.shared(topics.orders, by: name)]
        }
    }

    private func request(_ delivery: Delivery) -> ProvisionerRequest {
        let fresh = FreshSecrets(requestID: Token.randomIdentifier(), secret: Token().text)
        return ProvisionerRequest(
            topic: delivery.topic, payload: delivery.payload, isRetained: delivery.isRetained,
            responseTopic: delivery.responseTopic, correlation: delivery.correlationData,
            idempotencyKey: delivery.userProperty("idempotency-key"),
            traceparent: delivery.userProperty("traceparent"), fresh: fresh,
            ifMatch: delivery.userProperty("if-match"))
    }

    private func decode<Message: Decodable>(_ delivery: Delivery) -> Message? {
        do {
            return try WireFormat.decode(Message.self, from: delivery.payload)
        } catch {
            let (member, detail) = JSON.describe(error)
            runtime.log.event(
                "bus.unreadable", .error,
                ["topic": LogValue(delivery.topic), "error": LogValue("\(member): \(detail)")])
            return nil
        }
    }

    private func handle(_ input: ProvisionerInput) {
        var actions: [ProvisionerAction] = []
        core.handle(input, now: Clock.now(), wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: ProvisionerAction) {
        switch action {
        case .subscribe(let subscriptions): connection?.subscribe(subscriptions.flatMap(filters))
        case .unsubscribe(let subscriptions):
            for filter in subscriptions.flatMap(filters) { connection?.unsubscribe(filter) }
        case .send(let frame): publisher.publish(frame, on: connection)
        case .claim(let claim): publish(WireFormat.bytes(claim), to: topics.claims)
        case .ask(let question): publish(WireFormat.bytes(question), to: topics.lookups)
        case .answer(let reply): publish(reply)
        case .publishWake(let key, let message, let expirySeconds, let traceparent):
            handle(.wakeHandedOver(key, ticket: publish(message, expirySeconds, traceparent)))
        case .publishTemplates(let message):
            publish(JSON.bytes(message), to: topics.templates(message.agent), contentType: jsonContentType)
        case .readTemplates: handle(readTemplates())
        case .sendCanary: publish(Array(runtime.incarnation.utf8), to: canary)
        case .log(let log): write(log)
        case .fail(let reason): runtime.fail(ServiceFailure(reason))
        case .drained: isDrainedByCore = true
        }
    }

    private func readTemplates() -> ProvisionerInput {
        readMarks = TemplateDirectory.marks(directory)
        do {
            let templates = try TemplateDirectory.load(directory)
            unreadable = nil
            return .templatesRead(templates)
        } catch {
            unreadable = error.description
            return .templatesUnreadable(error.description)
        }
    }

    func describe(_ presence: inout Presence) {
        let reason = TemplateDirectory.isThere(directory) ? unreadable : "\(directory): cannot be read"
        if let reason { presence.warn(ServiceWarning(.templatesUnreadable, "\(reason); what was read before counts")) }
        core.describe(&presence, now: Clock.now())
    }

    private func publish(_ payload: [UInt8], to topic: String, contentType: String? = nil) {
        var publication = Publication(topic: topic, payload: payload)
        publication.contentType = contentType
        // Refused only when the connection is lost: the core knows what becomes of it.
        _ = try? connection?.publish(publication)
    }

    private func publish(_ reply: Reply) {
        var publication = Publication(topic: reply.address.topic, payload: reply.payload)
        publication.contentType = reply.contentType
        publication.correlationData = reply.address.correlation
        do {
            guard let ticket = try connection?.publish(publication) else { return }
            handle(.answerHandedOver(reply, ticket: ticket))
        } catch {
            handle(.answerRefused(reply, reason: error.description))
        }
    }

    /// The ticket; `nil` without a connection.
    private func publish(_ wake: WakeMessage, _ expirySeconds: UInt32, _ traceparent: String?) -> Int? {
        var publication = Publication(topic: topics.wake(wake.agent), payload: JSON.bytes(wake))
        publication.contentType = jsonContentType
        publication.expirySeconds = expirySeconds
        if let traceparent { publication.userProperties = [("traceparent", traceparent)] }
        // Refused only when the connection is lost.
        return try? connection?.publish(publication)
    }

    private func write(_ log: ProvisionerLog) {
        switch log {
        case .replyRefused(let responseTopic):
            runtime.log.event("command.reply_refused", .warning, ["response_topic": LogValue(responseTopic)])
        case .unanswered(let reason):
            runtime.log.event("command.unanswered", .warning, ["error": LogValue(reason)])
        case .staleTemplates(let agent, let ordered, let rendered):
            runtime.log.event(
                "templates.stale", .warning,
                ["agent": LogValue(agent), "ordered": LogValue(ordered), "rendered": LogValue(rendered)])
        }
    }
}
