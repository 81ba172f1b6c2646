import Model
import StatusStoreCore
import Testing

@Suite struct TroubleTests {
    private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: 0) + .seconds(seconds) }

    @Test func theSameTroubleIsToldOnceAMinute() {
        var trouble = CommitTrouble()
        let logged = [("full", 10), ("full", 11), ("locked", 12), ("locked", 71), ("locked", 72)].map {
            reason, second in
            trouble.failed(reason, now: at(Int64(second)))
        }
        #expect(logged == [true, false, true, false, true])
        #expect(trouble.reason == "locked")
        let lengths = [trouble.worked(now: at(80)), trouble.worked(now: at(81))]
        #expect(lengths == [.seconds(70), nil])
        #expect(trouble.reason == nil)
        let isLoggedAgain = trouble.failed("locked", now: at(82))
        #expect(isLoggedAgain)
    }

    @Test func aNoteAheadOfTheDatabaseTellsOfALostEnd() {
        let note = CursorMessage(published: 7, database: "d")
        #expect(note.isAhead(of: 6, database: "d"))
        #expect(!note.isAhead(of: 7, database: "d"))
        #expect(!note.isAhead(of: 6, database: "another"))
    }
}
