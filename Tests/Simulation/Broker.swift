import API
import Wire

/// A model of an MQTT broker: sessions that end with their connection, retained messages, shared subscriptions, wills.
final class Broker {
    unowned let world: World
    private(set) var isUp = true
    private var sessions: [Session] = []
    private var subscriptions: [SimTopic: [Session]] = [:]
    private(set) var retained: [String: SimMessage] = [:]
    private var snapshot: [String: SimMessage] = [:]
    /// The gateways that may connect: what the plugin was told, on its disk.
    private(set) var admitted: Set<String> = []
    /// Ended, and their Last Wills are not out yet.
    private var owing: [Session] = []
    private var nextSession = 0
    private var turns = 0
    private var stalledUntil: Int64 = 0
    /// Told of every message as it reaches the broker.
    var arrived: (SimMessage) -> Void = { _ in }
    /// Told of what it gives to one of those who share a subscription.
    var handed: (SimMessage, Session) -> Void = { _, _ in }
    var stalled: (Range<Int64>) -> Void = { _ in }

    init(_ world: World) {
        self.world = world
    }

    func open(_ client: Client, wills: [SimMessage]) -> Session {
        // The same client again takes its session over (MQTT 5 §3.1.4).
        speakFor { $0.client === client }
        for old in sessions where old.client === client { end(old, isCrash: false, withWill: world.random.chance(50)) }
        speakFor { $0.client === client }
        nextSession += 1
        let session = Session(number: nextSession, client: client, wills: wills)
        sessions.append(session)
        return session
    }

    /// The connection is gone: its will follows.
    func end(_ session: Session, isCrash: Bool, withWill: Bool = true) {
        guard session.isOpen else { return }
        session.isOpen = false
        session.cutAt = isCrash ? world.time + world.random.int(0...3_000) : world.time
        forget(session)
        guard withWill, !session.wills.isEmpty else { return }
        owing.append(session)
        world.after(world.random.int(500...15_000)) { [unowned self] in speakFor { $0 === session } }
    }

    /// A Last Will comes before anything that the same client says on its next connection.
    private func speakFor(_ isMeant: (Session) -> Bool) {
        let meant = owing.filter(isMeant)
        owing.removeAll(where: isMeant)
        for will in meant.flatMap(\.wills) where isUp { route(will) }
    }

    /// The client says goodbye behind all it has sent (MQTT 5 §3.14).
    func disconnect(_ session: Session) {
        up(session) { [unowned self] in end(session, isCrash: false, withWill: false) }
    }

    /// What a broker has on its disk when it starts again.
    enum Memory: CaseIterable { case all, snapshot, nothing }

    /// Writes down what is retained: a crash returns to it.
    func save() {
        if isUp { snapshot = retained }
    }

    func crash(keeps memory: Memory) {
        guard isUp else { return }
        world.note("broker crashes and keeps \(memory)")
        isUp = false
        let ended = sessions
        sessions = []
        owing = []
        subscriptions = [:]
        switch memory {
        case .all: break
        case .snapshot: retained = snapshot
        case .nothing: retained = [:]
        }
        for session in ended {
            session.isOpen = false
            session.cutAt = world.time
            let client = session.client
            world.after(world.random.int(200...8_000)) {
                guard client.session === session else { return }
                client.lostConnection()
            }
        }
    }

    func restart() {
        world.note("broker is back")
        isUp = true
    }

    /// One connection goes silent: both sides find out later, each for itself.
    func cut(_ client: Client) {
        cut(client, broker: 200_000...4_000_000, client: 200_000...4_000_000)
    }

    /// Somebody in between keeps both halves of a connection open and hands nothing on, for nearly as long as others believe
    /// in who is silent (`Observability.presenceLimit`).
    func mute(_ client: Client) {
        cut(client, broker: 8_000_000...18_000_000, client: 8_000_000...18_000_000)
    }

    /// - Parameters: how long each side takes to find out.
    private func cut(_ client: Client, broker brokerTime: ClosedRange<Int64>, client clientTime: ClosedRange<Int64>) {
        guard let session = client.session, session.isOpen, !session.isCut else { return }
        world.note("\(client.name) is cut off")
        session.isCut = true
        world.after(world.random.int(brokerTime)) { [unowned self] in end(session, isCrash: false) }
        world.after(world.random.int(clientTime)) {
            guard client.session === session else { return }
            client.lostConnection()
        }
    }

    /// Packets of one connection are lost for a while: what is written is repeated and arrives late. No longer than services
    /// believe in a connection that is silent (`ConnectionOptions.deliveryLimit`): longer is a cut.
    func interrupt(_ client: Client) {
        guard let session = client.session, session.isOpen, !session.isCut else { return }
        world.note("\(client.name) is interrupted")
        session.interruptedUntil = max(session.interruptedUntil, world.time + world.random.int(50_000...1_400_000))
    }

    /// The broker stands still: nothing is lost, everything waits.
    func stall(until: Int64) {
        stalled(world.time..<until)
        world.note("broker stalls until \(until / 1_000)")
        stalledUntil = max(stalledUntil, until)
    }

    /// One connection breaks; the broker knows at once, the client a little later.
    func drop(_ client: Client) {
        guard let session = client.session, session.isOpen else { return }
        world.note("\(client.name) loses its connection")
        end(session, isCrash: false)
        world.after(world.random.int(200...8_000)) {
            guard client.session === session else { return }
            client.lostConnection()
        }
    }

    func subscribe(_ session: Session, _ topics: [SimTopic]) {
        up(session) { [unowned self] in
            for topic in topics where !(subscriptions[topic] ?? []).contains(where: { $0 === session }) {
                subscriptions[topic, default: []].append(session)
            }
            for key in retained.keys.sorted() {
                guard var message = retained[key], topics.contains(message.topic) else { continue }
                message.isRetained = true
                down(message, to: session)
            }
            later(session) { $0.client.subscribed() }
        }
    }

    func unsubscribe(_ session: Session, _ topic: SimTopic) {
        up(session) { [unowned self] in
            subscriptions[topic]?.removeAll { $0 === session }
        }
    }

    func publish(_ session: Session, _ message: SimMessage) {
        var message = message
        message.sentAt = world.time
        if world.sendsBytes { message.body = RealBytes.recoded(message.body) }
        // What awaits its acknowledgement is not lost but with the connection. A presence is: then it has none.
        let isInternal = isBetweenServices(message) && (message.ticket == nil || message.topic == .presence)
        if isInternal, world.isChaotic, world.random.chance(world.plan.lossPercent) { return }
        guard let delay = trouble(message, by: session.client) else { return }
        let isOrdered = world.plan.isHonest || !world.isChaotic || !isInternal
        up(session, wait: delay, isOrdered: isOrdered && delay == 0) { [unowned self] in
            if case .credentials = message.body {
                // The plugin takes a while, and what is behind it is handed on meanwhile.
                world.after(world.random.int(0...20_000)) { [unowned self] in handOn(message, session) }
            } else {
                handOn(message, session)
            }
        }
    }

    private func handOn(_ message: SimMessage, _ session: Session) {
        guard isUp else { return }
        route(message)
        if let ticket = message.ticket {
            // The plugin is no subscriber, and takes what is meant for it.
            let isHeard = message.topic == .access || !(subscriptions[message.topic] ?? []).isEmpty
            let answer = SimMessage(
                topic: message.topic, body: .acknowledged(ticket: ticket, isHeard: isHeard))
            later(session) { $0.client.deliver(answer) }
        }
    }

    func isRetaining(_ key: String) -> SimMessage? { retained[key] }

    private func change(_ credential: CredentialChange) {
        switch credential.change {
        case .set, .overlap: admitted.insert(credential.username)
        case .remove:
            admitted.remove(credential.username)
            for session in sessions where session.client.name == "gateway/\(credential.username)" {
                (session.client as? GatewayClient)?.wasHurt()
                end(session, isCrash: false)
                session.client.lostConnection()
            }
        }
    }

    // MARK: Inside

    private func forget(_ session: Session) {
        sessions.removeAll { $0 === session }
        for topic in subscriptions.keys { subscriptions[topic]?.removeAll { $0 === session } }
    }

    private func isBetweenServices(_ message: SimMessage) -> Bool {
        switch message.topic {
        case .partition, .store, .reconciler, .acknowledgements, .presence, .answers, .barriers, .orders,
            .subscriptions, .claims:
            true
        case .gatewayStatus, .cursor, .canary, .endings, .replies, .wake, .lifecycle, .status, .commands, .heartbeats,
            .access:
            false
        }
    }

    /// How much later it comes because the plan has singled it out; `nil` when it is lost.
    private func trouble(_ message: SimMessage, by sender: Client) -> Int64? {
        guard !world.plan.troubles.isEmpty, world.isChaotic, let kind = kind(of: message, by: sender),
            let trouble = world.plan.troubles[kind]
        else { return 0 }
        if world.random.chance(trouble.lost) { return nil }
        guard world.random.chance(trouble.late) else { return 0 }
        let wait = world.random.int(0...trouble.lateMax)
        if let expiry = message.expiry, wait > expiry { return nil }
        return wait
    }

    private func isOfSecondIngest(_ message: SimMessage) -> Bool {
        guard world.plan.secondIngestSilence > 0, case .presence(let presence) = message.body else { return false }
        return presence.instance == "i2"
    }

    private func kind(of message: SimMessage, by sender: Client) -> Plan.Kind? {
        switch message.body {
        case .partition(let frame):
            switch frame.body {
            case .batch, .introduction: (sender as? Process)?.isStopping ?? false ? .lastBatches : .batches
            case .report: .reports
            case .request: .requests
            case nil: nil
            }
        case .order: .orders
        case .answer(.answer): .answers
        case .claim: .claims
        case .store, .reconciler, .acknowledgement, .presence, .gatewayStatus, .cursor, .answer, .command, .question,
            .barrierAnswer,
            .canary, .subscriptionEnded, .endings, .reply, .heartbeat, .wake, .fact, .credentials, .acknowledged:
            nil
        }
    }

    private func route(_ message: SimMessage) {
        arrived(message)
        if case .credentials(let changes) = message.body { return changes.forEach(change) }
        if let key = message.retainedKey {
            if case .fact(let fact) = message.body, fact.isCleared {
                retained[key] = nil
            } else {
                retained[key] = message
            }
        }
        let targets = subscriptions[message.topic] ?? []
        guard !targets.isEmpty else { return }
        if message.topic.isShared {
            turns += 1
            let target = targets[turns % targets.count]
            handed(message, target)
            down(message, to: target)
        } else {
            for session in targets { down(message, to: session) }
        }
    }

    private func up(
        _ session: Session, wait: Int64 = 0, isOrdered: Bool = true, _ action: @escaping () -> Void
    ) {
        guard !session.isCut else { return }
        var arrival = max(world.time + hop(), stalledUntil, session.interruptedUntil) + wait
        if isOrdered {
            arrival = max(arrival, session.lastUp)
            session.lastUp = arrival
        }
        world.at(arrival) { [unowned self] in
            guard isUp, session.isOpen || world.time <= session.cutAt, !session.isCut else { return }
            action()
        }
    }

    private func down(_ message: SimMessage, to session: Session) {
        let isInternal = isBetweenServices(message)
        // What is retained comes with the answer to a subscription, and in order: a broker loses it with the connection alone. A
        // new owner knows by it of ingests that can say nothing now.
        let isFaulty = isInternal && !message.isRetained && world.isChaotic && !world.plan.isHonest
        if isFaulty, world.random.chance(world.plan.lossPercent) { return }
        if world.isChaotic, !message.isRetained, isOfSecondIngest(message),
            world.random.chance(world.plan.secondIngestSilence)
        {
            return
        }
        let copies = isFaulty && world.random.chance(world.plan.repeatPercent) ? 2 : 1
        for _ in 0..<copies {
            var wait: Int64 = 0
            if isFaulty, world.random.chance(world.plan.latePercent) {
                wait = world.random.int(0...world.plan.lateMax)
            }
            // What is too old is not handed on (MQTT 5 §3.3.2.3.3).
            if let expiry = message.expiry, wait > expiry { continue }
            later(session, wait: wait, isOrdered: !isFaulty) { $0.client.deliver(message) }
        }
    }

    private func later(
        _ session: Session, wait: Int64 = 0, isOrdered: Bool = true, _ action: @escaping (Session) -> Void
    ) {
        var arrival = max(world.time + hop(), stalledUntil, session.interruptedUntil) + wait
        if isOrdered {
            arrival = max(arrival, session.lastDown)
            session.lastDown = arrival
        }
        world.at(arrival) {
            guard session.isOpen, !session.isCut, session.client.isUp, session.client.session === session else {
                return
            }
            action(session)
        }
    }

    private func hop() -> Int64 { world.random.int(100...12_000) }
}
