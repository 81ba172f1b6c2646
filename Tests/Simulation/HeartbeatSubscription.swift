import HeartbeatIngestCore
import Wire

/// The connection of an ingest on which heartbeats come.
final class HeartbeatSubscription: Client {
    unowned let process: IngestProcess
    /// The Last Will of the subscription that is open, or being opened.
    private var end: HeartbeatSubscriptionEnded?

    init(_ process: IngestProcess) {
        self.process = process
        super.init("\(process.name)~heartbeats", process.broker)
    }

    override var connectTime: ClosedRange<Int64> { 2_000...700_000 }
    override var keepalive: Int64 { 5 }

    /// Whether it is open, or being opened.
    var isWanted: Bool { end != nil }

    override func started() { end = nil }

    func open(_ end: HeartbeatSubscriptionEnded) {
        self.end = end
        connectSoon()
    }

    /// A subscription that ends is not made again.
    override func connectSoon() {
        if end != nil { super.connectSoon() }
    }

    override func wills() -> [SimMessage] {
        guard let end else { return [] }
        return [
            SimMessage(
                topic: .subscriptions, body: .subscriptionEnded(end), retainedKey: "subscriptions/\(process.name)")
        ]
    }

    override func opened() {
        guard end != nil else { return abandon() }
        process.handle(.subscriptionConnected)
    }

    override func subscribed() { process.handle(.subscriptionAnswered(refused: [])) }

    override func closed() {
        let wasWanted = end != nil
        end = nil
        process.dropOthers()
        if wasWanted { process.handle(.subscriptionLost) }
    }

    override func lostConnection() {
        guard process.isPaused else { return super.lostConnection() }
        let (launch, session) = (launch, session)
        world.at(process.pausedUntil) { [unowned self] in
            guard isUp, self.launch == launch, self.session === session else { return }
            lostConnection()
        }
    }

    override func deliver(_ message: SimMessage) {
        var message = message
        message.deliveredAt = world.time
        process.deliver(message)
    }

    /// Ends the connection without a word; nobody is told but by its Last Will.
    func abandon() {
        end = nil
        guard let session else { return }
        broker.end(session, isCrash: false)
        super.lostConnection()
    }
}
