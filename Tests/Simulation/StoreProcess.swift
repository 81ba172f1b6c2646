import API
import Lifecycle
import Model
import StatusStoreCore
import Storage
import Streams
import Wire

/// Hosts the real `StoreCore` on a database that no crash touches.
final class StoreProcess: Process {
    /// About how large a message of a grant becomes: so small that many grants take several.
    private static let chunkBytesMax = 8_000

    let database: WatchedDatabase
    private var core: StoreCore!
    private var isDrainedByCore = false
    /// The core's ticket of each message under way.
    private var tickets: [Int: Int] = [:]
    /// The simulated broker has the plugin: it answers with its acknowledgement.
    private var accessQuestions: [Int: String] = [:]
    /// The orders that were published in this launch, where they are never again.
    private var ordersOnce: Set<Issue> = []

    init(_ broker: Broker, _ oracle: Oracle, _ database: any StatusDatabase) {
        self.database = WatchedDatabase(database, oracle)
        super.init(.statusStore, "1", broker, oracle)
    }

    var hasPublishedAll: Bool { database.read { try $0.outbox(after: core.published, limit: 1) }.isEmpty }

    override func begin() {
        core = database.read { [unowned self] _ in
            try StoreCore(
                database, topics: Topics(), instance: instance, incarnation: incarnation, historyDays: 30,
                chunkBytesMax: StoreProcess.chunkBytesMax, now: now, wallTime: wallTime)
        }
        isDrainedByCore = false
        (tickets, accessQuestions) = ([:], [:])
        ordersOnce = []
        every(200_000) { [unowned self] in handle(.ticked) }
        every(1_000_000) { [unowned self] in handle(.secondPassed) }
    }

    override func connected() { handle(.connected) }

    override func subscriptionsStand() { handle(.subscribed) }

    override func disconnected() {
        if world.isBroken(.outboxRepeats) {
            for (_, ticket) in tickets.sorted(by: { $0.key < $1.key }) { handle(.acknowledged(ticket, .heard)) }
        }
        tickets = [:]
        handle(.disconnected)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .store(let frame): received(streamRules.incoming(frame))
        case .presence(let presence):
            check(presence)
            handle(.presenceReceived(altered(presence), isRetained: message.isRetained))
        case .claim(let claim): handle(.claimReceived(claim))
        case .cursor(let note): if message.isRetained { handle(.noteFound(altered(note))) }
        case .acknowledgement, .partition, .reconciler, .gatewayStatus, .order, .answer, .command, .reply, .question,
            .barrierAnswer,
            .canary, .heartbeat, .wake, .fact, .credentials, .acknowledged, .subscriptionEnded, .endings:
            break
        }
    }

    override func received(_ acknowledgement: StreamAcknowledgement) {
        handle(.acknowledgementReceived(acknowledgement))
    }

    override func acknowledged(_ ticket: Int, isHeard: Bool) {
        guard let ticket = tickets.removeValue(forKey: ticket) else { return }
        handle(.acknowledged(ticket, isHeard ? .heard : .unheard(reason: 0x10)))
        if let question = accessQuestions.removeValue(forKey: ticket) { handle(.accessAnswered(question)) }
    }

    override var endSteps: Int { StoreStep.allCases.count }

    override func turnEnded(step: Int) {
        repeat { handle(.turnEnded(StoreStep.allCases[step])) } while core.isUnfinished
        if step + 1 == endSteps { wakeAt = core.wakeAt }
    }

    override func isDrained() -> Bool {
        guard !world.isBroken(.storesDrain) else { return true }
        handle(.stopRequested)
        return isDrainedByCore
    }

    override func shutDown() {
        if hasHandedOver, isConnected { oracle.storeStopped(self) }
        super.shutDown()
    }

    override func describe(_ presence: inout Presence) { core.describe(&presence) }

    // MARK: Hosting

    private func handle(_ input: StoreInput) {
        var actions: [StoreAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        actions.forEach(carryOut)
    }

    private func received(_ frame: StreamFrame<StoreFrame>) {
        foretell(frame)
        handle(.frameReceived(world.sendsBytes ? .bytes(WireFormat.bytes(frame)) : .decoded(frame)))
    }

    private func carryOut(_ action: StoreAction) {
        switch action {
        case .subscribe:
            subscribe([
                .store, .presence, .cursor, .claims, .acknowledgements(service: service.rawValue, instance: instance),
            ])
        case .send(let outgoing):
            publish([outgoing]) { .reconciler($0) }
        case .acknowledgement(let acknowledgement): publish([acknowledgement])
        case .publish(let message, let ticket):
            guard let ticket else {
                publish(message, wantsTicket: false)
                return
            }
            // What goes to nobody in the simulation is taken at once.
            if let given = publish(message, wantsTicket: true) {
                tickets[given] = ticket
                if case .accessQuestion(let question) = message { accessQuestions[ticket] = question }
            } else if isConnected {
                handle(.acknowledged(ticket, .heard))
            }
        case .announce: announce()
        case .log(let log): world.note("\(name): \(log)")
        case .fail(let error): preconditionFailure(error.description)
        case .drained: isDrainedByCore = true
        }
    }

    @discardableResult
    private func publish(_ message: StoreMessage, wantsTicket: Bool) -> Int? {
        switch message {
        case .event(let event):
            let fact = PublishedFact(agent: event.agent, revision: event.revision, event: event.event, id: event.id)
            oracle.eventPublished(fact)
            return publish(.lifecycle, .fact(fact), wantsTicket: wantsTicket)
        case .status(let agent, let record):
            let fact = PublishedFact(
                agent: agent, revision: record.map { value($0).revision } ?? 0, event: nil, id: nil,
                isCleared: record == nil)
            return publish(.status, .fact(fact), retained: "status/\(agent)", wantsTicket: wantsTicket)
        case .answer(let message, let provisioner):
            let message = value(message)
            oracle.answerPublished(message)
            return publish(.answers(provisioner), .answer(message), wantsTicket: wantsTicket)
        case .credentials(let changes):
            let waits = wantsTicket && !world.isBroken(.credentialsComeFirst)
            return publish(.access, .credentials(changes), wantsTicket: waits)
        case .accessTable(let lines): return publish(.access, .credentials(table(lines)), wantsTicket: wantsTicket)
        case .accessQuestion: return publish(.access, .credentials([]), wantsTicket: wantsTicket)
        case .order(let order): publish(value(order))
        case .note(let note): publish(.cursor, .cursor(note), retained: "cursor")
        case .gatewayEvent, .gatewayCleared, .reply: break
        }
        return nil
    }

    private func publish(_ order: WakeOrder) {
        let publication = Issue(agent: order.agent, publication: order.publication)
        if world.isBroken(.ordersRepeat), !ordersOnce.insert(publication).inserted { return }
        let expiry = world.isBroken(.oldOrdersExpire) ? nil : WakeOrder.lifetime.milliseconds * 1_000
        oracle.orderPublished(order)
        publish(.orders, .order(OrderMessage(order: order, age: 0)), expiry: expiry)
    }

    /// What a whole table changes at the broker.
    private func table(_ lines: [UInt8]) -> [CredentialChange] {
        var changes: [CredentialChange] = []
        for line in String(decoding: lines, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 3, words[0] == "set" else { continue }
            changes.append(CredentialChange(username: String(words[1]), change: .set(digest: String(words[2]))))
        }
        let gone = broker.admitted.subtracting(changes.map(\.username)).sorted()
        return changes + gone.map { CredentialChange(username: $0, change: .remove) }
    }

    private func value<Value>(_ carried: Carried<Value>) -> Value { database.read { _ in try carried.decoded() } }

    // MARK: Rules that are switched off

    private func altered(_ note: CursorMessage) -> CursorMessage {
        guard world.isBroken(.oldNotesCount) else { return note }
        return CursorMessage(published: core.published, database: note.database)
    }

    /// What a reconciler claims, as the store takes it.
    private func altered(_ presence: Presence) -> Presence {
        guard presence.service == ServiceName.reconciler.rawValue, presence.state == .running else { return presence }
        var presence = presence
        if world.isBroken(.grantsFollowPresence) {
            // It is taken for whoever owned something under its name.
            let owned = database.read { try $0.owners() }.filter { $0.instance == presence.instance }
            guard let launch = owned.first?.incarnation else { return presence }
            presence.incarnation = launch
            presence.partitions = Dictionary(uniqueKeysWithValues: owned.map { (String($0.partition), $0.epoch) })
        }
        if [.staleClaimsEnd, .refusedOwnersReload].contains(where: world.isBroken) {
            let owners = database.read { try $0.owners() }
            presence.partitions = presence.partitions?.filter { partition, epoch in
                guard let owner = owners.first(where: { String($0.partition) == partition }) else { return true }
                return owner.incarnation == presence.incarnation && epoch <= owner.epoch
            }
        }
        return presence
    }

    /// What follows from a frame, before it is committed.
    private func foretell(_ frame: StreamFrame<StoreFrame>) {
        guard let body = frame.body else { return }
        if world.isBroken(.storeAcknowledgesAfterCommit) {
            publish([StreamAcknowledgement(id: frame.id, upTo: frame.seq, resendFrom: nil)])
        }
        guard world.isBroken(.publishAfterCommit) else { return }
        for entry in body.entries {
            if let order = entry.order { publish(order) }
            guard let (state, happened) = entry.agent, let event = happened else { continue }
            let revision = state.record.revision
            let fact = PublishedFact(agent: event.agent, revision: revision, event: event.event, id: event.id)
            oracle.eventPublished(fact)
            publish(.lifecycle, .fact(fact))
        }
    }
}
