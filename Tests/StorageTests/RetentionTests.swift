import Model
import Storage
import Testing
import Wire

/// How long history is kept, and how much of it: by the order and the time of commits, never by what events are stamped.
@Suite struct RetentionTests {
    private func changes(
        _ database: any StatusDatabase, _ revisions: Range<Int>, at time: Timestamp
    ) throws {
        for revision in revisions {
            try database.commit(frame(revision, change("gw/a", revision, at: time)))
        }
    }

    private func left(_ database: any StatusDatabase) throws -> [Int64] {
        try database.history(of: address("gw/a"), before: nil, limit: 1_000).map(\.sequence)
    }

    private func tidy(_ database: any StatusDatabase, before: Timestamp, bytesMax: Int64 = .max) throws {
        let last = try database.lastSequence()
        for _ in 0..<100 {
            guard
                try database.tidy(
                    published: last, now: noon, historyBefore: before, historyBytesMax: bytesMax, limit: 3)
            else { return }
        }
        Issue.record("there is always more")
    }

    /// Ten years behind, four hundred days ahead: each was committed between the same two notes.
    @Test(arguments: Implementation.allCases, [Int64(-3_650), 0, 400, 3_650])
    func whatEventsAreStampedDecidesNothing(_ implementation: Implementation, _ days: Int64) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try changes(database, 1..<11, at: noon + .seconds(86_400 * days))
        try database.note(RetentionTime(kept: noon, wall: noon))
        try changes(database, 11..<16, at: noon)
        try database.note(RetentionTime(kept: noon + .seconds(7_200), wall: noon))
        try tidy(database, before: noon)
        #expect(try left(database).count == 15, "none is older than its first note")
        try tidy(database, before: noon + .seconds(1))
        #expect(try left(database).count == 5)
        try tidy(database, before: noon + .seconds(7_201))
        #expect(try left(database).isEmpty)
    }

    @Test(arguments: Implementation.allCases)
    func theOldestGoesWhenThereIsTooMuch(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try changes(database, 1..<101, at: noon)
        let all = try left(database)
        try tidy(database, before: noon - .seconds(86_400), bytesMax: 100_000_000)
        #expect(try left(database) == all)
        try tidy(database, before: noon - .seconds(86_400), bytesMax: 50_000)
        let some = try left(database)
        #expect((10...60).contains(some.count))
        #expect(some == Array(all.prefix(some.count)), "the newest are kept")
        try changes(database, 101..<201, at: noon)
        try tidy(database, before: noon - .seconds(86_400), bytesMax: 50_000)
        #expect(abs(try left(database).count - some.count) <= 6, "it stays as much")
    }

    @Test(arguments: Implementation.allCases)
    func theClockIsNoted(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try database.retentionTime() == nil)
        let time = RetentionTime(kept: noon, wall: noon + .seconds(-86_400 * 3_650))
        try database.note(time)
        #expect(try database.retentionTime() == time)
    }
}
