import API
import Model
import Streams
import Wire

/// A service's process: turns of a loop as `EventLoop` has them, timers, two clocks, pauses, presence.
///
/// A turn reads everything that has arrived, fires timers, ends, writes. Between reading and ending the process may be
/// stopped or killed; what it wants to publish leaves with the end.
class Process: Client {
    /// A turn that took longer, or began later, gives up its connection unread.
    static let stallLimit: Int64 = 1_000_000

    let service: ServiceName
    let oracle: Oracle
    private(set) var inbox: [SimMessage] = []
    private var outgoing: [SimMessage] = []
    private var isInTurn = false
    private var turnAt: Int64?
    /// Since when a turn has waited for the end of pauses.
    private var overdueSince: Int64?
    private var timers: [(due: Int64, every: Int64, action: () -> Void)] = []
    private var clockOffset: Int64
    /// Milliseconds by which the wall clock was stepped.
    var wallOffset: Int64 = 0
    private var nextTicket = 0
    private(set) var isSubscribed = false
    private var peers: [String: String] = [:]
    /// When the core wants to be called next.
    var wakeAt: Instant?
    /// Asked to stop: ends by itself once everything is handed over, or then.
    private(set) var stopsBy: Int64?
    /// The reading of the clock with which this turn began.
    private(set) var turnNow = Instant(nanoseconds: 0)

    init(_ service: ServiceName, _ instance: String, _ broker: Broker, _ oracle: Oracle) {
        self.service = service
        self.oracle = oracle
        let offset = broker.world.random.int(1_000_000...100_000_000)
        clockOffset = broker.world.plan.isOneMachine ? 50_000_000 : offset
        super.init("\(service.rawValue)/\(instance)", broker)
        self.instance = instance
    }

    private(set) var instance = ""
    /// What its streams say and hear.
    private(set) lazy var streamRules = StreamRules(world)
    var incarnation: String { "\(instance)-\(launch)" }
    var now: Instant { Instant(nanoseconds: (world.time + clockOffset + steps) * 1_000) }
    var wallTime: Timestamp { Timestamp(millisecondsSince1970: 1_700_000_000_000 + world.time / 1_000 + wallOffset) }
    var isConnected: Bool { session != nil }

    /// The world's time of a reading of this process's clock.
    func worldTime(_ instant: Instant) -> Int64 { instant.nanoseconds / 1_000 - clockOffset - steps }

    /// By how much the clock of deadlines follows steps of the wall clock: not at all.
    private var steps: Int64 {
        world.isBroken(.deadlinesIgnoreWallClocks) && service == .reconciler ? wallOffset * 1_000 : 0
    }

    // MARK: What a service does

    func begin() {}
    func connected() {}
    func subscriptionsStand() {}
    func disconnected() {}
    func received(_ message: SimMessage) {}
    func received(_ acknowledgement: StreamAcknowledgement) {}
    func acknowledged(_ ticket: Int, isHeard: Bool) {}
    /// How many steps the end of a turn has: the process may die between them.
    var endSteps: Int { 1 }
    func turnEnded(step: Int) {}
    func describe(_ presence: inout Presence) {}
    /// Whether it asks for the broker's acknowledgement of its presence, and with which ticket.
    var wantsPresenceAcknowledged: Bool { false }
    func announced(_ ticket: Int) {}
    /// Asked again and again once it stops: whether all is handed over.
    func isDrained() -> Bool { true }

    // MARK: Stopping

    /// So long a service may take to hand over.
    static let stopLimit: Int64 = 4_000_000

    var isStopping: Bool { stopsBy != nil }
    /// Whether its last stop was clean.
    private(set) var hasHandedOver = false

    /// SIGTERM.
    func stop() {
        guard isUp, !isStopping else { return }
        world.note("\(name) is asked to stop")
        stopsBy = world.time + Process.stopLimit
        every(20_000) {}
        scheduleTurn(at: world.time)
    }

    // MARK: Client

    override func started() {
        inbox = []
        outgoing = []
        timers = []
        isInTurn = false
        turnAt = nil
        overdueSince = nil
        wakeAt = nil
        isSubscribed = false
        peers = [:]
        stopsBy = nil
        hasHandedOver = false
        begin()
        every(2_000_000) { [unowned self] in announce() }
        scheduleTurn(at: world.time)
    }

    override func crashed() {
        inbox = []
        outgoing = []
    }

    override func opened() {
        announce()
        connected()
        scheduleTurn(at: world.time)
    }

    /// Whether a message came on another connection than the process's own.
    func isOfOtherConnection(_ message: SimMessage) -> Bool { false }

    /// What came on another connection that is lost now.
    func dropOthers() { inbox.removeAll { isOfOtherConnection($0) } }

    override func closed() {
        isSubscribed = false
        inbox.removeAll { !isOfOtherConnection($0) }
        outgoing = []
        disconnected()
        scheduleTurn(at: world.time)
    }

    override func subscribed() {
        isSubscribed = true
        subscriptionsStand()
    }

    override func deliver(_ message: SimMessage) {
        inbox.append(message)
        scheduleTurn(at: world.time)
    }

    override func wills() -> [SimMessage] { [presence(.lost)] }

    override func lostConnection() {
        // A stopped process notices when it goes on.
        guard isPaused else { return super.lostConnection() }
        let (launch, session) = (launch, session)
        world.at(pausedUntil) { [unowned self] in
            guard isUp, self.launch == launch, self.session === session else { return }
            lostConnection()
        }
    }

    // MARK: Doing

    func every(_ interval: Int64, _ action: @escaping () -> Void) {
        timers.append((world.time + interval, interval, action))
    }

    @discardableResult
    func publish(
        _ topic: SimTopic, _ body: SimBody, retained: String? = nil, expiry: Int64? = nil, wantsTicket: Bool = false
    )
        -> Int?
    {
        guard isConnected else { return nil }
        var message = SimMessage(topic: topic, body: body, retainedKey: retained, expiry: expiry)
        if wantsTicket {
            nextTicket += 1
            message.ticket = nextTicket
        }
        outgoing.append(message)
        return message.ticket
    }

    /// The streams of one kind that it sends.
    ///
    /// - Parameter windowMax: small, so that frames wait for acknowledgements.
    func senders<Body>(windowMax: Int = 6) -> StreamSenders<Body> {
        StreamSenders(
            service: service, instance: instance, incarnation: incarnation, windowMax: windowMax)
    }

    func publish<Body>(_ frames: [StreamSenders<Body>.Outgoing], _ wrap: (StreamFrame<Body>) -> SimBody) {
        for outgoing in streamRules.outgoing(frames, instance: instance) {
            let topic: SimTopic =
                switch outgoing.destination {
                case .partition(let number): .partition(number)
                case .store: .store
                case .reconciler(let instance): .reconciler(instance)
                }
            publish(topic, wrap(outgoing.frame))
        }
    }

    func publish(_ acknowledgements: [StreamAcknowledgement]) {
        for acknowledgement in acknowledgements {
            publish(
                .acknowledgements(service: acknowledgement.id.service, instance: acknowledgement.id.instance),
                .acknowledgement(acknowledgement))
        }
    }

    func subscribe(_ topics: [SimTopic]) {
        guard let session else { return }
        broker.subscribe(session, topics)
    }

    func unsubscribe(_ topic: SimTopic) {
        guard let session else { return }
        broker.unsubscribe(session, topic)
    }

    func announce() {
        guard isConnected, !isStopping else { return }
        let message = presence(.running)
        let ticket = publish(
            .presence, message.body, retained: message.retainedKey, wantsTicket: wantsPresenceAcknowledged)
        if let ticket { announced(ticket) }
    }

    func check(_ other: Presence) {
        let peer = "\(other.service)/\(other.instance)"
        guard other.state == .running, other.incarnation != incarnation,
            peers.updateValue(other.incarnation, forKey: peer) != other.incarnation
        else { return }
        announce()
    }

    private func presence(_ state: Presence.State) -> SimMessage {
        var presence = Presence(
            service: service, instance: instance, state: state, startedAt: Timestamp(millisecondsSince1970: 0),
            configDigest: "", incarnation: incarnation)
        if state == .running { describe(&presence) }
        return SimMessage(topic: .presence, body: .presence(presence), retainedKey: "presence/\(name)")
    }

    // MARK: Turns

    func scheduleTurn(at when: Int64) {
        guard isUp, !isInTurn else { return }
        if let turnAt, turnAt <= when { return }
        turnAt = when
        let launch = launch
        world.at(when) { [unowned self] in
            guard isUp, self.launch == launch, !isInTurn, turnAt == when else { return }
            turn(planned: when)
        }
    }

    private func turn(planned: Int64) {
        let planned = min(planned, overdueSince ?? planned)
        overdueSince = isPaused ? planned : nil
        if isPaused {
            turnAt = pausedUntil
            let (launch, at) = (launch, pausedUntil)
            return world.at(at) { [unowned self] in
                guard isUp, self.launch == launch, !isInTurn, turnAt == at else { return }
                turn(planned: planned)
            }
        }
        turnAt = nil
        isInTurn = true
        if world.time - planned > Process.stallLimit { stall() }
        turnNow = now
        let messages = inbox
        inbox = []
        for message in messages { handle(message) }
        for index in timers.indices where timers[index].due <= world.time {
            timers[index].due = world.time + timers[index].every
            timers[index].action()
        }
        continueTurn(began: world.time, step: 0)
    }

    private func continueTurn(began: Int64, step: Int) {
        let launch = launch
        world.at(max(world.time + world.random.int(10...600), pausedUntil)) { [unowned self] in
            guard isUp, self.launch == launch else { return }
            guard !isPaused else { return continueTurn(began: began, step: step) }
            turnEnded(step: step)
            if step + 1 < endSteps {
                flush()
                return continueTurn(began: began, step: step + 1)
            }
            finishTurn(began: began)
        }
    }

    private func finishTurn(began: Int64) {
        if world.time - began > Process.stallLimit { stall() }
        let isClean = isStopping && isDrained() && !world.isBroken(.stopsEnd)
        let isOver = isClean || stopsBy.map { $0 <= world.time } ?? false
        if isOver {
            hasHandedOver = isClean
            let message = presence(isClean || world.isBroken(.stopsAreHonest) ? .stopped : .lost)
            publish(.presence, message.body, retained: message.retainedKey)
        }
        flush()
        isInTurn = false
        if isOver { return shutDown() }
        if !inbox.isEmpty { return scheduleTurn(at: world.time) }
        var next = timers.map(\.due).min() ?? world.time + 1_000_000
        if let wakeAt { next = min(next, worldTime(wakeAt) + 1_000) }
        scheduleTurn(at: max(next, world.time))
    }

    private func handle(_ message: SimMessage) {
        world.mix(launch)
        switch message.body {
        case .acknowledged(let ticket, let isHeard): acknowledged(ticket, isHeard: isHeard)
        case .acknowledgement(let acknowledgement):
            received(streamRules.incoming(acknowledgement, incarnation: incarnation))
        default: received(message)
        }
    }

    private func flush() {
        guard let session else {
            outgoing = []
            return
        }
        for message in outgoing { broker.publish(session, message) }
        outgoing = []
    }

    /// Gives up what other connections the process has.
    func stalled() {}

    private func stall() {
        if world.isBroken(.stalledReadNothing) { return }
        stalled()
        guard let session else { return }
        world.note("\(name) stalled")
        broker.end(session, isCrash: false)
        super.lostConnection()
    }
}
