import Contract
import Lifecycle
import StatusStoreCore
import Streams

/// The status store: the real membership, assignment, order book and outbox window around a database of the model.
final class StoreProcess: Process {
    /// What no crash touches.
    var database: DatabaseModel
    /// Commits fail as a whole until then: the disk is full.
    var commitsFailUntil: Int64 = 0

    private var inlet = StreamReceiver()
    private var waiting: [DatabaseModel.Received] = []
    private var claims: [KeyClaim] = []
    /// Committed and not yet answered.
    private var claimed: [(provisioner: String, message: ProvisionerMessage)] = []
    private var retryAt: Int64 = 0
    private var window = OutboxWindow(published: 0)
    private var book = OrderBook()
    private var provisioners = Membership(of: .provisioner)
    private(set) var grants: GrantDesk!
    private var cursor = CursorDesk()

    init(_ broker: Broker, _ oracle: Oracle, partitionCount: Int) {
        database = DatabaseModel(partitionCount: partitionCount)
        super.init(.statusStore, "1", broker, oracle)
    }

    var hasPublishedAll: Bool { database.outbox.last.map { $0.sequence <= window.published } ?? true }

    override func isDrained() -> Bool {
        guard isConnected else { return true }
        guard waiting.isEmpty, hasPublishedAll else { return false }
        cursor.note(self, published: window.published)
        return true
    }

    override func begin() {
        inlet = StreamReceiver()
        waiting = []
        (claims, claimed) = ([], [])
        retryAt = 0
        for (_, owner) in database.owners.sorted(by: { $0.key < $1.key })
        where !owner.stream.isEmpty && !world.isBroken(.framesApplyOnce) {
            let id = StreamID(
                service: ServiceName.reconciler.rawValue, instance: owner.instance, incarnation: owner.incarnation,
                stream: owner.stream)
            inlet.restore(id, committed: owner.appliedSeq, now: now)
        }
        window = OutboxWindow(published: database.outbox.first.map { $0.sequence - 1 } ?? database.lastSequence)
        book = OrderBook()
        for (agent, item) in database.orders.sorted(by: { $0.value.position < $1.value.position }) {
            book.issued(agent, position: item.position)
        }
        provisioners = Membership(of: .provisioner)
        grants = GrantDesk(self)
        cursor = CursorDesk()
        every(200_000) { [unowned self] in grants.tick() }
    }

    override func connected() {
        cursor.connected(published: window.published, last: database.lastSequence)
        subscribe([
            .store, .presence, .cursor, .claims, .receipts(service: service.rawValue, instance: instance),
        ])
        grants.connected()
        provisioners.connected(now: now)
        if !world.isBroken(.ordersRepeat) { book.publishAllAgain() }
    }

    override func subscriptionsStand() { cursor.subscribed(now: now) }

    override func disconnected() {
        if world.isBroken(.outboxRepeats) {
            window = OutboxWindow(published: window.sent)
        } else {
            window.startAgain()
        }
        inlet.dropAsks()
        (claims, claimed) = ([], [])
        cursor.disconnected()
    }

    override func received(_ message: SimMessage) {
        guard !isStopping else { return }
        switch message.body {
        case .store(let frame):
            guard inlet.accepts(streamRules.incoming(frame), now: now), let body = frame.body else { return }
            let received = DatabaseModel.Received(id: frame.id, seq: frame.seq, frame: body)
            waiting.append(received)
            if world.isBroken(.storeReceiptsAfterCommit) { inlet.committed(frame.id, upTo: frame.seq) }
            if world.isBroken(.publishAfterCommit) { publishEarly(body) }
        case .presence(let presence):
            check(presence)
            grants.heard(presence, isRetained: message.isRetained)
            if provisioners.heard(presence, isRetained: message.isRetained, now: now),
                !world.isBroken(.ordersRepeat)
            {
                book.publishAllAgain()
            }
        case .claim(let claim): claims.append(claim)
        case .cursor(let note):
            if message.isRetained { cursor.received(note, believes: world.isBroken(.oldNotesCount)) }
        case .receipt, .partition, .reconciler, .gatewayStatus, .order, .answer, .command, .reply, .question,
            .barrierAnswer,
            .canary, .heartbeat, .wake, .fact, .credentials, .acknowledged, .lineEnded, .endings:
            break
        }
    }

    override func received(_ receipt: StreamReceipt) {
        if !isStopping { grants.received(receipt) }
    }

    override func acknowledged(_ ticket: Int, isHeard: Bool) {
        if window.has(ticket: ticket) {
            window.acknowledged(ticket)
        } else {
            cursor.acknowledged(ticket)
        }
    }

    override var endSteps: Int { 2 }

    /// First the commit, then, unless the process died in between, what follows from it.
    override func turnEnded(step: Int) {
        guard step == 1 else {
            commit()
            return keepKeys()
        }
        publish(inlet.takeReceipts())
        guard isConnected else { return }
        grants.pump()
        publishOrders()
        publishOutbox()
        cursor.pump(self, published: window.published)
        for item in claimed { publish(.answers(item.provisioner), .answer(item.message)) }
        claimed = []
    }

    override func describe(_ presence: inout Presence) {
        presence.partitionCount = database.partitionCount
    }

    // MARK: Inside

    private func commit() {
        guard !waiting.isEmpty, retryAt <= world.time else { return }
        guard world.time >= commitsFailUntil else {
            retryAt = world.time + 1_000_000
            return
        }
        let frames = waiting
        waiting = []
        let (results, orders) = database.commit(frames, published: window.published, now: stamp, oracle)
        for (frame, result) in zip(frames, results) {
            switch result {
            case .applied, .duplicate: inlet.committed(frame.id, upTo: frame.seq)
            case .refused:
                inlet.forget(frame.id)
                grants.refused(frame)
            }
        }
        for change in orders {
            switch change {
            case .issued(let agent, let position): book.issued(agent, position: position)
            case .settled(let agent): book.settled(agent)
            }
        }
    }

    private func keepKeys() {
        // While commits fail nobody is answered.
        if world.time >= commitsFailUntil {
            for claim in claims {
                let holder = database.claim(claim, now: stamp)
                claimed.append((claim.provisioner, .claimed(requestID: claim.requestID, digest: holder)))
            }
        }
        claims = []
    }

    private func publishOrders() {
        guard book.count > 0, provisioners.isAnyLive(now: now) else { return }
        for agent in book.take(now: now) {
            guard let order = database.orders[agent]?.order else {
                book.settled(agent)
                continue
            }
            // One that is published once and never again is not expected back.
            if world.isBroken(.ordersRepeat) { book.settled(agent) }
            let expiry = world.isBroken(.oldOrdersExpire) ? nil : WakeOrder.lifetime.milliseconds * 1_000
            oracle.orderPublished(order)
            publish(.orders, .order(OrderMessage(order: order, age: 0)), expiry: expiry)
        }
    }

    private func publishOutbox() {
        while window.room > 0 {
            let limit = window.room
            let entries = database.outbox.drop { $0.sequence <= window.sent }.prefix(limit)
            publishCredentials(of: Array(entries))
            for entry in entries {
                if case .credential = entry.content, !window.isInForce(entry.sequence) {
                    guard world.isBroken(.credentialsComeFirst) else { return }
                }
                window.published(entry.sequence, tickets: publish(entry.content))
            }
            if entries.count < limit { return }
        }
    }

    /// All of them at once: what is behind one waits for the broker to know it.
    private func publishCredentials(of entries: [DatabaseModel.OutboxEntry]) {
        guard window.mayPublishCredentials, let last = entries.last else { return }
        let changes = entries.compactMap { entry in
            if case .credential(let change) = entry.content, !window.isInForce(entry.sequence) { return change }
            return nil
        }
        guard !changes.isEmpty, let ticket = publish(.access, .credentials(changes), wantsTicket: true) else { return }
        window.publishedCredentials(upTo: last.sequence, ticket: ticket)
    }

    private func publish(_ content: DatabaseModel.Content) -> [Int] {
        switch content {
        case .event(let event, let revision, let hasStatus, let isCleared):
            var tickets: [Int?] = []
            if !event.id.isEmpty {
                let fact = PublishedFact(agent: event.agent, revision: revision, event: event.event, id: event.id)
                oracle.eventPublished(fact)
                tickets.append(publish(.lifecycle, .fact(fact), wantsTicket: true))
            }
            if hasStatus || isCleared { tickets.append(publishStatus(event.agent, revision, isCleared: isCleared)) }
            return tickets.compactMap { $0 }
        case .answer(let provisioner, let message):
            oracle.answerPublished(message)
            return [publish(.answers(provisioner), .answer(message), wantsTicket: true)].compactMap { $0 }
        case .credential, .gatewayEvent: return []
        }
    }

    func publishStatus(_ agent: AgentAddress, _ revision: Int, isCleared: Bool) -> Int? {
        let fact = PublishedFact(agent: agent, revision: revision, event: nil, id: nil, isCleared: isCleared)
        return publish(.status, .fact(fact), retained: "status/\(agent)", wantsTicket: true)
    }

    /// Where the rule is switched off: what will follow from a frame, before it is committed.
    private func publishEarly(_ frame: StoreFrame) {
        for entry in frame.entries {
            if let order = entry.order?.value {
                oracle.orderPublished(order)
                publish(.orders, .order(OrderMessage(order: order, age: 0)))
            }
            guard let event = entry.event, let revision = entry.state?.value?.record.revision else { continue }
            let fact = PublishedFact(agent: event.agent, revision: revision, event: event.event, id: event.id)
            oracle.eventPublished(fact)
            publish(.lifecycle, .fact(fact))
        }
    }
}

/// The store's retained note, as `CursorKeeper` keeps it.
struct CursorDesk {
    private enum Phase {
        case disconnected
        case reading(until: Instant?)
        case republishing(after: Int64, upTo: Int64)
        case keeping
    }

    private var phase = Phase.disconnected
    private var past: (published: Int64, last: Int64) = (0, 0)
    private var noted: Int64 = -1
    private var notedAt = Instant(nanoseconds: 0)
    private var tickets: Set<Int> = []

    var isKeeping: Bool { if case .keeping = phase { true } else { false } }

    mutating func connected(published: Int64, last: Int64) {
        past = (published, last)
        phase = .reading(until: nil)
        tickets = []
        noted = -1
    }

    mutating func disconnected() {
        phase = .disconnected
        tickets = []
    }

    mutating func subscribed(now: Instant) {
        guard case .reading(until: nil) = phase else { return }
        phase = .reading(until: now + .seconds(1))
    }

    /// - Parameter believes: takes any note for the newest.
    mutating func received(_ note: CursorNote, believes: Bool) {
        guard case .reading = phase else { return }
        if believes {
            phase = .keeping
            return
        }
        found(CursorMessage(published: note.published, database: note.database))
    }

    mutating func acknowledged(_ ticket: Int) { tickets.remove(ticket) }

    mutating func pump(_ store: StoreProcess, published: Int64) {
        let now = store.now
        switch phase {
        case .disconnected: return
        case .reading(let until):
            if let until, until <= now { found(nil) }
        case .republishing(let after, let last):
            if !store.world.isBroken(.statusesAreRepublished) { republish(store, after, last) }
            phase = .keeping
        case .keeping:
            guard now.milliseconds(since: notedAt) >= 1_000 else { return }
            note(store, published: published)
        }
    }

    mutating func note(_ store: StoreProcess, published: Int64) {
        guard isKeeping, published != noted, tickets.isEmpty else { return }
        noted = published
        notedAt = store.now
        store.publish(.cursor, .cursor(CursorNote(published: published, database: "d")), retained: "cursor")
    }

    private mutating func republish(_ store: StoreProcess, _ after: Int64, _ last: Int64) {
        let changed = store.database.changedAt.filter { $0.value > after && $0.value <= last }
        for (agent, _) in changed.sorted(by: { $0.value < $1.value }) {
            let revision = store.database.agents[agent]?.record.revision
            if revision == nil, store.world.isBroken(.tombstonesAreRepublished) { continue }
            let ticket = store.publishStatus(
                agent, revision ?? store.database.tombstones[agent]?.revision ?? 0, isCleared: revision == nil)
            if let ticket { tickets.insert(ticket) }
        }
    }

    private mutating func found(_ cursor: CursorMessage?) {
        let first = CursorMessage.republishing(
            found: cursor, published: past.published, last: past.last, database: "d")
        phase = first.map { .republishing(after: $0, upTo: past.published) } ?? .keeping
    }
}
