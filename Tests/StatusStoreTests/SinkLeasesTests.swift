import MemoryStorage
import Model
import Testing
import Wire

@testable import StatusStoreCore

/// Sinks of alerts: who serves each, and where it goes on.
struct SinkLeasesTests {
    private let database = MemoryDatabase(partitionCount: 1, identity: "d")
    private var leases = SinkLeases()
    private var now = Instant(nanoseconds: 0)

    /// Behind which event the asker goes on with the sink `ops`.
    private mutating func ask(
        _ asker: String, after: Int64? = nil, delivered: Int64? = nil, last: Int64, at seconds: Int64 = 0
    ) throws -> Int64? {
        now = Instant(nanoseconds: 0) + .seconds(seconds)
        return try leases.position(
            EventQuestion(after: after, sink: "ops", delivered: delivered), of: "ops", asker: asker, last: last,
            database, now: now)
    }

    @Test mutating func aNewSinkBeginsNow() throws {
        #expect(try ask("a", last: 7) == 7)
        #expect(try ask("a", after: 7, last: 9, at: 1) == 7)
        #expect(try ask("a", last: 9, at: 2) == 7, "also when nothing was delivered yet")
        #expect(try ask("a", after: 9, delivered: 8, last: 9, at: 3) == 9)
        #expect(try ask("a", last: 9, at: 4) == 8)
    }

    @Test mutating func oneProcessServesIt() throws {
        #expect(try ask("a", last: 7) == 7)
        #expect(try ask("b", last: 7, at: 4) == nil)
        #expect(try ask("a", after: 8, delivered: 8, last: 9, at: 4) == 8)
        #expect(try ask("b", after: 1, delivered: 1, last: 9, at: 8) == nil)
        #expect(try ask("b", last: 9, at: 9) == 8, "the other has not asked for so long")
        #expect(try ask("a", after: 8, delivered: 9, last: 9, at: 10) == nil)
        #expect(try database.alertPosition(of: "ops") == 8)
    }

    @Test mutating func anOlderCopyOfTheDatabaseHasItsEventsTold() throws {
        try database.note(alertPosition: 100, of: "ops")
        #expect(try ask("a", last: 7) == 7)
        #expect(try ask("a", last: 50, at: 1) == 7)
    }
}
