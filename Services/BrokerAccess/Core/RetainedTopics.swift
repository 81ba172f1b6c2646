/// Where the broker keeps the newest message for who comes later: the contract's two `status` topics, presence, and what
/// services keep for each other. A retain flag on any other topic is taken as if it were not set.
struct RetainedTopics: Sendable {
    private let everything: [UInt8]
    private let kept: [[UInt8]]

    init(root: TopicRoot) {
        everything = Array("\(root.text)/#".utf8)
        kept = ["agents/+/+/status", "gateways/+/status", "services/+/+", "internal/#"].map {
            Array("\(root.text)/\($0)".utf8)
        }
    }

    /// Whether a message may stay on a topic. What lies elsewhere, as `$SYS`, is the broker's own business.
    func allow(_ topic: borrowing Span<UInt8>) -> Bool {
        guard TopicFilter.covers(everything.span, topic) else { return true }
        for filter in kept where TopicFilter.covers(filter.span, topic) { return true }
        return false
    }
}

/// Retained messages that must not stay: Last Wills, whose flag nobody can take away, and what was left before this plugin.
///
/// Each is removed by an empty retained message (MQTT 5 §3.3.1.3), which nobody may take for an empty heartbeat.
public struct Leftovers: Sendable {
    private var found: Set<[UInt8]> = []
    private var removed: Set<[UInt8]> = []

    public init() {}

    /// A topic on which a message is retained. Of each there is one entry, and topics are those of known identities.
    public mutating func found(_ topic: borrowing Span<UInt8>) {
        found.insert(topic.copied())
    }

    /// The topics to clear now.
    public mutating func take() -> Set<[UInt8]> {
        removed = found
        found = []
        return removed
    }

    /// Whether an empty retained message on a topic is what clears it: until the next `take`.
    public func isRemoval(on topic: borrowing Span<UInt8>) -> Bool {
        !removed.isEmpty && removed.contains(topic.copied())
    }
}
