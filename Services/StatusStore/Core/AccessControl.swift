internal import Lifecycle
public import Model
public import Wire

/// What the broker's access plugin is told: text, one change a line.
///
/// `begin`, `set USERNAME SHA256HEX` for everybody, `commit` replaces all it knows, in as many messages as it takes;
/// `set U HEX`, `overlap U HEX SECONDS` and `remove U` change one identity. In a table too: `set` with the oldest token of
/// an overlap, then an `overlap` with each after it.
public struct AccessControl: Sendable {
    /// The largest message, with room for its properties.
    public static let messageBytesMax = 900_000

    /// What the plugin tells of new tokens that were used; a line that makes no sense is left out.
    public static func used(_ payload: [UInt8]) -> [(username: String, digest: String)] {
        String(decoding: payload, as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            return words.count == 2 ? (String(words[0]), String(words[1])) : nil
        }
    }

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
        ///
        /// - Parameters:
        ///   - superseded: the digests before its own, oldest first, which count until the moment `until`.
        public mutating func add(
            username: String, digest: String, superseded: [String] = [], until: Timestamp? = nil, now: Timestamp
        ) -> [UInt8]? {
            var digests = [digest]
            var seconds: Int64 = 0
            if let until, until > now {
                digests = superseded + digests
                // A wall clock that was set back lengthens nothing.
                let left = (until.millisecondsSince1970 - now.millisecondsSince1970 + 999) / 1_000
                seconds = min(left, AgentMachine.tokenOverlap.milliseconds / 1_000)
            }
            var lines = Array("set \(username) \(digests[0])\n".utf8)
            for digest in digests.dropFirst() { lines += Array("overlap \(username) \(digest) \(seconds)\n".utf8) }
            guard message.count + lines.count > AccessControl.messageBytesMax else {
                message += lines
                return nil
            }
            defer { message = lines }
            return message
        }

        /// The last message.
        public func finish() -> [UInt8] {
            message + Array("commit\n".utf8)
        }
    }
}
