import Model
import Testing
import Wire

@testable import ReconcilerCore

/// The proof between a deadline and its verdict.
struct VerdictBarrierTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    private func answer(_ ingest: String, _ number: Int, session: Int = 1, _ batches: [String: Int] = [:])
        -> BarrierAnswer
    {
        BarrierAnswer(number: number, ingest: ingest, incarnation: "i", session: session, batches: batches)
    }

    @Test func whatWasDueWhenItBeganIsJudgedOnceAllHaveAnswered() {
        var barrier = VerdictBarrier()
        #expect(barrier.begin(now: start, ingests: ["a", "b"]) == 1)
        barrier.answered(answer("a", 1), now: start)
        #expect(barrier.pass { _, _, _ in true } == nil)
        barrier.answered(answer("b", 1), now: start)
        #expect(barrier.pass { _, _, _ in true } == start)
        #expect(!barrier.isOpen)
    }

    @Test func batchesUpToTheAnswersAreWaitedFor() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a"])
        barrier.answered(answer("a", 1, ["3": 7]), now: start)
        var asked: [String] = []
        #expect(
            barrier.pass { partition, id, seq in
                asked.append("\(partition) \(id.service)/\(id.instance) \(id.stream) \(seq)")
                return false
            } == nil)
        #expect(asked == ["3 heartbeat-ingest/a batches/3 7"])
        #expect(barrier.pass { _, _, _ in true } == start)
    }

    @Test func aBatchThatAnotherOwnerHasTakenIsNotWaitedForForEver() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a", "b"])
        barrier.answered(answer("a", 1, ["3": 7, "4": 2]), now: start)
        barrier.answered(answer("b", 1), now: start)
        let later = start + VerdictBarrier.repeatInterval
        let early = barrier.askAgain(now: start + TimeSpan(milliseconds: 499))
        let again = barrier.askAgain(now: later)
        #expect(early == nil)
        #expect(again?.ingests == ["a"])
        barrier.answered(answer("b", 1), now: start)
        #expect(barrier.pass { partition, _, _ in partition == 4 } == nil)
        // The owner before us has taken the batch just when the ingest named it: it is kept no more.
        barrier.answered(answer("a", 1, ["4": 3]), now: start)
        #expect(barrier.pass { partition, _, _ in partition == 4 } == start)
    }

    /// A slow network is waited for once it is known, a process that stood still once is not.
    @Test func patienceFollowsTheShortestOfTheNewestAnswers() {
        var barrier = VerdictBarrier()
        var now = start
        func ask(_ milliseconds: Int64) -> Int64 {
            now = now + .seconds(1)
            guard let number = barrier.begin(now: now, ingests: ["a", "b"]) else { return -1 }
            barrier.answered(answer("a", number), now: now)
            barrier.answered(answer("b", number), now: now + TimeSpan(milliseconds: milliseconds))
            now = now + TimeSpan(milliseconds: milliseconds)
            _ = barrier.pass { _, _, _ in true }
            return barrier.patience.milliseconds
        }
        #expect(barrier.patience == VerdictBarrier.answerLimit)
        #expect(ask(1_200) == 3_600, "six legs of 200 ms")
        #expect(ask(1_250) == 3_600)
        #expect(ask(2) == 1_000)
        #expect(ask(4_000) == 1_000, "one that stood still")
        #expect([ask(9_000), ask(9_000), ask(9_000)].last == VerdictBarrier.patienceMax.milliseconds)
    }

    @Test func whatIsKeptIsWaitedFor() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a"])
        barrier.answered(answer("a", 1, ["3": 7]), now: start)
        _ = barrier.askAgain(now: start + .seconds(1))
        barrier.answered(answer("a", 1, ["3": 8]), now: start)
        barrier.answered(
            BarrierAnswer(number: 1, ingest: "a", incarnation: "another incarnation", session: 1, batches: [:]),
            now: start)
        #expect(barrier.pass { _, _, _ in false } == nil)
    }

    @Test func anAnswerToAnotherQuestionCountsForNothing() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a"])
        barrier.abandon()
        #expect(barrier.begin(now: start + .seconds(1), ingests: ["a"]) == 2)
        barrier.answered(answer("a", 1), now: start)
        #expect(barrier.pass { _, _, _ in true } == nil)
    }

    @Test func oneIsOpenAtATimeAndNotTooOften() {
        var barrier = VerdictBarrier()
        #expect(barrier.begin(now: start, ingests: []) == nil)
        #expect(barrier.begin(now: start, ingests: ["a"]) == 1)
        #expect(barrier.begin(now: start + .seconds(9), ingests: ["a"]) == nil)
        barrier.answered(answer("a", 1), now: start)
        _ = barrier.pass { _, _, _ in true }
        #expect(barrier.begin(now: start + TimeSpan(milliseconds: 4), ingests: ["a"]) == nil)
        #expect(barrier.begin(now: start + TimeSpan(milliseconds: 5), ingests: ["a"]) == 2)
    }

    @Test func whoHasEndedIsNotWaitedFor() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a", "b"])
        let (first, repeated) = (
            barrier.answered(answer("a", 1), now: start), barrier.answered(answer("a", 1), now: start)
        )
        #expect(first && !repeated)
        barrier.wait(onlyFor: ["a": "i"])
        #expect(barrier.unansweredSince == nil)
        #expect(barrier.pass { _, _, _ in true } == start)
    }

    /// Its subscription ended first, which was a moment of suspension, and then its incarnation, with a batch that nobody has.
    @Test(arguments: [[:], ["a": "i2"]])
    func whatWasLostWithALifeIsNotWaitedFor(after: [String: String]) {
        var barrier = VerdictBarrier()
        barrier.wait(onlyFor: ["a": "i"])
        _ = barrier.begin(now: start, ingests: ["a"])
        barrier.answered(answer("a", 1, ["3": 7]), now: start)
        barrier.wait(onlyFor: ["a": "i"])
        #expect(barrier.pass { _, _, _ in false } == nil)
        barrier.wait(onlyFor: after)
        #expect(barrier.pass { _, _, _ in false } == start)
    }

    /// Of the incarnation that answered nothing was heard yet.
    @Test func whatAnUnknownLifeHasInHandIsWaitedFor() {
        var barrier = VerdictBarrier()
        barrier.wait(onlyFor: ["a": "i0"])
        _ = barrier.begin(now: start, ingests: ["a"])
        barrier.answered(answer("a", 1, ["3": 7]), now: start)
        barrier.wait(onlyFor: ["a": "i0"])
        #expect(barrier.pass { _, _, _ in false } == nil)
    }

    @Test func aQuestionWithoutAnAnswerIsAskedAgain() {
        var barrier = VerdictBarrier()
        _ = barrier.begin(now: start, ingests: ["a", "b"])
        barrier.answered(answer("a", 1), now: start)
        #expect(barrier.askAgain(now: start + TimeSpan(milliseconds: 499)) == nil)
        let again = barrier.askAgain(now: start + TimeSpan(milliseconds: 500))
        #expect(again?.number == 1 && again?.ingests == ["b"])
        #expect(barrier.askAgain(now: start + TimeSpan(milliseconds: 501)) == nil)
        #expect(barrier.unansweredSince == start)
    }
}
