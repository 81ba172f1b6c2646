internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// The answer to a request, and what it says.
struct Answer {
    let payload: [UInt8]
    let value: JSONValue
}

/// One operator's connection: asks, waits for the answer, follows topics.
///
/// It connects again after a loss, subscribes again and asks again with the same idempotency key.
final class OperatorSession: ConnectionDelegate {
    /// An unanswered request is sent again after this.
    static let repeatInterval = TimeSpan.seconds(5)
    /// And one that changes nothing after this; two in a row that nobody is there to take are enough,
    /// unless it was said how long to wait.
    static let lookupRepeatInterval = TimeSpan.seconds(2)

    let loop = EventLoop()
    let settings: OperatorSettings
    /// What arrives on followed topics.
    var received: (Delivery) -> Void = { _ in }
    /// Whether the connection is there, with all its subscriptions; tells each change.
    var availabilityChanged: (Bool, String) -> Void = { _, _ in }

    private var filters: [String]
    private let replyTopic: String
    private var connection: Connection?
    private var isReady = false
    private var hasBeenReady = false
    private var refusal: String?
    private var pending: Pending?
    private var requests = 0
    private var isHeard = false
    /// Of services that run, while it is asked for them.
    private var presences: [String: String]?

    private struct Pending {
        let publication: Publication
        let correlation: [UInt8]
        var answer: Delivery?
        var refusedReason: UInt8?
        var ticket: Int?
        /// Sendings in a row that nobody was there to take.
        var unheard = 0
    }

    /// - Parameter following: topic filters beside that of the answers.
    init(_ settings: OperatorSettings, following filters: [String] = []) {
        self.settings = settings
        replyTopic = settings.topics.replies(to: settings.username) + "/\(OperatorSettings.random())"
        self.filters = [replyTopic] + filters
    }

    /// - Throws: `unreachable` when the broker is not there in time, or refuses us.
    func connect() throws(CommandFailure) {
        signal(SIGPIPE, SIG_IGN)
        ConnectWatchdog.arm(settings.connectTimeout + .seconds(1))
        var options = ConnectionOptions(
            broker: settings.broker, clientID: "\(settings.username)~cli-\(OperatorSettings.random())")
        options.tls = settings.tls
        let connection = Connection(options, loop: loop, delegate: self)
        self.connection = connection
        _ = loop.run(until: { isReady || refusal != nil }, for: settings.connectTimeout)
        ConnectWatchdog.disarm()
        if let refusal { throw .unreachable(refusal) }
        guard isReady else {
            throw .unreachable(connection.lastError?.description ?? "the broker \(settings.broker) did not answer")
        }
    }

    func close() {
        connection?.close(within: TimeSpan(milliseconds: 500))
    }

    // MARK: Asking

    /// Asks and waits for the answer.
    ///
    /// - Throws: `refused` for a problem, also our own `unavailable` when no answer comes within the timeout.
    /// - Parameter isFollowed: what arrives on followed topics shows that it is being done: then it is waited for longer.
    func request(
        _ verb: Verb, _ members: [String: JSONValue], isFollowed: Bool = false
    ) throws(CommandFailure) -> Answer {
        let correlation = Array(OperatorSettings.random().utf8)
        var publication = Publication(
            topic: settings.topics.command(verb.rawValue), payload: JSON.bytes(JSONValue.object(members)))
        publication.contentType = jsonContentType
        publication.responseTopic = replyTopic
        publication.correlationData = correlation
        // Pages of one listing are requests of their own, each with its own key.
        requests += 1
        let key = settings.idempotencyKey + (requests > 1 ? "-\(requests)" : "")
        publication.userProperties = [("idempotency-key", key)]
        // Whoever takes it later answers nobody.
        let timeout = settings.timeout(of: verb)
        publication.expirySeconds = UInt32((timeout.milliseconds + 999) / 1_000)
        pending = Pending(publication: publication, correlation: correlation)
        defer { pending = nil }
        send()
        let timer = loop.every(
            verb.isLookup ? OperatorSession.lookupRepeatInterval : OperatorSession.repeatInterval
        ) { [unowned self] in send() }
        defer { loop.cancel(timer) }
        let ends = {
            self.pending?.answer != nil || self.pending?.refusedReason != nil
                || verb.isLookup && self.settings.timeout == nil && self.pending?.unheard ?? 0 >= 2
        }
        repeat {
            isHeard = false
            _ = loop.run(until: ends, for: timeout)
        } while isFollowed && isHeard && !ends()
        guard let answer = pending?.answer else { throw .refused(Refusal(unanswered(verb, within: timeout))) }
        if answer.contentType == Problem.contentType { throw .refused(Refusal(payload: answer.payload)) }
        do {
            return Answer(payload: answer.payload, value: try JSON.decode(JSONValue.self, from: answer.payload))
        } catch {
            throw .failed("the answer is not JSON: \(JSON.describe(error).detail)")
        }
    }

    private func unanswered(_ verb: Verb, within timeout: TimeSpan) -> Problem {
        if let reason = pending?.refusedReason {
            return reason == ReasonCode.notAuthorized
                ? Problem(.notAuthorized, "the broker does not let \(settings.username) ask for \(verb.rawValue)")
                : Problem(.unavailable, "the broker refused the request with reason code \(reason)")
        }
        let needed: [ServiceName] = verb.isLookup ? [.statusStore] : [.provisioner, .reconciler, .statusStore]
        var cause = (pending?.unheard ?? 0) > 0 ? "nobody takes requests" : "no answer within \(timeout.seconds) s"
        if let running = runningServices() {
            let missing = needed.map(\.rawValue).filter { !running.contains($0) }
            if !missing.isEmpty { cause += "; not running: \(missing.joined(separator: ", "))" }
        } else {
            cause += "; the broker is not connected"
        }
        return Problem(
            .unavailable, "\(cause); safe to ask again with --idempotency-key \(settings.idempotencyKey)")
    }

    /// The services that announce themselves; `nil` when the broker does not say.
    private func runningServices() -> Set<String>? {
        pending = nil
        guard isReady, let connection else { return nil }
        presences = [:]
        connection.subscribe([settings.topics.allPresence])
        // What is retained comes with the subscription.
        _ = loop.run(until: { presences == nil }, for: TimeSpan(milliseconds: 500))
        defer { presences = nil }
        return presences.map { Set($0.values) }
    }

    private func send() {
        guard isReady, let connection, let request = pending, request.answer == nil else { return }
        // Refused only while disconnected: the next session sends again.
        pending?.ticket = try? connection.publish(request.publication)
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        connection.subscribe(filters)
    }

    func subscribed(refused: [String], on connection: Connection) {
        if !refused.isEmpty {
            refusal = "the broker does not let \(settings.username) read \(refused.joined(separator: ", "))"
        }
        isReady = true
        if presences != nil { return }
        availabilityChanged(true, hasBeenReady ? "connected again" : "connected")
        hasBeenReady = true
        send()
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        presences = nil
        if isReady { availabilityChanged(false, error.description) }
        isReady = false
        if error.isRefusal, !hasBeenReady { refusal = "\(error) (as \(settings.username))" }
    }

    func published(_ ticket: Int, reason: UInt8, on connection: Connection) {
        guard pending?.ticket == ticket else { return }
        if reason >= ReasonCode.failure { pending?.refusedReason = reason }
        if reason == ReasonCode.noMatchingSubscribers { pending?.unheard += 1 } else { pending?.unheard = 0 }
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        if presences != nil, let presence = try? JSON.decode(Presence.self, from: delivery.payload) {
            // What does not decode is a cleared presence, or no presence.
            presences?[delivery.topic] = presence.state == .running ? presence.service : nil
        }
        guard delivery.topic == replyTopic else {
            isHeard = true
            return received(delivery)
        }
        guard pending?.answer == nil, delivery.correlationData == pending?.correlation else { return }
        pending?.answer = delivery
    }
}
