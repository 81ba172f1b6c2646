/// What one identity may publish, read and subscribe to: the table of the contract, compiled for its username.
///
/// Nothing is allowed that no line here allows. Filters are kept as bytes, compiled once for each connection, since
/// the broker asks for every message and again for every receiver.
public struct Rights: Sendable {
    private let kind: Username.Kind
    private let publish: [(filter: [UInt8], topic: TopicClass)]
    private let wills: [[UInt8]]
    private let read: [[UInt8]]
    /// `R/replies/{username}/`: answers to this identity, and to nobody else.
    private let ownReplies: [UInt8]
    private let wide: WideReading?
    private let repliesPrefix: Int

    /// Whether a name is that of a known agent; it keeps a gateway out of its agents' answers.
    public typealias AgentExists = (_ name: borrowing Span<UInt8>) -> Bool

    /// The rights of `username` below the topic root.
    public init(of username: Username, root: TopicRoot) {
        let table = RightsTable(of: username)
        let name = username.description
        func compile(_ filters: [String]) -> [[UInt8]] {
            filters.map { Array(($0.hasPrefix("$") ? $0 : root.text + "/" + $0).utf8) }
        }
        kind = username.kind
        publish = zip(compile(table.publish), table.publish).map { ($0, TopicClass(of: $1, by: username.kind)) }
        wills = compile(table.wills)
        read = compile(table.read)
        ownReplies = Array("\(root.text)/replies/\(name)/".utf8)
        repliesPrefix = root.text.utf8.count + "/replies/".utf8.count
        wide = table.readsWidely ? WideReading(root: root, username: name, withSystem: kind == .operator) : nil
    }

    /// Whether a message may be published on a topic.
    public func mayPublish(_ topic: borrowing Span<UInt8>) -> Bool {
        topicClass(of: topic) != nil
    }

    /// What a publication on a topic is metered by; `nil` when it is not allowed.
    func topicClass(of topic: borrowing Span<UInt8>) -> TopicClass? {
        for (filter, topicClass) in publish where TopicFilter.covers(filter.span, topic) { return topicClass }
        return nil
    }

    /// Whether a topic may carry this identity's Last Will, or a retained message it left.
    ///
    /// The broker shows a will's properties to nobody, so no will may ask for an answer: wills are for presence.
    public func mayLeave(_ topic: borrowing Span<UInt8>) -> Bool {
        covered(topic, by: wills)
    }

    /// Whether a message on a topic may be delivered to this identity.
    public func mayRead(_ topic: borrowing Span<UInt8>, agentExists: AgentExists) -> Bool {
        if topic.begins(with: ownReplies.span) {
            return isOwnReply(topic, agentExists)
        }
        return covered(topic, by: read) || (wide?.mayRead(topic) ?? false)
    }

    /// Whether a filter may be subscribed to: it must be covered by what may be read.
    ///
    /// Operators and the control-api may subscribe to wider filters that reach something readable; each delivery is then
    /// checked by ``mayRead(_:agentExists:)``. `$share/NAME/FILTER` is for services.
    public func maySubscribe(_ filter: borrowing Span<UInt8>, agentExists: AgentExists) -> Bool {
        let share = Rights.sharePrefix
        if filter.begins(with: share.span) {
            guard kind == .service else { return false }
            let nameEnd = filter.position(of: .slash, from: share.count)
            guard nameEnd > share.count, nameEnd + 1 < filter.count else { return false }
            return maySubscribePlain(filter.extracting((nameEnd + 1)...), agentExists)
        }
        return maySubscribePlain(filter, agentExists)
    }

    /// Whether a request may name this topic as the one for its answer.
    ///
    /// Services may name any; everybody else only topics below `R/replies/{own username}/`.
    public func mayAskForAnswer(on topic: borrowing Span<UInt8>, agentExists: AgentExists) -> Bool {
        if kind == .service { return true }
        guard topic.begins(with: ownReplies.span), topic.position(of: .plus) == topic.count,
            topic.position(of: .hash) == topic.count
        else { return false }
        return isOwnReply(topic, agentExists)
    }

    private static let sharePrefix = Array("$share/".utf8)

    private func maySubscribePlain(_ filter: borrowing Span<UInt8>, _ agentExists: AgentExists) -> Bool {
        if filter.begins(with: ownReplies.span) {
            return isOwnReply(filter, agentExists)
        }
        return covered(filter, by: read) || (wide?.maySubscribe(filter) ?? false)
    }

    /// `R/replies/GW/AGENT/…` is below `R/replies/GW/` too. It is the agent's as soon as that agent exists; every other
    /// topic below is the gateway's.
    private func isOwnReply(_ topic: borrowing Span<UInt8>, _ agentExists: AgentExists) -> Bool {
        guard topic.count > ownReplies.count else { return false }
        guard kind == .gateway else { return true }
        let levelEnd = topic.position(of: .slash, from: ownReplies.count)
        guard levelEnd < topic.count else { return true }
        return !agentExists(topic.extracting(repliesPrefix..<levelEnd))
    }

    private func covered(_ topic: borrowing Span<UInt8>, by filters: [[UInt8]]) -> Bool {
        for filter in filters where TopicFilter.covers(filter.span, topic) { return true }
        return false
    }
}

/// The right to read everything below the topic root but `internal` and the answers to others.
struct WideReading: Sendable {
    private let everything: [UInt8]
    private let replies: [UInt8]
    private let ownReplies: [UInt8]
    private let hidden: [UInt8]
    private let system: [UInt8]?

    init(root: TopicRoot, username: String, withSystem: Bool) {
        everything = Array("\(root.text)/#".utf8)
        replies = Array("\(root.text)/replies/#".utf8)
        ownReplies = Array("\(root.text)/replies/\(username)/#".utf8)
        hidden = Array("\(root.text)/internal/#".utf8)
        system = withSystem ? Array("$SYS/#".utf8) : nil
    }

    /// The answers to this identity itself are no business of this type.
    func mayRead(_ topic: borrowing Span<UInt8>) -> Bool {
        if let system, TopicFilter.covers(system.span, topic) { return true }
        return TopicFilter.covers(everything.span, topic) && !TopicFilter.covers(replies.span, topic)
            && !TopicFilter.covers(hidden.span, topic)
    }

    /// Whether a filter reaches anything readable.
    func maySubscribe(_ filter: borrowing Span<UInt8>) -> Bool {
        if filter.count > 0, filter[0] == UInt8(ascii: "$") {
            guard let system else { return false }
            return TopicFilter.covers(system.span, filter)
        }
        if TopicFilter.covers(hidden.span, filter) { return false }
        if TopicFilter.covers(replies.span, filter) { return TopicFilter.overlap(filter, ownReplies.span) }
        return TopicFilter.overlap(filter, everything.span)
    }
}
