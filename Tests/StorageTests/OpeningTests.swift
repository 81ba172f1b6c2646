import Foundation
import Model
import Storage
import Testing
import Wire

@testable import SQLiteStorage

extension Place {
    /// A database as an older program left it: `user_version` says how many migrations it has seen.
    func makeDatabase(version: Int, _ filling: String) throws {
        let database = try SQLiteDatabase(path: path)
        for migration in SQLiteSchema.migrations.prefix(version) { try database.execute(migration, "make") }
        try database.execute(
            """
            PRAGMA user_version = \(version);
            PRAGMA application_id = \(SQLiteSchema.applicationID);
            INSERT INTO meta VALUES('partitions', '\(Partition.defaultCount)'), ('identity', 'old');
            \(filling)
            """, "fill")
    }
}

/// A file of SQLite, opened anew and by others.
@Suite struct OpeningTests {
    @Test func reopensWithAllThatWasCommitted() throws {
        let place = try Place()
        var identity = ""
        do {
            let database = try Implementation.sqlite.open(place, partitions: 16)
            identity = database.identity
            try database.grantToFirst()
            try database.commit(frame(1, change("gw/a", 1)))
        }
        let database = try Implementation.sqlite.open(place)
        #expect(database.identity == identity)
        #expect(database.partitionCount == 16)
        #expect(try database.commit(frame(1, change("gw/a", 1))).results == [.duplicate])
        #expect(try database.outboxWords() == ["changed gw/a 1 set"])
    }

    @Test func partitionCountIsFixedForGood() throws {
        let place = try Place()
        #expect(try Implementation.sqlite.open(place, partitions: 4).partitionCount == 4)
        #expect(try Implementation.sqlite.open(place).partitionCount == 4)
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place, partitions: 8) }
        #expect(error?.kind == .configuration)
    }

    @Test func aSecondProcessIsKeptOut() throws {
        let place = try Place()
        let database = try Implementation.sqlite.open(place)
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place) }
        #expect(error?.kind == .busy)
        #expect(try database.owners().isEmpty)
    }

    /// Commits would go on, into a file that is gone with the process.
    @Test(arguments: ["", "-wal"]) func aFileThatIsDeletedOrReplacedTakesNoCommit(_ suffix: String) throws {
        let place = try Place()
        let database = try Implementation.sqlite.open(place)
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1)))
        let (file, elsewhere) = (place.path + suffix, place.path + ".elsewhere")
        #expect(rename(file, elsewhere) == 0)
        func refuses(_ text: String) {
            let error = #expect(throws: StorageError.self) { try database.commit(frame(2, change("gw/a", 2))) }
            #expect(error?.kind == .replaced)
            #expect(error?.message.contains(text) == true)
        }
        refuses("was deleted")
        try FileManager.default.copyItem(atPath: elsewhere, toPath: file)
        refuses("is another file")
        // What was committed can be read all the while.
        #expect(try database.record(of: address("gw/a")) != nil)
        #expect(rename(elsewhere, file) == 0)
        #expect(try database.commit(frame(2, change("gw/a", 2))).results == [.applied])
    }

    @Test func whatIsNoRegularFileIsRefusedBeforeAnythingIsMade() throws {
        let place = try Place()
        let directory = place.path + ".d"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        #expect(mkfifo(directory + "/fifo", 0o600) == 0)
        for path in [directory, directory + "/fifo", "/dev/null"] {
            let error = #expect(throws: StorageError.self) {
                _ = try SQLiteStatusDatabase(path: path, partitions: nil, newIdentity: "x")
            }
            #expect(error?.kind == .configuration)
            #expect(access(path + "-owner", F_OK) != 0)
        }
    }

    @Test func aLockedFileIsBusy() throws {
        let place = try Place()
        _ = try Implementation.sqlite.open(place)
        let holder = try SQLiteDatabase(path: place.path)
        try holder.execute("BEGIN EXCLUSIVE", "hold")
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place) }
        #expect(error?.kind == .busy)
    }

    @Test func aLockDuringWorkIsTemporaryAndChangesNothing() throws {
        let place = try Place()
        let database = try Implementation.sqlite.open(place)
        try database.grantToFirst()
        let holder = try SQLiteDatabase(path: place.path)
        try holder.execute("BEGIN IMMEDIATE", "hold")
        let error = #expect(throws: StorageError.self) { try database.commit(frame(1, change("gw/a", 1))) }
        #expect(error?.kind == .busy)
        try holder.execute("ROLLBACK", "let go")
        #expect(try database.commit(frame(1, change("gw/a", 1))).results == [.applied])
    }

    @Test func aFullDiskIsTemporaryAndChangesNothing() throws {
        let place = try Place()
        let database = try SQLiteStatusDatabase(path: place.path, partitions: nil, newIdentity: "x")
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1)))
        var pages: Int64 = 0
        try database.database.query("PRAGMA page_count") { pages = $0.integer(0) }
        try database.database.execute("PRAGMA max_page_count = \(pages)", "limit")
        let many = (0..<50).map { change("gw/n\($0)", 1) }
        let next = ReceivedFrame(
            stream: stream(), seq: 2, frame: .init(partition: partition, epoch: 1, entries: many))
        let error = #expect(throws: StorageError.self) { try database.commit(next) }
        #expect(error?.kind == .full)
        #expect(try database.record(of: address("gw/n0")) == nil)
        try database.database.execute("PRAGMA max_page_count = 1000000", "free")
        #expect(try database.commit(next).results == [.applied])
    }

    @Test func aNewerSchemaIsRefused() throws {
        let place = try Place()
        _ = try Implementation.sqlite.open(place)
        try SQLiteDatabase(path: place.path).execute("PRAGMA user_version = 99", "age")
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place) }
        #expect(error?.kind == .schema)
        #expect(error?.message.contains("99") == true)
    }

    @Test(arguments: 1..<SQLiteSchema.migrations.count)
    func anOlderSchemaIsMigrated(_ version: Int) throws {
        let place = try Place()
        try place.makeDatabase(
            version: version,
            """
            INSERT INTO identities(username, digest) VALUES('gw/a', '\(digest("aa"))'), ('gw/b', '\(digest("bb"))');
            """)
        let database = try Implementation.sqlite.open(place)
        #expect(database.identity == "old")
        try database.grantToFirst()
        #expect(
            try database.commit(frame(1, credential("gw/b", .overlap(digest: digest("cc"), seconds: 60)))).results
                == [.applied])
        let identities = try database.identities(after: nil, limit: 10)
        #expect(identities.map(\.digest) == [digest("aa"), digest("cc")])
        #expect(
            identities.map(\.overlap)
                == [nil, Identity.Overlap(superseded: [digest("bb")], until: noon + .seconds(60))])
    }

    @Test func theFileOfAnotherProgramIsRefused() throws {
        let place = try Place()
        try SQLiteDatabase(path: place.path).execute("CREATE TABLE notes(text)", "make")
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place) }
        #expect(error?.kind == .schema)
    }

    @Test(arguments: [0, 2_000])
    func aDamagedFileIsReported(from position: Int) throws {
        let place = try Place()
        do {
            let database = try Implementation.sqlite.open(place)
            try database.grantToFirst()
            try database.commit(frame(1, change("gw/a", 1)))
        }
        var bytes = try Data(contentsOf: URL(fileURLWithPath: place.path))
        for index in position..<bytes.count { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ 7) }
        try bytes.write(to: URL(fileURLWithPath: place.path))
        let error = #expect(throws: StorageError.self) { _ = try Implementation.sqlite.open(place) }
        #expect(error?.kind == .corrupt)
    }

    /// What `PRAGMA quick_check` says when a read fails (SQLITE_IOERR_READ) and when a page is not what it should be.
    @Test(arguments: [
        ("Tree 9 page 111: unable to get the page. error code=266", StorageError.Kind.inputOutput),
        ("Tree 9 page 111: unable to get the page. error code=11", .corrupt),
        ("*** in database main ***\nrow 3 missing from index history_by_time", .corrupt),
    ])
    func aReadThatFailsIsNoDamage(complaint: String, kind: StorageError.Kind) {
        #expect(SQLiteDatabase.complaint(complaint).kind == kind)
    }

    @Test func aMissingDirectoryIsReported() throws {
        let error = #expect(throws: StorageError.self) {
            _ = try SQLiteStatusDatabase(path: "/nonexistent/status.db", partitions: nil, newIdentity: "x")
        }
        #expect(error?.kind == .cannotOpen)
    }
}
