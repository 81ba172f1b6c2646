/// One client's connection to the broker, from CONNACK to its loss.
final class Session {
    let number: Int
    unowned let client: Client
    var isOpen = true
    /// Nothing gets through any more, and neither side knows.
    var isCut = false
    /// Until then nothing gets through; what is written waits for it.
    var interruptedUntil: Int64 = 0
    /// Arrivals at the broker, and at the client, come in order.
    var lastUp: Int64 = 0
    var lastDown: Int64 = 0
    /// What arrives at the broker after this was still in the client's buffer when its process ended.
    var cutAt = Int64.max
    /// One connection stands for those of all the agents behind a gateway.
    let wills: [SimMessage]

    init(number: Int, client: Client, wills: [SimMessage]) {
        self.number = number
        self.client = client
        self.wills = wills
    }
}

/// Whoever connects to the broker: a service or a gateway.
class Client {
    unowned let world: World
    unowned let broker: Broker
    let name: String
    var session: Session?
    /// Counts starts of the process.
    private(set) var launch = 0
    private(set) var isUp = false
    var pausedUntil: Int64 = 0

    init(_ name: String, _ broker: Broker) {
        self.name = name
        self.broker = broker
        world = broker.world
    }

    var isPaused: Bool { pausedUntil > world.time }

    func start() {
        precondition(!isUp)
        launch += 1
        isUp = true
        started()
        connectSoon()
    }

    /// Ends of its own accord: what it has written arrives, its Last Will does not.
    func shutDown() {
        guard isUp else { return }
        world.note("\(name) has stopped")
        isUp = false
        pausedUntil = 0
        if let session { broker.disconnect(session) }
        session = nil
        crashed()
    }

    func crash() {
        guard isUp else { return }
        world.note("\(name) crashes")
        isUp = false
        pausedUntil = 0
        if let session { broker.end(session, isCrash: true) }
        session = nil
        crashed()
    }

    /// Whether what it says gets through.
    var isReachable: Bool { isUp && !isPaused && session.map { !$0.isCut } ?? false }

    /// Seconds; the broker ends a session that was silent for one and a half times as long (MQTT 5 §3.1.2.10).
    var keepalive: Int64 { 15 }

    func pause(until: Int64) {
        guard isUp else { return }
        world.note("\(name) pauses until \(until / 1_000)")
        pausedUntil = max(pausedUntil, until)
        timeOut(self)
    }

    /// A connection of this process that stands still is ended by the broker after a while.
    func timeOut(_ client: Client) {
        guard let session = client.session else { return }
        // The last packet may be a keepalive old, and mosquitto looks every 6 s.
        let limit =
            client.keepalive * 1_500_000 - world.random.int(0...client.keepalive * 1_000_000)
            + world.random.int(0...6_000_000)
        guard pausedUntil - world.time > limit else { return }
        world.after(limit) { [unowned self] in
            guard session.isOpen else { return }
            broker.end(session, isCrash: false)
            client.lostConnection()
        }
    }

    /// How long a connection takes, in microseconds.
    var connectTime: ClosedRange<Int64> { 2_000...120_000 }

    /// Whether the broker knows who it is.
    var isAdmitted: Bool { true }

    func connectSoon() {
        let launch = launch
        world.after(world.random.int(connectTime)) { [unowned self] in
            guard isUp, self.launch == launch, session == nil else { return }
            guard broker.isUp, !isPaused, isAdmitted else { return connectSoon() }
            session = broker.open(self, wills: wills())
            opened()
        }
    }

    /// The connection broke: the client may notice a little later.
    func lostConnection() {
        guard isUp, session != nil else { return }
        session = nil
        closed()
        connectSoon()
    }

    func started() {}
    func crashed() {}
    func opened() {}
    func closed() {}
    func wills() -> [SimMessage] { [] }
    func deliver(_ message: SimMessage) {}
    func subscribed() {}
}
