import Lifecycle
import StatusStoreCore
import Testing

@Suite struct TroubleTests {
    private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: 0) + .seconds(seconds) }

    @Test func theSameTroubleIsToldOnceAMinute() {
        var trouble = CommitTrouble()
        #expect(trouble.failed("full", now: at(10)))
        #expect(!trouble.failed("full", now: at(11)))
        #expect(trouble.failed("locked", now: at(12)))
        #expect(!trouble.failed("locked", now: at(71)))
        #expect(trouble.failed("locked", now: at(72)))
        #expect(trouble.reason == "locked")
        #expect(trouble.worked(now: at(80)) == .seconds(70))
        #expect(trouble.reason == nil)
        #expect(trouble.worked(now: at(81)) == nil)
        #expect(trouble.failed("locked", now: at(82)))
    }

    @Test func aNoteAheadOfTheDatabaseTellsOfALostEnd() {
        let note = CursorMessage(published: 7, database: "d")
        #expect(note.isAhead(of: 6, database: "d"))
        #expect(!note.isAhead(of: 7, database: "d"))
        #expect(!note.isAhead(of: 6, database: "another"))
    }
}
