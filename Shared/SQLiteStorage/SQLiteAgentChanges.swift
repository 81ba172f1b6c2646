internal import API
internal import Lifecycle
internal import Model
internal import Storage

/// What frames of one transaction make of agents: gathered and written in the order of the keys, several times faster than
/// in the order of arrival.
final class SQLiteAgentChanges {
    /// What is `nil` stays as it is.
    private struct Change {
        let partition: Int
        var state: StoredState?
        var tombstone: Tombstone?
        var seenAt: Timestamp?
        var rejection: Rejection?
        var changedAt: Int64 = 0
    }

    private let database: SQLiteDatabase
    private var changes: [AgentAddress: Change] = [:]

    init(_ database: SQLiteDatabase) {
        self.database = database
    }

    /// A new state: it is newer than what was noted before it.
    func set(_ state: StoredState, _ partition: Int) {
        let changedAt = changes[state.address]?.changedAt ?? 0
        changes[state.address] = Change(partition: partition, state: state, changedAt: changedAt)
    }

    func deadLetter(_ tombstone: Tombstone, _ partition: Int) {
        let changedAt = changes[tombstone.agent]?.changedAt ?? 0
        changes[tombstone.agent] = Change(partition: partition, tombstone: tombstone, changedAt: changedAt)
    }

    func note(_ agent: AgentAddress, seenAt: Timestamp?, rejection: Rejection?, _ partition: Int) {
        guard seenAt != nil || rejection != nil else { return }
        var change = changes[agent] ?? Change(partition: partition)
        change.seenAt = seenAt ?? change.seenAt
        change.rejection = rejection ?? change.rejection
        changes[agent] = change
    }

    /// Its newest message in the outbox.
    func changed(_ agent: AgentAddress, at sequence: Int64, _ partition: Int) {
        changes[agent, default: Change(partition: partition)].changedAt = sequence
    }

    /// The record of an agent as the frames so far leave it, with its revision; 0 for an unknown agent.
    func record(of agent: AgentAddress) throws(StorageError) -> (bytes: [UInt8]?, revision: Int) {
        let change = changes[agent]
        if change?.tombstone != nil { return (nil, change?.tombstone?.revision ?? 0) }
        if let state = change?.state {
            return (
                StoredAgent.overlay(state.record, seenAt: change?.seenAt, rejection: change?.rejection), state.revision
            )
        }
        guard let stored = try StoredAgent.record(of: agent, in: database) else { return (nil, 0) }
        let bytes = StoredAgent.overlay(stored, seenAt: change?.seenAt, rejection: change?.rejection)
        return (bytes, try StoredAgent.revision(of: bytes))
    }

    func forget() {
        changes.removeAll(keepingCapacity: true)
    }

    func write() throws(StorageError) {
        let sorted = changes.map { ($0.key.description, $0.value) }.sorted { $0.0 < $1.0 }
        forget()
        for (address, change) in sorted { try write(change, address) }
    }

    private func write(_ change: Change, _ address: String) throws(StorageError) {
        let seenAt = change.seenAt?.millisecondsSince1970
        let rejection = change.rejection.map { JSON.bytes($0) }
        if let tombstone = change.tombstone {
            try database.run("DELETE FROM agents WHERE address = ?", .text(address))
            try database.run("DELETE FROM sightings WHERE address = ?", .text(address))
            try database.run(
                "INSERT OR REPLACE INTO tombstones VALUES(?, ?, ?, ?, ?)", .text(address), .integer(change.partition),
                .integer(tombstone.generation), .integer(tombstone.revision), .integer(change.changedAt))
        } else if let state = change.state {
            try database.run(
                """
                INSERT INTO agents VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                ON CONFLICT(address) DO UPDATE SET
                    board = ?4, role = ?5, status = ?6, stale = ?7, changed_at_sequence = max(changed_at_sequence, ?8),
                    record_start = ?9, record_length = ?10, state = ?11
                """,
                .text(address), .integer(change.partition), .text(state.address.gateway), .text(state.board),
                .text(state.role.rawValue), .text(state.status.rawValue), .integer(state.hasStaleTemplates ? 1 : 0),
                .integer(change.changedAt), .integer(state.recordRange.lowerBound), .integer(state.recordRange.count),
                .blob(state.bytes))
            try database.run("DELETE FROM tombstones WHERE address = ?", .text(address))
            // The state is newer than what was noted before it.
            try database.run("DELETE FROM sightings WHERE address = ?", .text(address))
        }
        // Only the owner of an agent that is there sends its last-seen updates; a new state clears what lay here before it.
        guard change.tombstone == nil, seenAt != nil || rejection != nil else { return }
        try database.run(
            """
            INSERT INTO sightings VALUES(?1, ?2, ?3)
            ON CONFLICT(address) DO UPDATE SET
                seen_at = coalesce(excluded.seen_at, seen_at), rejection = coalesce(excluded.rejection, rejection)
            """,
            .text(address), .integer(seenAt), .blob(rejection))
    }
}

/// An agent's state as its owner encoded it, with what the tables need of it: the rest passes through as it came.
struct StoredState {
    let bytes: [UInt8]
    /// Where the record lies inside.
    let recordRange: Range<Int>
    let address: AgentAddress
    let board: String?
    let role: Role
    let status: AgentStatus
    let hasStaleTemplates: Bool
    let revision: Int

    var record: [UInt8] { Array(bytes[recordRange]) }

    init(_ bytes: [UInt8]) throws(StorageError) {
        guard let range = JSONSplice.valueRange(of: "record", in: bytes) else {
            throw StoredState.malformed("a state without a record")
        }
        self.bytes = bytes
        recordRange = range
        let values = JSONSplice.values(of: StoredState.members, in: bytes[range])
        func text(_ member: Int) throws(StorageError) -> String? {
            guard let value = values[member] else {
                throw StoredState.malformed("a record without '\(StoredState.members[member])'")
            }
            return JSONSplice.string(value)
        }
        guard let address = try text(0).flatMap({ AgentAddress($0) }),
            let role = try text(1).flatMap({ Role(rawValue: $0) }),
            let status = try text(2).flatMap({ AgentStatus(rawValue: $0) }),
            let revision = values[3].flatMap({ JSONSplice.integer($0) })
        else { throw StoredState.malformed("a record whose agent, role, status or revision is none") }
        (self.address, self.role, self.status, self.revision) = (address, role, status, revision)
        board = try text(4)
        hasStaleTemplates = AgentRecord.isStale(wanted: try text(5), reported: try text(6))
    }

    private static let members: [StaticString] = [
        "agent", "role", "status", "revision", "board_id", "templates_digest", "templates_digest_reported",
    ]

    /// Whose wake order these bytes are.
    static func address(inOrder bytes: [UInt8]) throws(StorageError) -> AgentAddress {
        guard let range = JSONSplice.valueRange(of: "agent", in: bytes),
            let agent = JSONSplice.string(bytes[range]).flatMap({ AgentAddress($0) })
        else { throw malformed("an order without an agent") }
        return agent
    }

    private static func malformed(_ what: String) -> StorageError {
        StorageError(.content, message: what, operation: "apply a frame")
    }
}
