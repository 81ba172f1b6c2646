import API
import Model
import Testing

struct OverdraftsTests {
    @Test func theWorstAreNamedForAWhile() {
        var overdrafts = Overdrafts()
        let start = Instant(nanoseconds: 0)
        #expect(overdrafts.warning("w", now: start) == nil)
        for (name, count) in [("a", 1), ("b", 5), ("c", 2), ("d", 2), ("a", 3)] {
            overdrafts.note(name, count, now: start)
        }
        #expect(
            overdrafts.warning("w", now: start)
                == ServiceWarning(.budgetExceeded, "w: b ×5, a ×4, c ×2 and 1 more"))
        overdrafts.note("d", 1, now: start + .seconds(30))
        #expect(overdrafts.warning("w", now: start + .seconds(61))?.detail == "w: d ×3")
        #expect(overdrafts.warning("w", now: start + .seconds(91)) == nil)
    }

    @Test func namesAreBounded() {
        var overdrafts = Overdrafts()
        for number in 0..<1_000 { overdrafts.note("n\(number)", now: Instant(nanoseconds: 0)) }
        #expect(overdrafts.warning("w", now: Instant(nanoseconds: 0))?.detail.hasSuffix("and 97 more") == true)
    }
}
