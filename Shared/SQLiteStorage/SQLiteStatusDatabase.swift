internal import CSQLite
internal import Glibc
public import Model
public import Storage

/// The embedded store: one SQLite file in WAL mode with `synchronous=FULL`, one connection, one thread.
///
/// A commit has been written to the disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous). The
/// file belongs to one process: a lock on `PATH-owner` keeps a second one out, while people may read with `sqlite3`.
public final class SQLiteStatusDatabase: StatusDatabase {
    public let partitionCount: Int
    public let identity: String
    let database: SQLiteDatabase
    /// No event below is stamped `since` or later (`history`).
    var firstSince: (since: Timestamp, sequence: Int64)?
    private let ownership: FileLock?

    /// Opens or makes the database at `path`, `:memory:` for one that ends with the process.
    ///
    /// - Parameters:
    ///   - partitions: how many a new database gets, and what an existing one must have; `nil` takes what is there.
    ///   - newIdentity: names a new database.
    ///   - waitingAtMost: how long another process may hold it, in milliseconds.
    public convenience init(
        path: String, partitions: Int?, newIdentity: String, waitingAtMost milliseconds: Int32 = 5_000
    ) throws(StorageError) {
        try self.init(
            path: path, partitions: partitions, newIdentity: newIdentity, waitingAtMost: milliseconds, layer: nil,
            checkpointPages: SQLiteStatusDatabase.checkpointPages)
    }

    /// - Parameters:
    ///   - layer: the virtual file system below it; `nil` for the system's.
    ///   - checkpointPages: how long the write-ahead log gets before it is copied into the file.
    ///   - synchronous: what a commit waits for; anything less than `FULL` loses commits with the power.
    package init(
        path: String, partitions: Int?, newIdentity: String, waitingAtMost milliseconds: Int32, layer: String?,
        checkpointPages: Int, synchronous: String = "FULL"
    ) throws(StorageError) {
        if path != ":memory:" { try DatabaseFiles.refuseIrregular(path) }
        ownership = path == ":memory:" ? nil : try FileLock(path: path + "-owner", waitingAtMost: milliseconds)
        database = try SQLiteDatabase(path: path, layer: layer)
        database.waitForLocks(atMost: milliseconds)
        try SQLiteStatusDatabase.migrate(database, checkpointPages, synchronous)
        (partitionCount, identity) = try SQLiteStatusDatabase.settings(database, partitions, newIdentity)
        // From here on a lock must not stall the thread: a commit that meets one is tried again later.
        database.waitForLocks(atMost: SQLiteStatusDatabase.busyLimit)
        // Another layer has files of its own.
        guard path != ":memory:", layer == nil else { return }
        let files = DatabaseFiles(path)
        database.check = { () throws(StorageError) in try files.check() }
    }

    private static let busyLimit: Int32 = 250
    /// 16 MiB in pages of the default size.
    private static let checkpointPages = 4_000

    private static func migrate(
        _ database: SQLiteDatabase, _ checkpointPages: Int, _ synchronous: String
    ) throws(StorageError) {
        // Reading the header shows a damaged or foreign file before anything is written to it.
        let version = try database.first("PRAGMA user_version") { $0.integer(0) } ?? 0
        let application = try database.first("PRAGMA application_id") { $0.integer(0) } ?? 0
        let tables = try database.first("SELECT count(*) FROM sqlite_schema") { $0.integer(0) } ?? 0
        guard application == SQLiteSchema.applicationID || (application == 0 && version == 0 && tables == 0) else {
            throw StorageError(.schema, message: "the file is the database of another program", operation: "open")
        }
        let known = Int64(SQLiteSchema.migrations.count)
        guard version <= known else {
            throw StorageError(
                .schema,
                message: "the database has schema version \(version), this program knows versions up to \(known)",
                operation: "open")
        }
        try database.execute("PRAGMA journal_mode = WAL", "switch to WAL")
        try database.execute(
            "PRAGMA synchronous = \(synchronous); PRAGMA wal_autocheckpoint = \(checkpointPages); PRAGMA cache_size = -65536",
            "configure")
        for (index, migration) in SQLiteSchema.migrations.enumerated().dropFirst(Int(version)) {
            try database.transaction { () throws(StorageError) in
                try database.execute(migration, "migrate to schema version \(index + 1)")
                try database.execute("PRAGMA user_version = \(index + 1)", "migrate to schema version \(index + 1)")
                try database.execute("PRAGMA application_id = \(SQLiteSchema.applicationID)", "mark the file")
            }
        }
        try check(database)
    }

    /// Reads a database through as long as that takes no time: damage in a larger one shows when it is met.
    private static func check(_ database: SQLiteDatabase) throws(StorageError) {
        let pages = try database.first("PRAGMA page_count") { $0.integer(0) } ?? 0
        guard pages <= checkedPagesMax else { return }
        let state = try database.first("PRAGMA quick_check(1)") { $0.text(0) }
        guard state == "ok" else {
            throw SQLiteDatabase.complaint(state ?? "it says nothing of itself")
        }
    }

    /// 64 MiB in pages of the default size.
    private static let checkedPagesMax = 16_384

    private static func settings(
        _ database: SQLiteDatabase, _ partitions: Int?, _ newIdentity: String
    ) throws(StorageError) -> (Int, String) {
        try database.transaction { () throws(StorageError) in
            func stored(_ key: String) throws(StorageError) -> String? {
                try database.first("SELECT value FROM meta WHERE key = ?", .text(key)) { $0.text(0) }
            }
            guard let text = try stored("partitions"), let count = Int(text), let identity = try stored("identity")
            else {
                let count = partitions ?? Partition.defaultCount
                try database.run("INSERT INTO meta VALUES('partitions', ?)", .text(String(count)))
                try database.run("INSERT INTO meta VALUES('identity', ?)", .text(newIdentity))
                return (count, newIdentity)
            }
            guard partitions == nil || partitions == count else {
                throw StorageError(
                    .configuration,
                    message:
                        "the database was made with \(count) partitions, which cannot be changed to \(partitions ?? 0)",
                    operation: "open")
            }
            return (count, identity)
        }
    }

    // MARK: Frames

    public func commit(
        _ frames: [ReceivedFrame], published: Int64, now: Timestamp
    ) throws(StorageError) -> CommitReport {
        do throws(StorageError) {
            return try commit(frames, published, now, isCareful: false)
        } catch  where error.kind.isOfContent && !frames.isEmpty {
            // Some frame cannot be applied: once more, each on its own, so that the others are.
            return try commit(frames, published, now, isCareful: true)
        }
    }

    private func commit(
        _ frames: [ReceivedFrame], _ published: Int64, _ now: Timestamp, isCareful: Bool
    ) throws(StorageError) -> CommitReport {
        try database.transaction { () throws(StorageError) in
            try database.run("DELETE FROM outbox WHERE sequence <= ?", .integer(published))
            let writer = SQLiteFrameWriter(database, partitionCount: partitionCount, now: now)
            let results = isCareful ? try writer.applyOneByOne(frames) : try writer.applyTogether(frames)
            try writer.finish()
            return CommitReport(results: results, orders: writer.orders, outbox: writer.outbox)
        }
    }

    // MARK: Ownership

    public func owners() throws(StorageError) -> [PartitionOwner] {
        var owners: [PartitionOwner] = []
        try database.query(
            "SELECT number, epoch, instance, incarnation, stream, applied_seq FROM partitions ORDER BY number"
        ) { row throws(StorageError) in
            owners.append(
                PartitionOwner(
                    partition: Int(row.integer(0)), epoch: Int(row.integer(1)), instance: row.text(2),
                    incarnation: row.text(3), stream: row.text(4), appliedSeq: Int(row.integer(5))))
        }
        return owners
    }

    public func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot {
        try database.transaction { () throws(StorageError) in
            let epoch = try database.first(
                """
                INSERT INTO partitions VALUES(?1, ?4 + 1, ?2, ?3, '', 0)
                ON CONFLICT(number) DO UPDATE
                SET epoch = max(epoch, ?4) + 1, instance = ?2, incarnation = ?3, stream = '', applied_seq = 0
                RETURNING epoch
                """, .integer(partition), .text(instance), .text(incarnation), .integer(known)
            ) { Int($0.integer(0)) }
            guard let epoch else {
                throw StorageError(.other, message: "no epoch was returned", operation: "grant")
            }
            return try snapshot(of: partition, epoch: epoch)
        }
    }
}

/// An advisory lock on a file of its own, held until `deinit` or the end of the process (flock(2)).
private final class FileLock {
    private let descriptor: Int32

    init(path: String, waitingAtMost milliseconds: Int32) throws(StorageError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StorageError(.cannotOpen, message: String(cString: strerror(errno)), operation: "open \(path)")
        }
        var waited: Int32 = 0
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard waited < milliseconds else {
                throw StorageError(
                    .busy, message: "another process holds the database", operation: "lock \(path)")
            }
            usleep(50_000)
            waited += 50
        }
    }

    deinit {
        close(descriptor)
    }
}
