public import API
internal import Lifecycle
public import Model
public import Wire

/// Turns wake orders into wakes: proves that the agent's files can be rendered, publishes, reports what became of it.
///
/// A pure value. Orders are level-triggered: one that is lost, here or on its way, is issued again until its report is
/// committed, so nothing is kept beyond a session.
public struct WakeHandler: Sendable {
    /// Wakes handed to the connection at once: those behind them wait here, where their age is judged.
    public static let underWayMax = 100
    /// Orders that may wait; beyond it they are dropped, and issued again.
    public static let waitingMax = 100_000
    /// How often edited templates are mentioned in the log.
    public static let staleWarningInterval = TimeSpan.seconds(60)

    /// One publication of one wake.
    public struct Key: Hashable, Sendable {
        public let agent: AgentAddress
        public let publication: Int

        init(_ order: WakeOrder) {
            agent = order.agent
            publication = order.publication
        }
    }

    public enum Event: Sendable {
        case orderReceived(OrderMessage)
        /// The broker acknowledged a wake with this reason code.
        case acknowledged(Key, reason: UInt8)
        /// The session is over: what was under way has an unknown fate.
        case disconnected
    }

    public enum Directive: Hashable, Sendable {
        case publish(Key, WakeMessage, expirySeconds: UInt32, traceparent: String?)
        case report(WakeReport)
        /// The templates give other files than the order's digest says.
        case warnStaleTemplates(AgentAddress, ordered: String, rendered: String)
    }

    private struct Waiting: Sendable {
        let order: WakeOrder
        /// When it was issued, on this process's clock.
        let publishedAt: Instant
    }

    private struct Published: Sendable {
        let order: WakeOrder
        let at: Instant
        let sentAt: Timestamp
        let deadlineAt: Timestamp
    }

    private let topics: Topics
    var files: AgentFiles
    private var waiting: [Waiting] = []
    private var waitingHead = 0
    private var waitingKeys: Set<Key> = []
    private var underWay: [Key: Published] = [:]
    private var warnedAt: Instant?

    public init(topics: Topics, files: AgentFiles) {
        self.topics = topics
        self.files = files
    }

    /// Wakes that wait or are under way.
    public var count: Int { waitingKeys.count + underWay.count }

    public mutating func handle(_ event: Event, now: Instant, wallTime: Timestamp, into directives: inout [Directive]) {
        switch event {
        case .orderReceived(let message): receive(message, now)
        case .acknowledged(let key, let reason):
            guard let wake = underWay.removeValue(forKey: key) else { break }
            directives.append(.report(report(of: wake, reason: reason, now, wallTime)))
        case .disconnected: forgetAll()
        }
        publishNext(now, wallTime, &directives)
    }

    /// A wake could not be handed to the connection: its order is issued again.
    public mutating func forget(_ key: Key) {
        underWay[key] = nil
    }

    private mutating func receive(_ message: OrderMessage, _ now: Instant) {
        let key = Key(message.order)
        guard underWay[key] == nil, waitingKeys.count < WakeHandler.waitingMax, waitingKeys.insert(key).inserted else {
            return
        }
        waiting.append(Waiting(order: message.order, publishedAt: now - TimeSpan(milliseconds: max(0, message.age))))
    }

    private mutating func publishNext(_ now: Instant, _ wallTime: Timestamp, _ directives: inout [Directive]) {
        while underWay.count < WakeHandler.underWayMax, waitingHead < waiting.count {
            let next = waiting[waitingHead]
            waitingHead += 1
            waitingKeys.remove(Key(next.order))
            publish(next, now, wallTime, &directives)
        }
        guard waitingHead > 0, waitingHead == waiting.count || waitingHead >= 1_024 else { return }
        waiting.removeFirst(waitingHead)
        waitingHead = 0
    }

    private mutating func publish(
        _ next: Waiting, _ now: Instant, _ wallTime: Timestamp, _ directives: inout [Directive]
    ) {
        let order = next.order
        guard now.milliseconds(since: next.publishedAt) <= WakeOrder.lifetime.milliseconds else {
            return directives.append(.report(WakeReport(order, outcome: .expired, age: 0)))
        }
        do {
            let digest = try files.render(
                order.agent, role: order.role, board: order.board, variables: order.variables
            ).digest
            if let ordered = order.templatesDigest, ordered != digest {
                warn(order.agent, ordered: ordered, rendered: digest, now, &directives)
            }
        } catch {
            let outcome = WakeReport.Outcome.failed(at: wallTime, error: error.description)
            return directives.append(.report(WakeReport(order, outcome: outcome, age: 0)))
        }
        let key = Key(order)
        let deadlineAt = wallTime + order.checkinDeadline.span
        underWay[key] = Published(order: order, at: now, sentAt: wallTime, deadlineAt: deadlineAt)
        let seconds = UInt32(clamping: (order.checkinDeadline.span.milliseconds + 999) / 1_000)
        directives.append(
            .publish(
                key, WakeMessage(order, deadlineAt: deadlineAt, topics: topics), expirySeconds: seconds,
                traceparent: order.traceparent))
    }

    private mutating func warn(
        _ agent: AgentAddress, ordered: String, rendered: String, _ now: Instant, _ directives: inout [Directive]
    ) {
        if let warnedAt, now.milliseconds(since: warnedAt) < WakeHandler.staleWarningInterval.milliseconds { return }
        warnedAt = now
        directives.append(.warnStaleTemplates(agent, ordered: ordered, rendered: rendered))
    }

    /// A PUBACK of 0x10 says that nobody is subscribed; from 0x80 on the broker refused the message (MQTT 5 §3.4.2.1).
    private func report(_ wake: Published, _ outcome: WakeReport.Outcome, _ now: Instant) -> WakeReport {
        WakeReport(wake.order, outcome: outcome, age: max(0, now.milliseconds(since: wake.at)))
    }

    private func report(of wake: Published, reason: UInt8, _ now: Instant, _ wallTime: Timestamp) -> WakeReport {
        guard reason < 0x80 else {
            let code = String(reason, radix: 16)
            return WakeReport(
                wake.order, outcome: .failed(at: wallTime, error: "the broker refused the wake with reason 0x\(code)"),
                age: 0)
        }
        let delivery: WakeDelivery = reason == 0x10 ? .noSubscriber : .accepted
        return report(wake, .woken(sentAt: wake.sentAt, deadlineAt: wake.deadlineAt, delivery: delivery), now)
    }

    private mutating func forgetAll() {
        waiting = []
        waitingHead = 0
        waitingKeys = []
        underWay = [:]
    }
}
