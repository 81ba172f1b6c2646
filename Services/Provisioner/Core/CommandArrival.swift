internal import API

/// A token that was minted in case the command needs one. It stays in memory until the answer says that it is in force.
struct CandidateToken: Hashable, Sendable {
    let text: String
    let digest: String
    /// A short public name: it tells two tokens apart and reveals neither.
    let id: String

    init(for username: String, secret: String, sha256: ([UInt8]) -> String) {
        text = TokenText(username: username, secret: secret).description
        digest = sha256(Array(text.utf8))
        id = String(digest.prefix(12))
    }
}

/// What a request needs of randomness; the core has none of its own.
public struct FreshSecrets: Hashable, Sendable {
    /// Names the request when no idempotency key does.
    public let requestID: String
    /// 256 random bits in base64url, for the token that may be minted.
    public let secret: String

    public init(requestID: String, secret: String) {
        self.requestID = requestID
        self.secret = secret
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
    /// The record must have one of these.
    public let revisions: [Int]?

    public init(
        verb: String, payload: [UInt8], reply: ReplyAddress?, idempotencyKey: String?, traceparent: String?,
        fresh: FreshSecrets, revisions: [Int]? = nil
    ) {
        self.verb = verb
        self.payload = payload
        self.reply = reply
        self.idempotencyKey = idempotencyKey
        self.traceparent = traceparent
        self.fresh = fresh
        self.revisions = revisions
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
