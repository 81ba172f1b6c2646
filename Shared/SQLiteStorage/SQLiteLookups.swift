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

    // MARK: Upkeep

    public func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, limit: Int
    ) throws(StorageError) -> Bool {
        let isMisdatedLeft = try passMisdated(now: now, limit: limit)
        // Outside a transaction first: mostly there is nothing to do, and nothing is then written.
        let due = try database.first(
            """
            SELECT EXISTS(SELECT 1 FROM outbox WHERE sequence <= ?1) OR EXISTS(SELECT 1 FROM requests WHERE until < ?2)
                OR EXISTS(SELECT 1 FROM keys WHERE until < ?2)
                OR coalesce((SELECT time < ?3 FROM history WHERE sequence > ?4 ORDER BY sequence LIMIT 1), 0)
                OR EXISTS(SELECT 1 FROM dead_letters WHERE at < ?3)
            """, .integer(published), .integer(now.millisecondsSince1970),
            .integer(historyBefore.millisecondsSince1970), .integer(misdated.upTo)
        ) { $0.bool(0) }
        guard due == true else { return isMisdatedLeft }
        return try database.transaction { () throws(StorageError) in
            try database.run("DELETE FROM outbox WHERE sequence <= ?", .integer(published))
            let requests = try database.run(
                "DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests WHERE until < ? ORDER BY until LIMIT ?)",
                .integer(now.millisecondsSince1970), .integer(limit))
            let keys = try database.run(
                "DELETE FROM keys WHERE rowid IN (SELECT rowid FROM keys WHERE until < ? ORDER BY until LIMIT ?)",
                .integer(now.millisecondsSince1970), .integer(limit))
            // Sequences follow time closely enough: the oldest are looked at, and what came before an old one is as old,
            // whatever it is stamped. An unpublished event is kept.
            let events = try database.run(
                """
                DELETE FROM history WHERE sequence IN (SELECT sequence FROM history ORDER BY sequence LIMIT ?1)
                    AND sequence < coalesce((SELECT min(sequence) FROM outbox), ?3) AND (time < ?2 OR sequence <
                        (SELECT iif(time < ?2, sequence, 0) FROM history WHERE sequence > ?4 ORDER BY sequence LIMIT 1))
                """, .integer(limit), .integer(historyBefore.millisecondsSince1970), .integer(Int64.max),
                .integer(misdated.upTo))
            try database.run(
                "DELETE FROM dead_letters WHERE at < ?", .integer(historyBefore.millisecondsSince1970))
            return requests == limit || keys == limit || events == limit || isMisdatedLeft
        }
    }

    /// Passes over the oldest events that a wrong clock has stamped in the far future: else they would stand before all that
    /// came later, and nothing would be deleted until then. Looks at `limit` of them; whether there may be more.
    private func passMisdated(now: Timestamp, limit: Int) throws(StorageError) -> Bool {
        // Clocks differ by less than a day.
        let future = (now + .seconds(86_400)).millisecondsSince1970
        if misdated.earliest <= future { misdated = (0, Int64.max) }
        for _ in 0..<limit {
            let next = try database.first(
                "SELECT sequence, time FROM history WHERE sequence > ? ORDER BY sequence LIMIT 1",
                .integer(misdated.upTo)
            ) { ($0.integer(0), $0.integer(1)) }
            guard let (sequence, time) = next, time > future else { return false }
            misdated = (sequence, min(misdated.earliest, time))
        }
        return true
    }
}
