internal import Lifecycle
internal import Model
internal import Wire

/// What changes of agents without an event, written behind: the newest of each waits until it is due, and until there is room.
struct LastSeenBuffer: Sendable {
    static let interval = TimeSpan.seconds(2)
    /// Updates in one entry, and entries of them in one slice: writing a hundred thousand takes many.
    static let updatesMax = 500
    static let entriesMax = 20

    private var waiting: [Int] = []
    private(set) var due: Instant?

    mutating func note(_ index: Int, of agents: inout AgentTable, _ now: Instant) {
        guard agents[index]?.beginsLastSeenUpdate() == true else { return }
        waiting.append(index)
        if due == nil { due = now + LastSeenBuffer.interval }
    }

    /// A slice of what is due.
    mutating func flush(_ agents: inout AgentTable, _ turn: inout Turn) {
        guard let due, due <= turn.now else { return }
        let count = min(waiting.count, LastSeenBuffer.updatesMax * LastSeenBuffer.entriesMax)
        var seen = SeenAgents()
        var rejected: [LastSeenUpdate] = []
        for index in waiting.prefix(count) {
            guard let (address, at, rejection) = agents[index]?.endLastSeenUpdate() else { continue }
            if let rejection {
                rejected.append(LastSeenUpdate(agent: address, lastSeenAt: at, lastRejection: rejection))
            } else if let at {
                seen.agents.append(address.description)
                seen.at.append(at.millisecondsSince1970)
            }
            if seen.agents.count + rejected.count == LastSeenBuffer.updatesMax {
                LastSeenBuffer.commit(&seen, &rejected, &turn)
            }
        }
        LastSeenBuffer.commit(&seen, &rejected, &turn)
        waiting.removeFirst(count)
        // The rest is due, in the next slice.
        if waiting.isEmpty { self.due = nil }
    }

    private static func commit(_ seen: inout SeenAgents, _ rejected: inout [LastSeenUpdate], _ turn: inout Turn) {
        var entry = StoreEntry()
        if !seen.agents.isEmpty { entry.append(.seen(seen)) }
        if !rejected.isEmpty { entry.append(.lastSeen(rejected)) }
        if !entry.changes.isEmpty { turn.commit(entry) }
        (seen, rejected) = (SeenAgents(), [])
    }
}
