import API
import Lifecycle
import Model
import ProvisionerCore
import Streams
import Wire

/// Hosts the real `ProvisionerCore`.
final class ProvisionerProcess: Process {
    /// Small, so that it refuses requests while an owner hangs.
    private static let unacknowledgedMax = 20

    private var core: ProvisionerCore!
    private var files: AgentFiles!
    private var templates: TemplateSet!
    private var requestNumber = 0
    private var isDraining = false
    private var isDrainedByCore = false
    // What the oracle wants to know.
    private var orders: [Issue: WakeOrder] = [:]
    private var wakes: [Int: Issue] = [:]
    /// Its templates need a variable that no agent has.
    private(set) var hasBrokenTemplates = false

    override func begin() {
        hasBrokenTemplates = world.isChaotic && world.random.chance(world.plan.brokenTemplatesPercent)
        let version = world.random.int(1...3)
        let text = hasBrokenTemplates ? "{{missing}}" : "v\(version) {{agent}}"
        do {
            templates = try TemplateSet(
                root: "t", files: ["main/M.md": text, "lead/L.md": text, "worker/W.md": text])
            files = AgentFiles(templates, topicRoot: Topics.defaultRoot) { $0.map(\.content).joined() }
        } catch {
            preconditionFailure("the templates of the simulation are wrong: \(error)")
        }
        core = ProvisionerCore(
            topics: Topics(), instance: instance, incarnation: incarnation, files: files, windowMax: 6,
            unacknowledgedMax: world.isBroken(.fullProvisionersRefuse) ? .max : ProvisionerProcess.unacknowledgedMax
        ) { RealBytes.digest(of: String(decoding: $0, as: UTF8.self)) }
        (isDraining, isDrainedByCore) = (false, false)
        orders = [:]
        wakes = [:]
        every(200_000) { [unowned self] in tick() }
    }

    override func connected() { handle(.connected) }

    override func disconnected() {
        wakes = [:]
        handle(.disconnected)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .answer(let answer): handle(.answerReceived(altered(answer)))
        case .order(let message):
            orders[Issue(agent: message.order.agent, publication: message.order.publication)] = message.order
            handle(.orderReceived(message))
        case .command(let command): handle(.requestReceived(request(command)))
        case .presence(let presence):
            check(presence)
            handle(.presenceReceived(presence))
        case .canary: handle(.canaryReceived)
        case .acknowledgement, .partition, .store, .reconciler, .gatewayStatus, .cursor, .reply, .question,
            .barrierAnswer,
            .heartbeat, .wake, .fact, .credentials, .claim, .acknowledged, .subscriptionEnded, .endings:
            break
        }
    }

    override func received(_ acknowledgement: StreamAcknowledgement) {
        handle(.acknowledgementReceived(acknowledgement))
        if acknowledgement.id.incarnation == incarnation {
            oracle.acknowledged(acknowledgement.id, upTo: acknowledgement.upTo)
        }
    }

    override func acknowledged(_ ticket: Int, isHeard: Bool) {
        if let publication = wakes.removeValue(forKey: ticket), !isHeard { oracle.wakeReachedNobody(publication) }
        handle(.acknowledged(ticket: ticket, reason: isHeard ? 0 : 0x10))
    }

    override func turnEnded(step: Int) { handle(.turnEnded) }

    private func tick() {
        handle(.ticked)
        let kept = Int(core.counters.unacknowledged)
        oracle.provisionerKeeps(kept, of: ProvisionerProcess.unacknowledgedMax, by: self)
    }

    /// Whether a command is under way that may still have an effect.
    var isBusy: Bool {
        guard let counters = core?.counters else { return false }
        return counters.pending != 0 || counters.unacknowledged != 0
    }

    override func isDrained() -> Bool {
        guard !world.isBroken(.provisionersDrain) else { return true }
        isDraining = true
        handle(.stopRequested)
        return isDrainedByCore
    }

    override func shutDown() {
        if hasHandedOver, let session { oracle.stopped(self, session) }
        super.shutDown()
    }

    // MARK: Hosting

    private func handle(_ input: ProvisionerInput) {
        var actions: [ProvisionerAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: ProvisionerAction) {
        switch action {
        case .subscribe(let subscriptions):
            oracle.subscribes(self, isDraining: isDraining && subscriptions != [.own])
            subscribe(subscriptions.flatMap(topics))
        case .unsubscribe(let subscriptions):
            if !world.isBroken(.stoppersTakeNothing) { subscriptions.flatMap(topics).forEach(unsubscribe) }
        case .send(let outgoing):
            oracle.sent(outgoing.frame, by: self)
            publish([outgoing]) { .partition($0) }
        case .claim(let claim): if !grants(claim) { publish(.claims, .claim(claim)) }
        case .answer(let reply): answer(reply)
        case .publishWake(let key, let message, let expirySeconds, _):
            handle(.wakeHandedOver(key, ticket: publish(message, publication: key.publication, expirySeconds)))
        case .readTemplates: handle(.templatesRead(templates))
        case .sendCanary: publish(.canary(instance), .onlyCanary)
        case .ask, .publishTemplates, .log: break
        case .fail(let reason): preconditionFailure(reason)
        case .drained: isDrainedByCore = true
        }
    }

    private func topics(_ subscription: ProvisionerSubscription) -> [SimTopic] {
        switch subscription {
        case .own:
            [
                .acknowledgements(service: service.rawValue, instance: instance), .answers(instance), .presence,
                .canary(instance),
            ]
        case .requests: [.commands]
        case .orders: [.orders]
        }
    }

    private func request(_ command: SimCommand) -> ProvisionerRequest {
        requestNumber += 1
        let name = "\(incarnation)-\(requestNumber)"
        return ProvisionerRequest(
            topic: Topics().command(command.verb.rawValue), payload: Array(command.payload.utf8), isRetained: false,
            responseTopic: Topics().replies(to: "op/x"), correlation: Array(command.tag.utf8),
            idempotencyKey: command.key, traceparent: command.traceparent,
            fresh: FreshSecrets(requestID: name, secret: name))
    }

    private func answer(_ reply: Reply) {
        let tag = String(decoding: reply.address.correlation ?? [], as: UTF8.self)
        publish(.replies, .reply(key: tag, isProblem: reply.isProblem, payload: reply.payload))
        if let session { oracle.replied(tag, session) }
    }

    private func publish(_ wake: WakeMessage, publication number: Int, _ expirySeconds: UInt32) -> Int? {
        let publication = Issue(agent: wake.agent, publication: number)
        guard isConnected, let order = orders[publication] else { return nil }
        let digest = digest(of: order)
        oracle.wakePublished(wake, order, digest: digest)
        let ticket = publish(
            .wake(wake.agent), .wake(wake, publication: number, digest: digest),
            expiry: Int64(expirySeconds) * 1_000_000,
            wantsTicket: true)
        if let ticket { wakes[ticket] = publication }
        return ticket
    }

    // MARK: Rules that are switched off

    private func altered(_ message: ProvisionerMessage) -> ProvisionerMessage {
        guard world.isBroken(.answersNameTheirUse),
            case .answer(let requestID, _, let outcome, let mintedToken) = message
        else { return message }
        return .answer(requestID: requestID, digest: nil, outcome: outcome, mintedToken: mintedToken)
    }

    /// Whether whoever claims a key has it, and nobody is asked.
    private func grants(_ claim: KeyClaim) -> Bool {
        guard world.isBroken(.keysAreClaimed) else { return false }
        handle(.answerReceived(.claimed(requestID: claim.requestID, digest: claim.digest)))
        return true
    }

    /// What a wake says of the files: what its order says.
    private func digest(of order: WakeOrder) -> String? {
        guard world.isBroken(.repeatsAreFrozen) else { return order.templatesDigest }
        let rendered = try? files.render(
            order.agent, role: order.role, board: order.board, variables: order.variables)
        return rendered?.digest ?? order.templatesDigest
    }
}

extension SimCommand {
    /// Names it in all that it causes, in the form of W3C Trace Context; its repeats, too.
    var traceparent: String {
        let number = String(key.dropFirst())
        return "00-\(String(repeating: "0", count: 32 - number.count))\(number)-0000000000000001-01"
    }
}
