/// What may name a gateway, an agent or a board: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit.
public enum Identifier {
    public static let lengthMax = 63

    /// Whether `text` may name a gateway, an agent or a board.
    @inlinable
    public static func isValid(_ text: some StringProtocol) -> Bool {
        let bytes = text.utf8
        guard let first = bytes.first, bytes.count <= lengthMax, isLetterOrDigit(first) else { return false }
        return bytes.allSatisfy { isLetterOrDigit($0) || isMark($0) }
    }

    /// What an id may begin with.
    @inlinable
    public static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    /// What else may follow.
    @inlinable
    public static func isMark(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
    }

    /// The rule in words, for refusals.
    public static let rule = "1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit"
}

/// The full name of an agent, `GATEWAY/AGENT`.
public struct AgentAddress: Hashable, Sendable, CustomStringConvertible, Comparable {
    public let gateway: String
    public let agent: String

    /// An address from its two ids; `nil` when one is not a valid id.
    public init?(gateway: String, agent: String) {
        guard Identifier.isValid(gateway), Identifier.isValid(agent) else { return nil }
        self.gateway = gateway
        self.agent = agent
    }

    /// An address from `GATEWAY/AGENT`; `nil` for anything else.
    public init?(_ text: String) {
        guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
        self.init(gateway: String(text[..<slash]), agent: String(text[text.utf8.index(after: slash)...]))
    }

    public var description: String { "\(gateway)/\(agent)" }

    /// Bytewise order of the full address, the order of every listing.
    public static func < (left: AgentAddress, right: AgentAddress) -> Bool {
        left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
    }
}

extension AgentAddress: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let address = AgentAddress(text) else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription: "not an address GATEWAY/AGENT: each id is \(Identifier.rule)"))
        }
        self = address
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// The partition of a gateway and of all its agents: the unit of ownership.
public enum Partition {
    /// How many partitions a new system has.
    public static let defaultCount = 16
    public static let countMax = 1_024

    /// FNV-1a of 64 bits over the gateway id, modulo the partition count (draft-eastlake-fnv).
    public static func of(gateway: String, count: Int) -> Int {
        Int(fnv1a(gateway) % UInt64(count))
    }

    /// FNV-1a of 64 bits over the UTF-8 bytes of `text`.
    public static func fnv1a(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 {
            hash ^= UInt64(byte)
            hash = hash &* 0x100_0000_01b3
        }
        return hash
    }
}
