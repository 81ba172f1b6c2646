internal import API
public import Lifecycle
internal import Model
public import Storage
public import Wire

/// Reads rows of `agents`: what was written behind lies beside the state and is put into it here.
enum StoredAgent {
    /// The columns that `recordBytes` reads.
    static let recordColumns = "substr(state, record_start + 1, record_length), \(lastSeenColumns)"
    /// What is newer than the state of the row of `agents`.
    static let lastSeenColumns = """
        (SELECT seen_at FROM sightings WHERE sightings.address = agents.address),
        (SELECT rejection FROM sightings WHERE sightings.address = agents.address)
        """

    /// The record of an agent, up to date; `nil` when there is no such agent.
    static func record(of agent: AgentAddress, in database: SQLiteDatabase) throws(StorageError) -> [UInt8]? {
        try database.first(
            "SELECT \(recordColumns) FROM agents WHERE address = ?", .text(agent.description)
        ) { row in recordBytes(row, at: 0) }
    }

    /// The record in the columns from `column` on.
    static func recordBytes(_ row: borrowing SQLiteRow, at column: Int32) -> [UInt8] {
        overlay(row.blob(column), row.optionalInteger(column + 1), row.optionalBlob(column + 2))
    }

    /// The state, from the columns `state, record_start, record_length` and `lastSeenColumns`.
    static func stateBytes(_ row: borrowing SQLiteRow) -> [UInt8] {
        var state = row.blob(0)
        let (seenAt, rejection) = (row.optionalInteger(3), row.optionalBlob(4))
        guard seenAt != nil || rejection != nil else { return state }
        let start = Int(row.integer(1))
        let range = start..<start + Int(row.integer(2))
        guard range.upperBound <= state.count else { return state }
        state.replaceSubrange(range, with: overlay(Array(state[range]), seenAt, rejection))
        return state
    }

    static func overlay(_ record: [UInt8], seenAt: Timestamp?, rejection: Rejection?) -> [UInt8] {
        overlay(record, seenAt?.millisecondsSince1970, rejection.map { JSON.bytes($0) })
    }

    /// The record with a later last-seen update in it.
    private static func overlay(_ record: [UInt8], _ seenAt: Int64?, _ rejection: [UInt8]?) -> [UInt8] {
        var record = record
        if let seenAt {
            let text = "\"\(Timestamp(millisecondsSince1970: seenAt))\""
            record = JSONSplice.replacing("last_seen_at", in: record, with: Array(text.utf8))
        }
        if let rejection { record = JSONSplice.replacing("last_rejection", in: record, with: rejection) }
        return record
    }

    static func revision(of record: [UInt8]) throws(StorageError) -> Int {
        guard let range = JSONSplice.valueRange(of: "revision", in: record),
            let revision = JSONSplice.integer(record[range])
        else { throw StorageError(.content, message: "a stored record without a revision", operation: "read a record") }
        return revision
    }
}

extension SQLiteStatusDatabase {
    func snapshot(of partition: Int, epoch: Int) throws(StorageError) -> PartitionSnapshot {
        var snapshot = PartitionSnapshot(partition: partition, epoch: epoch)
        let number = SQLiteValue.integer(partition)
        // Both lie in an index: no agent and no request is read here.
        try database.query("SELECT rowid FROM agents WHERE partition = ? ORDER BY rowid", number) { row in
            snapshot.agentPlaces.append(row.integer(0))
        }
        try database.query("SELECT rowid FROM requests WHERE partition = ? ORDER BY rowid", number) { row in
            snapshot.requestPlaces.append(row.integer(0))
        }
        try database.query(
            "SELECT address, generation, revision FROM tombstones WHERE partition = ?", number
        ) { row throws(StorageError) in
            snapshot.tombstones.append(
                Tombstone(
                    agent: try address(row.text(0)), generation: Int(row.integer(1)), revision: Int(row.integer(2))))
        }
        try database.query("SELECT state FROM gateways WHERE partition = ?", number) { row in
            snapshot.gateways.append(Carried(encoded: row.blob(0)))
        }
        try database.query("SELECT board, until FROM board_pauses WHERE partition = ?", number) { row in
            snapshot.boardPauses.append(
                BoardPause(
                    board: row.text(0), until: row.optionalInteger(1).map(Timestamp.init(millisecondsSince1970:))))
        }
        return snapshot
    }

    public func agents(
        of partition: Int, at places: ArraySlice<Int64>
    ) throws(StorageError) -> [Carried<AgentState>] {
        var agents: [Carried<AgentState>] = []
        for place in places {
            try database.query(
                """
                SELECT state, record_start, record_length, \(StoredAgent.lastSeenColumns) FROM agents
                WHERE rowid = ? AND partition = ?
                """, .integer(place), .integer(partition)
            ) { row in agents.append(Carried(encoded: StoredAgent.stateBytes(row))) }
        }
        return agents
    }

    public func requests(
        of partition: Int, at places: ArraySlice<Int64>
    ) throws(StorageError) -> [RememberedRequest] {
        var requests: [RememberedRequest] = []
        for place in places {
            try database.query(
                """
                SELECT id, digest, until, minted_for, undertaking FROM requests WHERE rowid = ? AND partition = ?
                """, .integer(place), .integer(partition)
            ) { row throws(StorageError) in
                var request = RememberedRequest(
                    id: row.text(0), digest: row.text(1), until: Timestamp(millisecondsSince1970: row.integer(2)),
                    mintedFor: row.optionalText(3))
                if let bytes = row.optionalBlob(4) {
                    request.intentRecord = try Carried<IntentRecord>(encoded: bytes).decoded()
                }
                requests.append(request)
            }
        }
        return requests
    }

    func address(_ text: String) throws(StorageError) -> AgentAddress {
        guard let address = AgentAddress(text) else {
            throw StorageError(
                .content, message: "'\(text.prefix(130))' is not an address", operation: "read an address")
        }
        return address
    }

    /// A stored name of one of our enumerations.
    func stored<Value: RawRepresentable>(_ text: String) throws(StorageError) -> Value where Value.RawValue == String {
        guard let value = Value(rawValue: text) else {
            throw StorageError(.content, message: "'\(text.prefix(40))' is no \(Value.self)", operation: "read a name")
        }
        return value
    }
}
