public import Contract

/// What the broker's access plugin is told: text, one change a line.
///
/// `begin`, `set USERNAME SHA256HEX` for everybody, `commit` replaces all it knows, in as many messages as it takes;
/// `set U HEX`, `overlap U HEX SECONDS` and `remove U` change one identity.
public struct AccessControl: Sendable {
    /// The largest message, with room for its properties.
    public static let messageBytesMax = 900_000

    public static func line(_ change: CredentialChange) -> String {
        switch change.change {
        case .set(let digest): "set \(change.username) \(digest)\n"
        case .overlap(let digest, let seconds): "overlap \(change.username) \(digest) \(seconds)\n"
        case .remove: "remove \(change.username)\n"
        }
    }

    /// Gathers the lines of a full table into messages.
    public struct Table: Sendable {
        private var message = Array("begin\n".utf8)

        public init() {}

        /// Adds an identity; a message that is full now.
        public mutating func add(username: String, digest: String) -> [UInt8]? {
            let line = Array("set \(username) \(digest)\n".utf8)
            guard message.count + line.count > AccessControl.messageBytesMax else {
                message += line
                return nil
            }
            defer { message = line }
            return message
        }

        /// The last message.
        public func finish() -> [UInt8] {
            message + Array("commit\n".utf8)
        }
    }
}
