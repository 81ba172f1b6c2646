/// A secret that was minted in case the command needs one. It stays in memory until the answer says that it is in force.
public struct CandidateToken: Hashable, Sendable {
    public let text: String
    public let digest: String
    public let id: String

    public init(text: String, digest: String, id: String) {
        self.text = text
        self.digest = digest
        self.id = id
    }
}

/// What a request needs of randomness; the core has none of its own.
public struct FreshSecrets: Hashable, Sendable {
    /// Names the request when no idempotency key does.
    public let requestID: String
    public let token: CandidateToken

    public init(requestID: String, token: CandidateToken) {
        self.requestID = requestID
        self.token = token
    }
}

/// A command as it came.
public struct CommandArrival: Hashable, Sendable {
    /// The last level of the topic.
    public let verb: String
    public let payload: [UInt8]
    /// `nil`: it is done, unanswered.
    public let reply: ReplyAddress?
    public let idempotencyKey: String?
    public let traceparent: String?
    public let fresh: FreshSecrets

    public init(
        verb: String, payload: [UInt8], reply: ReplyAddress?, idempotencyKey: String?, traceparent: String?,
        fresh: FreshSecrets
    ) {
        self.verb = verb
        self.payload = payload
        self.reply = reply
        self.idempotencyKey = idempotencyKey
        self.traceparent = traceparent
        self.fresh = fresh
    }
}

/// W3C Trace Context §3.2: what does not have its form is not passed on.
public enum TraceParent {
    /// `text` when it is a traceparent.
    public static func valid(_ text: String?) -> String? {
        guard let text else { return nil }
        let bytes = Array(text.utf8)
        let dash = UInt8(ascii: "-")
        guard bytes.count == 55, bytes[2] == dash, bytes[35] == dash, bytes[52] == dash,
            bytes.filter({ $0 == dash }).count == 3, bytes.allSatisfy({ $0 == dash || isLowerHexadecimal($0) })
        else { return nil }
        return text
    }

    private static func isLowerHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}
