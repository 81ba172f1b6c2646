public import Model

/// When each outstanding wake order is published, and published again until it is settled.
///
/// Every agent has at most one. The orders themselves lie in the database; here is only who waits, oldest first.
public struct OrderBook: Sendable {
    /// An order that was published and is not settled after this is published again: it has expired on its way.
    public static let againAfter = TimeSpan.seconds(6)
    /// Published and neither settled nor expired: more would only wait at the provisioners.
    public static let underWayMax = 2_000

    private struct Entry: Sendable {
        var position: Int64
        var publishedAt: Instant?
    }

    private struct Place: Sendable {
        let agent: AgentAddress
        let position: Int64
        /// Of one under way: when it was published.
        var at: Instant?
    }

    private var entries: [AgentAddress: Entry] = [:]
    /// In order; an element whose entry has changed meanwhile is skipped.
    private var waiting = Queue<Place>()
    private var underWay = Queue<Place>()
    private var underWayCount = 0

    public init() {}

    public var count: Int { entries.count }

    /// An order was committed; it replaces the agent's order before.
    public mutating func issued(_ agent: AgentAddress, position: Int64) {
        settled(agent)
        entries[agent] = Entry(position: position)
        waiting.append(Place(agent: agent, position: position))
    }

    /// The agent has no order any more.
    public mutating func settled(_ agent: AgentAddress) {
        guard let entry = entries.removeValue(forKey: agent) else { return }
        if entry.publishedAt != nil { underWayCount -= 1 }
    }

    /// Whatever was published may be lost: everything outstanding is to be published again, oldest first.
    public mutating func publishAllAgain() {
        let all = entries.map { Place(agent: $0.key, position: $0.value.position) }.sorted { $0.position < $1.position }
        waiting = Queue(all)
        underWay = Queue()
        underWayCount = 0
        for agent in entries.keys { entries[agent]?.publishedAt = nil }
    }

    /// The agents whose order is to be published now.
    public mutating func take(now: Instant) -> [AgentAddress] {
        expire(now)
        var agents: [AgentAddress] = []
        while underWayCount < OrderBook.underWayMax, let place = waiting.popFirst() {
            guard let entry = entries[place.agent], entry.position == place.position, entry.publishedAt == nil else {
                continue
            }
            entries[place.agent]?.publishedAt = now
            underWay.append(Place(agent: place.agent, position: place.position, at: now))
            underWayCount += 1
            agents.append(place.agent)
        }
        return agents
    }

    /// What was published too long ago waits once more.
    private mutating func expire(_ now: Instant) {
        while let place = underWay.first, let at = place.at,
            now.milliseconds(since: at) >= OrderBook.againAfter.milliseconds
        {
            _ = underWay.popFirst()
            guard let entry = entries[place.agent], entry.position == place.position, entry.publishedAt == at else {
                continue
            }
            entries[place.agent]?.publishedAt = nil
            underWayCount -= 1
            waiting.append(Place(agent: place.agent, position: place.position))
        }
    }
}
