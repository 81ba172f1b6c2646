internal import API

/// A question of control-api to the store: which events were committed behind a position. `nil`: only how far it is.
public struct EventQuestion: Codable, Sendable {
    public let after: Int64?
    /// The sink of alerts that asks: it is answered while no other process serves it, and `nil` is behind what it has delivered.
    public let sink: String?
    /// All up to here is delivered, and is kept as the sink's position.
    public let delivered: Int64?

    public init(after: Int64?, sink: String? = nil, delivered: Int64? = nil) {
        self.after = after
        self.sink = sink
        self.delivered = delivered
    }
}

/// The store's answer to an `EventQuestion`: events in the order in which they were committed.
///
/// As text, a line each, so that whoever passes them on need not read them: `OLDEST LAST MORE`, then
/// `SEQUENCE ADDRESS EVENT JSON` for each. JSON has no line ends of its own.
public struct EventPage: Sendable {
    /// About how large the events of a page are together; a single one may be larger.
    public static let bytesMax = 49_152
    /// Events in a page: the store reads as many at once.
    public static let countMax = 50

    public struct Entry: Sendable {
        public let sequence: Int64
        public let agent: String
        public let event: String
        /// In the form of `history`.
        public let document: [UInt8]

        public init(sequence: Int64, agent: String, event: String, document: [UInt8]) {
            self.sequence = sequence
            self.agent = agent
            self.event = event
            self.document = document
        }
    }

    /// The oldest event that is kept; the one that would come next when there is none.
    public let oldest: Int64
    /// The highest sequence that was ever given out.
    public let last: Int64
    /// Whether there are more behind these.
    public private(set) var hasMore = false
    public private(set) var entries: [Entry] = []

    /// - Parameter found: what lies behind the position; what is too much is left out.
    public init(oldest: Int64, last: Int64, _ found: [Entry]) {
        self.oldest = oldest
        self.last = last
        var count = 0
        for entry in found {
            count += entry.document.count + 64
            hasMore = !entries.isEmpty && (count > EventPage.bytesMax || entries.count == EventPage.countMax)
            guard !hasMore else { break }
            entries.append(entry)
        }
    }

    /// How far whoever has read this page is.
    public var position: Int64 { hasMore ? entries.last?.sequence ?? last : last }

    public var bytes: [UInt8] {
        var bytes = Array("\(oldest) \(last) \(hasMore ? 1 : 0)".utf8)
        for entry in entries {
            bytes += "\n\(entry.sequence) \(entry.agent) \(entry.event) ".utf8
            bytes += entry.document
        }
        return bytes
    }

    /// - Returns: `nil` for what is no page.
    public init?(_ bytes: [UInt8]) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        let head = (lines.first ?? []).split(separator: UInt8(ascii: " ")).compactMap {
            Int64(String(decoding: $0, as: UTF8.self))
        }
        guard head.count == 3 else { return nil }
        (oldest, last, hasMore) = (head[0], head[1], head[2] == 1)
        for line in lines.dropFirst() {
            let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 3)
            guard parts.count == 4, let sequence = Int64(String(decoding: parts[0], as: UTF8.self)) else { return nil }
            entries.append(
                Entry(
                    sequence: sequence, agent: String(decoding: parts[1], as: UTF8.self),
                    event: String(decoding: parts[2], as: UTF8.self), document: Array(parts[3])))
        }
    }
}
