public import API
public import Model

/// Who is to be told what became of a heartbeat: an incarnation of an instance of control-api, for a client that waits.
public struct HeartbeatAsker: Codable, Hashable, Sendable {
    public enum Wish: String, Codable, Sendable {
        case heartbeat
        /// Nothing is changed: whether the token counts, and the record.
        case probe
    }

    public let name: String
    /// Of the asker's choice.
    public let number: Int
    public let wish: Wish

    public init(name: String, number: Int, wish: Wish) {
        self.name = name
        self.number = number
        self.wish = wish
    }

    /// As the response topic and the correlation data of a heartbeat say it; `nil` when they do not.
    public init?(responseTopic: String, correlation: [UInt8], topics: Topics) {
        let prefix = topics.heartbeatAnswers(asker: "")
        let words = String(decoding: correlation, as: UTF8.self).split(separator: " ")
        guard responseTopic.hasPrefix(prefix), words.count == 2, let wish = Wish(rawValue: String(words[0])),
            let number = Int(words[1])
        else { return nil }
        self.init(name: String(responseTopic.dropFirst(prefix.count)), number: number, wish: wish)
    }

    /// The correlation data that says it.
    public var correlation: [UInt8] { Array("\(wish.rawValue) \(number)".utf8) }
}

/// What the owner of an agent has made of a heartbeat; all that it changed is committed.
public struct HeartbeatAnswer: Codable, Hashable, Sendable {
    public let asker: HeartbeatAsker
    /// `nil`: it was taken.
    public let rejected: RejectionReason?
    /// The member and what is wrong with it.
    public let detail: String?
    /// `nil`: there is no such agent.
    public let record: AgentRecord?

    public init(asker: HeartbeatAsker, rejected: RejectionReason?, detail: String?, record: AgentRecord?) {
        self.asker = asker
        self.rejected = rejected
        self.detail = detail
        self.record = record
    }
}
