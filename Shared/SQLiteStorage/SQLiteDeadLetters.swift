internal import API
internal import Model
public import Storage
internal import Wire

extension SQLiteStatusDatabase {
    public func deadLetter(_ letter: DeadLetter) throws(StorageError) -> [EndedEpoch] {
        try database.transaction { () throws(StorageError) in
            let (frame, stream) = (letter.frame, letter.frame.stream)
            try database.run(
                "INSERT INTO dead_letters(at, stream, seq, frame, error) VALUES(?, ?, ?, ?, ?)",
                .integer(letter.at.millisecondsSince1970),
                .text("\(stream.instance)/\(stream.incarnation)/\(stream.stream)"), .integer(frame.seq),
                .blob(frame.defect?.payload ?? JSON.bytes(frame.frame)), .text(letter.error))
            try database.run(
                "DELETE FROM dead_letters WHERE number <= ?",
                .integer(database.lastInsertedKey - Int64(DeadLetter.keptMax)))
            return try endEpochs(of: frame)
        }
    }

    /// The next grant gets another epoch still: nobody ever owns a partition under this one.
    private func endEpochs(of frame: ReceivedFrame) throws(StorageError) -> [EndedEpoch] {
        let hasPlace = frame.defect?.hasPlace ?? true
        var ended: [EndedEpoch] = []
        try database.query(
            """
            UPDATE partitions SET epoch = epoch + 1, stream = '', applied_seq = 0
            WHERE instance = ?1 AND incarnation = ?2 AND (?3 IS NULL OR number = ?3 AND epoch = ?4)
            RETURNING number, epoch - 1
            """, .text(frame.stream.instance), .text(frame.stream.incarnation),
            hasPlace ? .integer(frame.frame.partition) : .null, .integer(frame.frame.epoch)
        ) { row in ended.append(EndedEpoch(partition: Int(row.integer(0)), epoch: Int(row.integer(1)))) }
        return ended.sorted { $0.partition < $1.partition }
    }

    public func deadLetters(limit: Int) throws(StorageError) -> (total: Int, kept: Int, newest: [StoredDeadLetter]) {
        let total = try database.first("SELECT seq FROM sqlite_sequence WHERE name = 'dead_letters'") { $0.integer(0) }
        let kept = try database.first("SELECT count(*) FROM dead_letters") { $0.integer(0) }
        var newest: [StoredDeadLetter] = []
        try database.query(
            "SELECT number, at, stream, seq, error FROM dead_letters ORDER BY number DESC LIMIT ?", .integer(limit)
        ) { row in
            newest.append(
                StoredDeadLetter(
                    number: Int(row.integer(0)), at: Timestamp(millisecondsSince1970: row.integer(1)),
                    stream: row.text(2), seq: Int(row.integer(3)), error: row.text(4)))
        }
        return (Int(total ?? 0), Int(kept ?? 0), newest)
    }
}
