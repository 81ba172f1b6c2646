import Contract
import Lifecycle
import ProvisionerCore
import Streams

/// A provisioner: the real desks.
final class ProvisionerProcess: Process {
    private var outlet: StreamSenders<PartitionMessage>!
    private var commands: CommandDesk!
    private var wakes: WakeDesk!
    private var partitionCount: Int?
    private var tickets: [Int: WakeDesk.Key] = [:]
    private var orders: [Issue: WakeOrder] = [:]
    private var files: AgentFiles!
    private var requestNumber = 0
    private var drainingSince: Int64?
    /// Its templates need a variable that no agent has.
    private(set) var hasBrokenTemplates = false

    override func begin() {
        outlet = senders()
        hasBrokenTemplates = world.isChaotic && world.random.chance(world.plan.brokenTemplatesPercent)
        let version = world.random.int(1...3)
        let text = hasBrokenTemplates ? "{{missing}}" : "v\(version) {{agent}}"
        do {
            let templates = try TemplateSet(
                root: "t", files: ["main/M.md": text, "lead/L.md": text, "worker/W.md": text])
            files = AgentFiles(templates, topicRoot: Topics.defaultRoot) { $0.map(\.content).joined() }
        } catch {
            preconditionFailure("the templates of the simulation are wrong: \(error)")
        }
        commands = CommandDesk(instance: instance, topics: Topics(), files: files) { bytes in
            String(Partition.fnv1a(String(decoding: bytes, as: UTF8.self)), radix: 16)
        }
        wakes = WakeDesk(topics: Topics(), files: files)
        partitionCount = nil
        tickets = [:]
        orders = [:]
        drainingSince = nil
        every(200_000) { [unowned self] in
            outlet.tick(now: now)
            handle(.timePassed)
        }
    }

    override func connected() {
        tickets = [:]
        subscribe([.receipts(service: service.rawValue, instance: instance), .answers(instance), .presence])
        if drainingSince == nil { subscribe(partitionCount == nil ? [.commands] : [.commands, .orders]) }
        outlet.reconnected(now: now)
    }

    override func disconnected() {
        tickets = [:]
        wake(.disconnected)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .answer(.answer(let requestID, let digest, let outcome, let mintedToken)):
            let isBlank = world.isBroken(.answersNameTheirUse)
            handle(
                .answered(
                    requestID: requestID, digest: isBlank ? nil : digest, outcome: outcome, mintedToken: mintedToken))
        case .answer(.claimed(let requestID, let digest)): handle(.claimed(requestID: requestID, digest: digest))
        case .order(let message):
            orders[Issue(agent: message.order.agent, issue: message.order.issue)] = message.order
            wake(.orderReceived(message))
        case .command(let command): take(command)
        case .presence(let presence):
            check(presence)
            guard let count = presence.partitionCount, partitionCount == nil else { return }
            partitionCount = count
            if drainingSince == nil { subscribe([.orders]) }
            handle(.partitionsAnnounced(count))
        case .receipt, .partition, .store, .reconciler, .gatewayStatus, .cursor, .answer, .reply, .question,
            .barrierAnswer,
            .canary, .heartbeat, .wake, .fact, .credentials, .claim, .acknowledged, .lineEnded, .endings:
            break
        }
    }

    override func received(_ receipt: StreamReceipt) {
        if let progress = outlet.receive(receipt, now: now), let id = outlet.id(of: progress.stream) {
            oracle.receipted(id, upTo: progress.upTo)
        }
    }

    override func acknowledged(_ ticket: Int, isHeard: Bool) {
        guard let key = tickets.removeValue(forKey: ticket) else { return }
        if !isHeard { oracle.wakeReachedNobody(Issue(agent: key.agent, issue: key.issue)) }
        wake(.acknowledged(key, reason: isHeard ? 0 : 0x10))
    }

    override func turnEnded(step: Int) {
        publish(outlet.takeFrames()) { .partition($0) }
    }

    /// Whether a command is under way that may still have an effect.
    var isBusy: Bool { commands != nil && commands.pendingCount > 0 || outlet != nil && outlet.keptCount > 0 }

    override func isDrained() -> Bool {
        guard let drainingSince else {
            drainingSince = world.time
            for topic in [SimTopic.commands, .orders] { unsubscribe(topic) }
            return false
        }
        if world.time - drainingSince >= 3_000_000 {
            handle(.stopped)
            return true
        }
        return commands.pendingCount == 0 && wakes.count == 0 && outlet.keptCount == 0
    }

    // MARK: Inside

    private func take(_ command: SimCommand) {
        requestNumber += 1
        let name = "\(incarnation)-\(requestNumber)"
        let prefix = Topics().repliesPrefix
        let token = CandidateToken(text: "t\(name)", digest: "d\(name)", id: "i\(name)")
        handle(
            .commandReceived(
                CommandArrival(
                    verb: command.verb.rawValue, payload: Array(command.payload.utf8),
                    reply: ReplyAddress("\(prefix)op/x", correlation: Array(command.tag.utf8), below: prefix),
                    idempotencyKey: command.key, traceparent: command.key,
                    fresh: FreshSecrets(requestID: name, token: token))))
    }

    private func handle(_ event: CommandDesk.Event) {
        var directives: [CommandDesk.Directive] = []
        commands.handle(event, now: now, into: &directives)
        for directive in directives {
            switch directive {
            case .claim(let claim):
                if world.isBroken(.keysAreClaimed) {
                    handle(.claimed(requestID: claim.requestID, digest: claim.digest))
                } else {
                    publish(.claims, .claim(claim))
                }
            case .forward(let request, let partition):
                oracle.forwarded(request)
                send(.request(request), to: partition)
            case .answer(let reply):
                let key = String(decoding: reply.address.correlation ?? [], as: UTF8.self)
                publish(.replies, .reply(key: key, isProblem: reply.isProblem, payload: reply.payload))
            }
        }
    }

    private func wake(_ event: WakeDesk.Event) {
        var directives: [WakeDesk.Directive] = []
        wakes.handle(event, now: now, stamp: stamp, into: &directives)
        for directive in directives {
            switch directive {
            case .publish(let key, let message, let expirySeconds, _): publish(key, message, expirySeconds)
            case .report(let report):
                if case .failed = report.outcome { oracle.wakeFailed(report) }
                guard let partitionCount else { continue }
                send(.report(report), to: Partition.of(gateway: report.agent.gateway, count: partitionCount))
            case .warnStaleTemplates: break
            }
        }
    }

    private func publish(_ key: WakeDesk.Key, _ message: WakeMessage, _ expirySeconds: UInt32) {
        guard isConnected, let order = orders[Issue(agent: key.agent, issue: key.issue)] else {
            return wakes.forget(key)
        }
        var digest = order.templatesDigest
        if world.isBroken(.repeatsAreFrozen) {
            let rendered = try? files.render(
                order.agent, role: order.role, board: order.board, variables: order.variables)
            digest = rendered?.digest ?? digest
        }
        oracle.wakePublished(message, order, digest: digest)
        let ticket = publish(
            .wake(message.agent), .wake(message, issue: order.issue, digest: digest),
            expiry: Int64(expirySeconds) * 1_000_000, wantsTicket: true)
        if let ticket { tickets[ticket] = key } else { wakes.forget(key) }
    }

    private func send(_ message: PartitionMessage, to partition: Int) {
        let stream = "requests/\(partition)"
        let seq = outlet.send(message, to: .partition(partition), stream: stream, now: now)
        if case .request(let request) = message, let id = outlet.id(of: stream) { oracle.sent(request, id, seq) }
    }
}
