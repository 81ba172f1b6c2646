// What crosses the bus between services. It is ours alone and may change with any version: all services of one system
// run the same version, which `config_digest` shows.

/// Identifies one gapless stream of frames: who sends, in which incarnation, and which of its streams.
public struct StreamID: Codable, Hashable, Sendable {
    public let service: String
    public let instance: String
    public let incarnation: String
    public let stream: String

    public init(service: String, instance: String, incarnation: String, stream: String) {
        self.service = service
        self.instance = instance
        self.incarnation = incarnation
        self.stream = stream
    }
}

extension StreamID: Comparable {
    public static func < (one: StreamID, other: StreamID) -> Bool {
        (one.service, one.instance, one.incarnation, one.stream)
            < (other.service, other.instance, other.incarnation, other.stream)
    }
}

/// One message of a stream, or, without a body, the advertisement of what its sender keeps.
public struct StreamFrame<Body: Codable & Sendable>: Codable, Sendable {
    public let id: StreamID
    /// Grows by one with each frame; of an advertisement, the highest that was sent.
    public let seq: Int
    /// The low-water mark: the lowest seq that the sender still keeps.
    public let lowWaterMark: Int
    /// How long the frame was kept before this sending, in milliseconds: ages inside the body grow by it.
    public let age: Int64
    public let body: Body?

    public init(id: StreamID, seq: Int, lowWaterMark: Int, age: Int64, body: Body?) {
        self.id = id
        self.seq = seq
        self.lowWaterMark = lowWaterMark
        self.age = age
        self.body = body
    }
}

/// A body of which only the kind is read: its one member.
public struct UnreadBody: Codable, Sendable {
    public let kind: String?

    public init(kind: String?) {
        self.kind = kind
    }

    public init(from decoder: any Decoder) throws {
        kind = try decoder.container(keyedBy: Member.self).allKeys.first?.stringValue
    }

    public func encode(to encoder: any Encoder) throws {
        var members = encoder.container(keyedBy: Member.self)
        if let kind { try members.encode([String: Int](), forKey: Member(stringValue: kind)) }
    }

    private struct Member: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

/// What the receiver of a stream tells its sender.
public struct StreamAcknowledgement: Codable, Hashable, Sendable {
    public let id: StreamID
    /// Everything up to this seq is committed; the sender may forget it.
    public let upTo: Int
    /// Send again from this seq on; absent when nothing is missing.
    public let resendFrom: Int?

    public init(id: StreamID, upTo: Int, resendFrom: Int?) {
        self.id = id
        self.upTo = upTo
        self.resendFrom = resendFrom
    }
}
