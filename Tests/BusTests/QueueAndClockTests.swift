import Model
import Testing

@testable import Bus

@Suite struct LateAttemptsTests {
    @Test func eachEndsOneSession() {
        var attempts = LateAttempts()
        attempts.gaveUp()
        attempts.gaveUp()
        let ended = [0, 60, 0].map { attempts.endedSession(after: .seconds($0)) }
        #expect(ended == [true, true, false])
    }

    @Test func noneIsExpectedInASessionThatLasts() {
        var attempts = LateAttempts()
        attempts.gaveUp()
        let ended = [60_001, 0].map { attempts.endedSession(after: TimeSpan(milliseconds: $0)) }
        #expect(ended == [false, false])
    }
}

@Suite struct PublicationQueueTests {
    @Test func givesInOrderWhateverTheMixture() {
        var queue = PublicationQueue()
        var random = SeededGenerator(seed: 7)
        var next = 0
        var expected = 0
        for _ in 0..<50_000 {
            if Int.random(in: 0..<100, using: &random) < 55 {
                queue.append((next, Publication("t", "")))
                next += 1
            } else if let (number, _) = queue.popFirst() {
                #expect(number == expected)
                expected += 1
            } else {
                #expect(expected == next)
            }
            #expect(queue.count == next - expected)
        }
        while let (number, _) = queue.popFirst() {
            #expect(number == expected)
            expected += 1
        }
        #expect(expected == next)
        #expect(queue.count == 0)
    }
}

@Suite struct ClockTests {
    @Test func neverGoesBack() {
        var last = Clock.now()
        for _ in 0..<10_000 {
            let next = Clock.now()
            #expect(next >= last)
            last = next
        }
    }

    @Test func stampsAreOfThisCentury() {
        #expect(Clock.wallTime() > Timestamp(millisecondsSince1970: 1_700_000_000_000))
        #expect(Clock.wallTime() < Timestamp(millisecondsSince1970: 4_000_000_000_000))
    }
}
