import Lifecycle
import Testing

@testable import ReconcilerCore

/// What is counted of the times in which nothing could be judged.
struct BlindSpellsTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let stamp = Timestamp(millisecondsSince1970: 1_700_000_000_000)

    private func evaluate(
        _ spells: inout BlindSpells, _ reason: String?, after seconds: Int64, interrupted: Bool = false
    ) -> Bool {
        spells.evaluated(
            reason, interrupted: interrupted, now: start + .seconds(seconds), stamp: stamp + .seconds(seconds))
    }

    @Test func theStartIsTheFirstSpell() {
        var spells = BlindSpells(now: start, stamp: stamp)
        #expect(spells.isBlind && spells.count == 1 && spells.since == stamp)
        #expect(spells.total(now: start + .seconds(2)) == .seconds(2))
        let (isOver, isSame) = (evaluate(&spells, nil, after: 3), evaluate(&spells, nil, after: 4))
        #expect(isOver && !isSame)
        #expect(spells.total(now: start + .seconds(9)) == .seconds(3))
        #expect(spells.since == nil)
    }

    @Test func spellsAndInterruptionsAreCountedAndTheirTimeIsSummed() {
        var spells = BlindSpells(now: start, stamp: stamp)
        _ = evaluate(&spells, nil, after: 1)
        _ = evaluate(&spells, nil, after: 2, interrupted: true)
        #expect(spells.count == 2 && spells.total(now: start + .seconds(2)) == .seconds(1))
        let began = evaluate(&spells, "no light", after: 10, interrupted: true)
        let other = evaluate(&spells, "no store", after: 12, interrupted: true)
        #expect(began && other && spells.count == 3, "another reason is the same spell")
        #expect(spells.since == stamp + .seconds(10))
        _ = evaluate(&spells, nil, after: 15)
        #expect(spells.total(now: start + .seconds(99)) == .seconds(6))
    }

    @Test func waitsAreSortedByLength() {
        var waits = WaitHistogram()
        #expect(waits.percentile(99) == 0)
        for _ in 0..<98 { waits.add(microseconds: 600) }
        waits.add(microseconds: 9_000)
        waits.add(microseconds: 40_000)
        #expect(waits.percentile(50) == 707)
        #expect(waits.percentile(99) >= 9_000 && waits.percentile(99) <= 12_800)
        #expect(waits.percentile(100) == 40_000 && waits.longest == 40_000)
    }
}
