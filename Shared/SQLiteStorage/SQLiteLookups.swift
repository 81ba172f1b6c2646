public import Contract
public import Lifecycle
public import Storage

extension SQLiteStatusDatabase {
    public func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>? {
        try StoredAgent.record(of: agent, in: database).map { Carried(encoded: $0) }
    }

    public func records(
        _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int
    ) throws(StorageError) -> [StoredRecord] {
        var conditions = ["address > ?"]
        var values: [SQLiteValue] = [.text(after?.description ?? "")]
        if let gateway = filter.gateway {
            // All addresses of a gateway lie between GATEWAY/ and GATEWAY0, the byte behind the slash.
            conditions += ["address > ?", "address < ?"]
            values += [.text(gateway + "/"), .text(gateway + "0")]
        }
        if let board = filter.board {
            conditions.append("board = ?")
            values.append(.text(board))
        }
        if let role = filter.role {
            conditions.append("role = ?")
            values.append(.text(role.rawValue))
        }
        if let status = filter.status {
            conditions.append("status = ?")
            values.append(.text(status.rawValue))
        }
        if let isStale = filter.hasStaleTemplates {
            conditions.append("stale = ?")
            values.append(.integer(isStale ? 1 : 0))
        }
        values.append(.integer(limit))
        var records: [StoredRecord] = []
        try database.query(
            """
            SELECT address, \(StoredAgent.recordColumns) FROM agents
            WHERE \(conditions.joined(separator: " AND ")) ORDER BY address LIMIT ?
            """, values
        ) { row throws(StorageError) in
            records.append(
                StoredRecord(
                    agent: try address(row.text(0)), record: Carried(encoded: StoredAgent.recordBytes(row, at: 1))))
        }
        return records
    }

    public func history(of agent: AgentAddress, before: Int64?, limit: Int) throws(StorageError) -> [StoredEvent] {
        var events: [StoredEvent] = []
        let subject = Array("\"\(agent)\"".utf8)
        try database.query(
            """
            SELECT sequence, id, event, reason, time, source, record FROM history
            WHERE agent = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?
            """, .text(agent.description), .integer(before ?? Int64.max), .integer(limit)
        ) { row in
            // The members of `HistoryEvent`, with the record as it is stored.
            let time = Timestamp(millisecondsSince1970: row.integer(4))
            var bytes = Array("{\"event\":".utf8)
            bytes += JSON.bytes(row.text(2))
            bytes += Array(",\"id\":".utf8) + JSON.bytes(row.text(1))
            bytes += Array(",\"reason\":".utf8) + (row.optionalText(3).map { JSON.bytes($0) } ?? Array("null".utf8))
            bytes += Array(",\"record\":".utf8) + (row.optionalBlob(6) ?? Array("null".utf8))
            bytes += Array(",\"source\":".utf8) + JSON.bytes(row.text(5))
            bytes += Array(",\"subject\":".utf8) + subject
            bytes += Array(",\"time\":\"\(time)\"}".utf8)
            events.append(StoredEvent(sequence: row.integer(0), event: Carried(encoded: bytes)))
        }
        return events
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

    public func counts(gateway: String?) throws(StorageError) -> [StatusCount] {
        var counts: [StatusCount] = []
        let read: (borrowing SQLiteRow) throws(StorageError) -> Void = { row throws(StorageError) in
            counts.append(
                StatusCount(gateway: row.text(0), status: try self.stored(row.text(1)), count: Int(row.integer(2))))
        }
        guard let gateway else {
            try database.query(
                "SELECT gateway, status, count(*) FROM agents GROUP BY gateway, status ORDER BY gateway, status",
                body: read)
            return counts
        }
        try database.query(
            """
            SELECT gateway, status, count(*) FROM agents WHERE partition = ? AND gateway = ?
            GROUP BY gateway, status ORDER BY gateway, status
            """, .integer(Partition.of(gateway: gateway, count: partitionCount)), .text(gateway), body: read)
        return counts
    }

    public func gatewayNames() throws(StorageError) -> [String] {
        var names: [String] = []
        try database.query("SELECT gateway FROM gateways ORDER BY gateway") { row in names.append(row.text(0)) }
        return names
    }

    public func gateways() throws(StorageError) -> [StoredGateway] {
        var gateways: [StoredGateway] = []
        try database.query(
            """
            SELECT state, (SELECT count(*) FROM agents
                WHERE agents.partition = gateways.partition AND agents.gateway = gateways.gateway)
            FROM gateways ORDER BY gateway
            """
        ) { row throws(StorageError) in
            gateways.append(
                StoredGateway(
                    state: try Carried(encoded: row.blob(0)).decoded(), agents: Int(row.integer(1))))
        }
        return gateways
    }
}
