import Model
import Testing

@testable import ReconcilerCore

/// What is counted of the times in which nothing could be judged.
struct SuspensionsTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let wallTime = Timestamp(millisecondsSince1970: 1_700_000_000_000)

    private func evaluate(
        _ suspensions: inout Suspensions, _ reason: String?, after seconds: Int64, interrupted: Bool = false
    ) -> Bool {
        suspensions.evaluated(
            reason, interrupted: interrupted, now: start + .seconds(seconds), wallTime: wallTime + .seconds(seconds))
    }

    @Test func theStartIsTheFirstSpell() {
        var suspensions = Suspensions(now: start, wallTime: wallTime)
        #expect(suspensions.isSuspended && suspensions.count == 1 && suspensions.since == wallTime)
        #expect(suspensions.total(now: start + .seconds(2)) == .seconds(2))
        let (isOver, isSame) = (evaluate(&suspensions, nil, after: 3), evaluate(&suspensions, nil, after: 4))
        #expect(isOver && !isSame)
        #expect(suspensions.total(now: start + .seconds(9)) == .seconds(3))
        #expect(suspensions.since == nil)
    }

    @Test func spellsAndInterruptionsAreCountedAndTheirTimeIsSummed() {
        var suspensions = Suspensions(now: start, wallTime: wallTime)
        _ = evaluate(&suspensions, nil, after: 1)
        _ = evaluate(&suspensions, nil, after: 2, interrupted: true)
        #expect(suspensions.count == 2 && suspensions.total(now: start + .seconds(2)) == .seconds(1))
        let began = evaluate(&suspensions, "no light", after: 10, interrupted: true)
        let other = evaluate(&suspensions, "no store", after: 12, interrupted: true)
        #expect(began && other && suspensions.count == 3, "another reason is the same suspension")
        #expect(suspensions.since == wallTime + .seconds(10))
        _ = evaluate(&suspensions, nil, after: 15)
        #expect(suspensions.total(now: start + .seconds(99)) == .seconds(6))
    }
}
