/// Who connects: an agent, a gateway, an operator or a service, as its MQTT username says.
///
/// Ids are 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or digit. Nothing else is a username, so that none can
/// hold a wildcard, a `$`, or a level more than its kind has: a username is safe to put into a topic.
public struct Username: Hashable, Sendable, CustomStringConvertible {
    /// What a username stands for.
    public enum Kind: Sendable {
        /// `op:NAME`
        case `operator`
        /// `svc:SERVICE/INSTANCE`
        case service
        /// `GATEWAY`
        case gateway
        /// `GATEWAY/AGENT`
        case agent
    }

    /// The longest username: two ids, what separates them and `svc:`.
    public static let bytesMax = 4 + 63 + 1 + 63

    public let kind: Kind
    public let bytes: [UInt8]

    /// A username of one of the four forms; `nil` for any other text.
    public init?(_ text: borrowing Span<UInt8>) {
        guard text.count <= Username.bytesMax, let kind = Username.kind(of: text) else { return nil }
        self.kind = kind
        bytes = text.copied()
    }

    /// A username of one of the four forms; `nil` for any other text.
    public init?(_ text: String) {
        self.init(Array(text.utf8).span)
    }

    public var description: String { String(decoding: bytes, as: UTF8.self) }

    /// Whether these bytes are this username.
    public func isWritten(as text: borrowing Span<UInt8>) -> Bool {
        bytes.span.holdsSame(as: text)
    }

    /// The SERVICE of `svc:SERVICE/INSTANCE`; `nil` for everybody else.
    public var service: String? {
        guard kind == .service else { return nil }
        return String(decoding: bytes.dropFirst(4).prefix { $0 != .slash }, as: UTF8.self)
    }

    /// The GATEWAY of `GATEWAY/AGENT`; `nil` for everybody else.
    var gateway: [UInt8]? {
        kind == .agent ? Array(bytes.prefix { $0 != .slash }) : nil
    }

    public static func == (left: Username, right: Username) -> Bool { left.bytes == right.bytes }

    public func hash(into hasher: inout Hasher) { hasher.combine(bytes) }

    private static func kind(of text: borrowing Span<UInt8>) -> Kind? {
        let colon = text.position(of: .colon)
        let start = colon < text.count ? colon + 1 : 0
        let slash = text.position(of: .slash, from: start)
        guard isIdentifier(text, from: start, to: slash) else { return nil }
        let hasTwoParts = slash < text.count
        if hasTwoParts, !isIdentifier(text, from: slash + 1, to: text.count) { return nil }
        if start == 0 { return hasTwoParts ? .agent : .gateway }
        if text.extracting(0..<start).holdsSame(as: operatorPrefix.span) { return hasTwoParts ? nil : .operator }
        if text.extracting(0..<start).holdsSame(as: servicePrefix.span) { return hasTwoParts ? .service : nil }
        return nil
    }

    private static let operatorPrefix = Array("op:".utf8)
    private static let servicePrefix = Array("svc:".utf8)

    private static func isIdentifier(_ text: borrowing Span<UInt8>, from start: Int, to end: Int) -> Bool {
        guard end > start, end - start <= 63, isAlphanumeric(text[start]) else { return false }
        for index in start..<end where !isAlphanumeric(text[index]) {
            switch text[index] {
            case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): continue
            default: return false
            }
        }
        return true
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }
}
