public import API
public import Model
public import Storage
public import Wire

extension SQLiteStatusDatabase {
    public func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>? {
        try StoredAgent.record(of: agent, in: database).map { Carried(encoded: $0) }
    }

    public func records(
        _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int, scanning scanMax: Int
    ) throws(StorageError) -> (records: [StoredRecord], end: AgentAddress?) {
        if let statuses = filter.statuses, statuses.count > 1 {
            return try records(ofEach: statuses, filter, after: after, limit: limit, scanning: scanMax)
        }
        // An index leads to these; of what is left so many are looked at.
        var range = ["address > ?"]
        var values: [SQLiteValue] = [.text(after?.description ?? "")]
        if let gateway = filter.gateway {
            // All addresses of a gateway lie between GATEWAY/ and GATEWAY0, the byte behind the slash.
            range += ["address > ?", "address < ?"]
            values += [.text(gateway + "/"), .text(gateway + "0")]
        }
        if let status = filter.statuses?.first {
            range.append("status = ?")
            values.append(.text(status.rawValue))
        }
        values.append(.integer(min(scanMax, Int(Int32.max))))
        var conditions = ["1"]
        if let board = filter.board {
            conditions.append("board = ?")
            values.append(.text(board))
        }
        if let role = filter.role {
            conditions.append("role = ?")
            values.append(.text(role.rawValue))
        }
        if let isStale = filter.hasStaleTemplates {
            conditions.append("stale = ?")
            values.append(.integer(isStale ? 1 : 0))
        }
        // The last that is looked at comes in any case, without its record: from there the next slice goes on.
        var records: [StoredRecord] = []
        var (scanned, end) = (0, nil as AgentAddress?)
        try database.query(
            """
            WITH slice AS MATERIALIZED (
                SELECT rowid AS place, address FROM agents WHERE \(range.joined(separator: " AND ")) ORDER BY address LIMIT ?)
            SELECT slice.address, (SELECT count(*) FROM slice), (SELECT max(address) FROM slice), \(StoredAgent.recordColumns)
            FROM slice LEFT JOIN agents ON agents.rowid = slice.place AND \(conditions.joined(separator: " AND "))
            WHERE agents.rowid IS NOT NULL OR slice.address = (SELECT max(address) FROM slice)
            ORDER BY slice.address LIMIT ?
            """, values + [.integer(min(limit, Int(Int32.max) - 1) + 1)]
        ) { row throws(StorageError) in
            scanned = Int(row.integer(1))
            if records.count < limit, !row.isNull(3) {
                let agent = try address(row.text(0))
                records.append(
                    StoredRecord(agent: agent, record: Carried(encoded: StoredAgent.recordBytes(row, at: 3))))
            }
            end = try address(row.text(2))
        }
        if records.count == limit { return (records, records.last?.agent) }
        return (records, scanned < scanMax ? nil : end)
    }

    /// Each status by its own stretch of the index, as far as all were looked at.
    private func records(
        ofEach statuses: Set<AgentStatus>, _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int,
        scanning scanMax: Int
    ) throws(StorageError) -> (records: [StoredRecord], end: AgentAddress?) {
        let found = try statuses.map { status throws(StorageError) in
            var filter = filter
            filter.statuses = [status]
            return try records(filter, after: after, limit: limit, scanning: scanMax)
        }
        let end = found.compactMap(\.end).min()
        let all = found.flatMap(\.records).filter { record in end.map { record.agent <= $0 } ?? true }
        let page = Array(all.sorted { $0.agent < $1.agent }.prefix(limit))
        return (page, page.count == limit ? page.last?.agent : end)
    }

    public func history(
        of subject: Lookup.HistorySubject, since: Timestamp?, before: Int64?, limit: Int
    ) throws(StorageError) -> [StoredEvent] {
        var conditions = ["sequence < ?"]
        var values: [SQLiteValue] = [.integer(before ?? Int64.max)]
        switch subject {
        case .everybody: break
        case .gateway(let gateway):
            conditions.append("\(SQLiteSchema.historyGateway) = ?")
            values.append(.text(gateway))
        case .agent(let agent):
            conditions.append("agent = ?")
            values.append(.text(agent.description))
        }
        if let since {
            // Sequences follow time closely, but not strictly: from the first event that is late enough on each is looked at.
            guard let first = try first(since: since) else { return [] }
            conditions += ["sequence >= ?", "time >= ?"]
            values += [.integer(first), .integer(since.millisecondsSince1970)]
        }
        values.append(.integer(limit))
        var events: [StoredEvent] = []
        try database.query(
            """
            SELECT sequence, id, event, reason, time, source, record, agent FROM history
            WHERE \(conditions.joined(separator: " AND ")) ORDER BY sequence DESC LIMIT ?
            """, values
        ) { row in events.append(SQLiteStatusDatabase.event(row)) }
        return events
    }

    public func events(after sequence: Int64, limit: Int) throws(StorageError) -> [StoredEvent] {
        var events: [StoredEvent] = []
        try database.query(
            """
            SELECT sequence, id, event, reason, time, source, record, agent FROM history
            WHERE sequence > ? ORDER BY sequence LIMIT ?
            """, .integer(sequence), .integer(limit)
        ) { row in events.append(SQLiteStatusDatabase.event(row)) }
        return events
    }

    /// Below which no event is late enough; looked up once for all steps of a lookup, since later ones lie above it.
    private func first(since: Timestamp) throws(StorageError) -> Int64? {
        if let firstSince, firstSince.since == since { return firstSince.sequence }
        // The plus keeps SQLite from walking through the table instead of the index.
        let found = try database.first(
            "SELECT min(+sequence) FROM history WHERE time >= ?", .integer(since.millisecondsSince1970)
        ) { $0.optionalInteger(0) }
        firstSince = (found ?? nil).map { (since, $0) }
        return found ?? nil
    }

    /// The members of `HistoryEvent`, with the record as it is stored; of a gateway's event what was stored in its place.
    private static func event(_ row: borrowing SQLiteRow) -> StoredEvent {
        let time = Timestamp(millisecondsSince1970: row.integer(4))
        if row.text(7).hasSuffix("/"),
            let message = try? JSON.decode(GatewayLifecycleMessage.self, from: row.optionalBlob(6) ?? [])
        {
            let event = HistoryEvent(id: row.text(1), time: time, source: row.text(5), message)
            return StoredEvent(
                sequence: row.integer(0), agent: row.text(7), kind: row.text(2), event: Carried(event))
        }
        var bytes = Array("{\"event\":".utf8)
        bytes += JSON.bytes(row.text(2))
        bytes += Array(",\"id\":".utf8) + JSON.bytes(row.text(1))
        bytes += Array(",\"reason\":".utf8) + (row.optionalText(3).map { JSON.bytes($0) } ?? Array("null".utf8))
        bytes += Array(",\"record\":".utf8) + (row.optionalBlob(6) ?? Array("null".utf8))
        bytes += Array(",\"source\":".utf8) + JSON.bytes(row.text(5))
        bytes += Array(",\"subject\":\"\(row.text(7))\",\"time\":\"\(time)\"}".utf8)
        return StoredEvent(
            sequence: row.integer(0), agent: row.text(7), kind: row.text(2), event: Carried(encoded: bytes))
    }

    public func hasKnown(_ agent: AgentAddress) throws(StorageError) -> Bool {
        let address = SQLiteValue.text(agent.description)
        return try database.first(
            """
            SELECT EXISTS(SELECT 1 FROM agents WHERE address = ?1) OR EXISTS(SELECT 1 FROM tombstones WHERE address = ?1)
                OR EXISTS(SELECT 1 FROM history WHERE agent = ?1)
            """, address
        ) { $0.bool(0) } ?? false
    }

    public func hasGateway(_ gateway: String) throws(StorageError) -> Bool {
        try database.first("SELECT EXISTS(SELECT 1 FROM gateways WHERE gateway = ?)", .text(gateway)) { $0.bool(0) }
            ?? false
    }

    public func gateway(_ name: String) throws(StorageError) -> StoredGateway? {
        try gateways("gateway = ?", .text(name), limit: 1).first
    }

    public func gateways(after name: String?, limit: Int) throws(StorageError) -> [StoredGateway] {
        try gateways("gateway > ?", .text(name ?? ""), limit: limit)
    }

    private func gateways(
        _ condition: String, _ value: SQLiteValue, limit: Int
    ) throws(StorageError) -> [StoredGateway] {
        var found: [StoredGateway] = []
        var (name, state, counts) = ("", [UInt8](), [AgentStatus: Int]())
        func finish() {
            if !name.isEmpty {
                found.append(StoredGateway(gateway: name, state: Carried(encoded: state), counts: counts))
            }
        }
        try database.query(
            """
            SELECT page.gateway, page.state, status_counts.status, status_counts.agents
            FROM (SELECT gateway, state FROM gateways WHERE \(condition) ORDER BY gateway LIMIT ?) AS page
            LEFT JOIN status_counts ON status_counts.gateway = page.gateway ORDER BY page.gateway
            """, value, .integer(limit)
        ) { row throws(StorageError) in
            if row.text(0) != name {
                finish()
                (name, state, counts) = (row.text(0), row.blob(1), [:])
            }
            if !row.isNull(2), row.integer(3) > 0 { counts[try self.stored(row.text(2))] = Int(row.integer(3)) }
        }
        finish()
        return found
    }
}
