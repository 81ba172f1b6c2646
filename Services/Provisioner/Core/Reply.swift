public import API
internal import Model

/// Where an answer goes: the response topic of a request and its correlation data (MQTT 5 §4.10).
public struct ReplyAddress: Hashable, Sendable {
    public let topic: String
    public let correlation: [UInt8]?

    /// `nil` when there is no response topic, or one that does not lie below `prefix`: nothing is answered elsewhere.
    ///
    /// - Parameter prefix: ends with a slash.
    public init?(_ topic: String?, correlation: [UInt8]?, below prefix: String) {
        guard let topic, topic.hasPrefix(prefix) else { return nil }
        let rest = topic.utf8.dropFirst(prefix.utf8.count)
        guard !rest.isEmpty, topic.utf8.count <= ReplyAddress.lengthMax,
            rest.allSatisfy({ $0 >= 32 && $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#") && $0 != 127 })
        else { return nil }
        self.topic = topic
        self.correlation = correlation
    }

    public static let lengthMax = 1_024

    /// Who asks, as far as the topic tells: the first level below `R/replies/`, of a service its name without its instance, since
    /// whoever asked one may ask the other again. Idempotency keys are told apart by it.
    func asker(below prefix: String) -> String {
        String(topic.dropFirst(prefix.count).prefix { $0 != "/" })
    }

    /// Who asks for something of an agent: that agent itself, or else its gateway.
    func asker(for agent: AgentAddress, below prefix: String) -> String {
        topic.dropFirst(prefix.count).hasPrefix("\(agent)/") ? agent.description : agent.gateway
    }
}

/// An answer ready to be published.
public struct Reply: Hashable, Sendable {
    public let address: ReplyAddress
    public let payload: [UInt8]
    public let isProblem: Bool
    /// Whether it says that more is under way than is taken.
    let isTooMany: Bool

    public init(_ address: ReplyAddress, _ problem: Problem) {
        self.address = address
        payload = JSON.bytes(problem)
        isProblem = true
        isTooMany = problem.status == Problem.Kind.tooManyRequests.status
    }

    init(_ address: ReplyAddress, _ body: some Encodable) {
        self.address = address
        payload = JSON.bytes(body)
        isProblem = false
        isTooMany = false
    }

    public var contentType: String { isProblem ? Problem.contentType : jsonContentType }
}
