public import Model
public import Storage

extension SQLiteStatusDatabase {
    /// Two numbers in `meta`: milliseconds of the kept time and of the wall clock.
    private static let keptKey = "kept"
    static let historyBytesKey = "history_bytes"

    public func retentionTime() throws(StorageError) -> RetentionTime? {
        let text = try database.first("SELECT value FROM meta WHERE key = ?", .text(SQLiteStatusDatabase.keptKey)) {
            $0.text(0)
        }
        let times = (text ?? "").split(separator: " ").compactMap { Int64($0) }
        guard times.count == 2 else { return nil }
        return RetentionTime(
            kept: Timestamp(millisecondsSince1970: times[0]), wall: Timestamp(millisecondsSince1970: times[1]))
    }

    public func note(_ time: RetentionTime) throws(StorageError) {
        let last = try lastSequence()
        let kept = time.kept.millisecondsSince1970
        try database.transaction { () throws(StorageError) in
            try database.run(
                "INSERT OR REPLACE INTO meta VALUES(?, ?)", .text(SQLiteStatusDatabase.keptKey),
                .text("\(kept) \(time.wall.millisecondsSince1970)"))
            // An older mark of the same event stands: it has not become younger.
            try database.run(
                """
                INSERT OR IGNORE INTO history_marks
                SELECT ?1, ?2 WHERE NOT EXISTS(SELECT 1 FROM history_marks WHERE at > ?3)
                """, .integer(last), .integer(kept), .integer(kept - HistoryUpkeep.markEvery.milliseconds))
        }
    }

    private static func alertKey(_ sink: String) -> SQLiteValue { .text("alerts/\(sink)") }

    public func alertPosition(of sink: String) throws(StorageError) -> Int64? {
        try database.first(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", SQLiteStatusDatabase.alertKey(sink)
        ) { $0.integer(0) }
    }

    public func note(alertPosition position: Int64, of sink: String) throws(StorageError) {
        try database.run(
            "INSERT OR REPLACE INTO meta VALUES(?, ?)", SQLiteStatusDatabase.alertKey(sink), .text(String(position)))
    }

    public func historyBytes() throws(StorageError) -> Int64 {
        try database.first(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", .text(SQLiteStatusDatabase.historyBytesKey)
        ) { $0.integer(0) } ?? 0
    }

    public func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, historyBytesMax: Int64, limit: Int
    ) throws(StorageError) -> Bool {
        try database.check()
        let old = try database.first(
            "SELECT max(sequence) FROM history_marks WHERE at < ?", .integer(historyBefore.millisecondsSince1970)
        ) { $0.integer(0) }
        // Everything is over when there is too much: the oldest goes first.
        let last = try historyBytes() > historyBytesMax ? Int64.max : old ?? 0
        // Outside a transaction first: mostly there is nothing to do, and nothing is then written.
        let due = try database.first(
            """
            SELECT EXISTS(SELECT 1 FROM outbox WHERE sequence <= ?1) OR EXISTS(SELECT 1 FROM requests WHERE until < ?2)
                OR EXISTS(SELECT 1 FROM keys WHERE until < ?2)
                OR coalesce((SELECT min(sequence) FROM history) <= ?3, 0)
            """, .integer(published), .integer(now.millisecondsSince1970), .integer(last)
        ) { $0.bool(0) }
        guard due == true else { return false }
        return try database.transaction { () throws(StorageError) in
            try database.run("DELETE FROM outbox WHERE sequence <= ?", .integer(published))
            let requests = try database.run(
                "DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests WHERE until < ? ORDER BY until LIMIT ?)",
                .integer(now.millisecondsSince1970), .integer(limit))
            let keys = try database.run(
                "DELETE FROM keys WHERE rowid IN (SELECT rowid FROM keys WHERE until < ? ORDER BY until LIMIT ?)",
                .integer(now.millisecondsSince1970), .integer(limit))
            let events = try deleteHistory(upTo: last, limit: limit)
            return requests == limit || keys == limit || events == limit
        }
    }

    /// An unpublished event is kept.
    private func deleteHistory(upTo last: Int64, limit: Int) throws(StorageError) -> Int {
        var (count, bytes) = (0, Int64(0))
        try database.query(
            """
            DELETE FROM history WHERE sequence IN (SELECT sequence FROM history ORDER BY sequence LIMIT ?1)
                AND sequence <= ?2 AND sequence < coalesce((SELECT min(sequence) FROM outbox), ?3)
            RETURNING length(record)
            """, .integer(limit), .integer(last), .integer(Int64.max)
        ) { row in
            count += 1
            bytes += row.integer(0) + HistoryUpkeep.rowBytes
        }
        guard count > 0 else { return 0 }
        try SQLiteStatusDatabase.addToHistory(-bytes, in: database)
        // Of what is gone one mark is enough.
        try database.run(
            "DELETE FROM history_marks WHERE sequence < (SELECT max(sequence) FROM history_marks WHERE sequence < (SELECT min(sequence) FROM history))"
        )
        return count
    }

    static func addToHistory(_ bytes: Int64, in database: SQLiteDatabase) throws(StorageError) {
        try database.run(
            "UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key = ?", .integer(bytes),
            .text(SQLiteStatusDatabase.historyBytesKey))
    }
}
