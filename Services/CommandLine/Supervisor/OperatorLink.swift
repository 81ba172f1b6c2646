public import API
public import Bus
public import Model

/// A connection as operator: sends commands, hears the services' presence.
public final class OperatorLink: ConnectionDelegate {
    /// Why a command has no result.
    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// The system refuses it.
        case refused(Problem)
        /// Its fate is unknown: no answer came in time, or the connection was lost.
        case unanswered

        /// Whether it is worth asking again: nobody has refused it.
        public var isTransient: Bool {
            switch self {
            case .refused(let problem): problem.type == .unavailable
            case .unanswered: true
            }
        }

        public var description: String {
            switch self {
            case .refused(let problem): "\(problem.type.rawValue): \(problem.detail)"
            case .unanswered: "no answer"
            }
        }
    }

    public typealias Completion = (Result<JSONValue, Failure>) -> Void

    /// How long an answer may take, unless it is said.
    public static let answerLimit = TimeSpan.seconds(5)

    /// Called for each presence that arrives.
    public var heard: (Presence) -> Void = { _ in }
    /// Called whenever commands can be sent: after each (re)connection, once replies are subscribed.
    public var opened: () -> Void = {}

    private let topics: Topics
    private let username: String
    private let loop: EventLoop
    private var connection: Connection?
    private var pending: [UInt64: (timer: Int, completion: Completion)] = [:]
    private var nextRequest: UInt64 = 0
    private(set) var isOpen = false

    public init(_ broker: BrokerAddress, topics: Topics, loop: EventLoop) {
        self.topics = topics
        self.loop = loop
        username = broker.username ?? ""
        connection = Connection(
            ConnectionOptions(broker: broker, clientID: "\(username)~up"), loop: loop, delegate: self)
    }

    public func close() {
        connection?.close(within: .seconds(1))
        connection = nil
        isOpen = false
        abandonAll()
    }

    /// Sends a command; `completion` is called once, with the answer, the refusal, or `unanswered`.
    ///
    /// - Parameter key: its idempotency key.
    public func request(
        _ verb: Verb, _ members: [String: JSONValue], key: String? = nil,
        within limit: TimeSpan = OperatorLink.answerLimit, _ completion: @escaping Completion
    ) {
        nextRequest += 1
        let number = nextRequest
        var publication = Publication(
            topic: topics.command(verb.rawValue), payload: JSON.bytes(JSONValue.object(members)))
        publication.contentType = "application/json"
        publication.responseTopic = replyTopic
        publication.correlationData = Array(String(number).utf8)
        if let key { publication.userProperties = [("idempotency-key", key)] }
        guard isOpen, let connection, (try? connection.publish(publication)) != nil else {  // lost just now
            return completion(.failure(.unanswered))
        }
        let timer = loop.after(limit) { [unowned self] in finish(number, .failure(.unanswered)) }
        pending[number] = (timer, completion)
    }

    // MARK: ConnectionDelegate

    public func connected(_ connection: Connection) {
        connection.subscribe([topics.allPresence, replyTopic])
    }

    public func subscribed(refused: [String], on connection: Connection) {
        guard refused.isEmpty else { return connection.abandon(reason: "the broker refused \(refused)") }
        isOpen = true
        opened()
    }

    public func received(_ delivery: Delivery, on connection: Connection) {
        if delivery.topic == replyTopic { return answered(delivery) }
        // A service that ended may clear its presence: an empty message.
        guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
        heard(presence)
    }

    public func disconnected(_ error: BusError, on connection: Connection) {
        isOpen = false
        abandonAll()
    }

    // MARK: Inside

    private var replyTopic: String { topics.replies(to: username) + "/up" }

    private func answered(_ delivery: Delivery) {
        guard let number = delivery.correlationData.flatMap({ UInt64(String(decoding: $0, as: UTF8.self)) }) else {
            return
        }
        do {
            if delivery.contentType == Problem.contentType {
                finish(number, .failure(.refused(try JSON.decode(Problem.self, from: delivery.payload))))
            } else {
                finish(number, .success(try JSON.decode(JSONValue.self, from: delivery.payload)))
            }
        } catch {
            finish(number, .failure(.unanswered))
        }
    }

    private func finish(_ number: UInt64, _ result: Result<JSONValue, Failure>) {
        guard let (timer, completion) = pending.removeValue(forKey: number) else { return }
        loop.cancel(timer)
        completion(result)
    }

    private func abandonAll() {
        for number in pending.keys.sorted() { finish(number, .failure(.unanswered)) }
    }
}
