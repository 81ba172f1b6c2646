import Model
import Testing

/// Numbers from outside at their ends: they are taken for what they say or end at a bound, and stop nobody.
@Suite struct ExtremeNumberTests {
    private static let ends: [Int64] = [.min, .min + 1, -1, 0, 1, .max - 1, .max]

    @Test func arithmeticOfTimeEndsAtTheFarthest() {
        for left in ExtremeNumberTests.ends {
            for right in ExtremeNumberTests.ends {
                let (instant, span) = (Instant(nanoseconds: left), TimeSpan(milliseconds: right))
                #expect(right < 0 ? instant + span <= instant : instant + span >= instant)
                #expect(right < 0 ? instant - span >= instant : instant - span <= instant)
                let wallTime = Timestamp(millisecondsSince1970: left)
                #expect(right < 0 ? wallTime + span <= wallTime : wallTime + span >= wallTime)
                #expect(right < 0 ? wallTime - span >= wallTime : wallTime - span <= wallTime)
                let since = instant.milliseconds(since: Instant(nanoseconds: right))
                #expect(left >= right ? since >= 0 : since <= 0)
                let passed = wallTime.span(since: Timestamp(millisecondsSince1970: right))
                #expect(passed.milliseconds.signum() == (left > right ? 1 : left < right ? -1 : 0))
                #expect((TimeSpan(milliseconds: left) + span).milliseconds <= .max)
            }
        }
        #expect(TimeSpan.seconds(.max).milliseconds == .max)
        #expect(TimeSpan.seconds(.min).milliseconds == .min)
        #expect(DurationText(.max, .days).span.milliseconds == .max)
    }

    /// What is written can be read again: a record that nobody can decode would stop whoever needs it.
    @Test(arguments: ends + [253_402_300_800_000, -62_167_219_200_001])
    func everyTimestampIsWrittenInFourDigitsOfAYear(milliseconds: Int64) throws {
        let text = Timestamp(millisecondsSince1970: milliseconds).description
        let again = try #require(Timestamp(text), "\(text)")
        #expect(again.description == text)
    }

    @Test(arguments: [
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999Z"),
        ("0000-01-01T00:00:00+23:59", "0000-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999Z"),
    ])
    func aTimeThatUTCHasNoYearForIsTheFarthest(text: String, expected: String) {
        #expect(Timestamp(text)?.description == expected)
    }

    @Test(arguments: ["9999-12-31T23:59:59Z", "2400-01-01T00:00:00Z"])
    func aPauseUntilFarAheadIsForEver(text: String) throws {
        var subject = Subject.awaitingCheckin()
        let until = try #require(Timestamp(text))
        #expect(subject.pause(until: until) == ["paused (agent)"])
        #expect(subject.record.pausedUntil == until)
        subject.pass("30d")
        #expect(subject.deadlinePassed() == [])
        #expect(subject.record.isPaused)
        #expect(subject.resume() == ["resumed (agent)", "permit?"])
    }

    @Test func aPauseThatEndedLongAgoIsOver() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause(until: Timestamp("0000-01-01T00:00:00Z")!)
        #expect(subject.deadlinePassed() == ["resumed (agent)", "permit?"])
        #expect(!subject.record.isPaused)
    }

    @Test func heartbeatsOfAnyAgeDisturbNothing() {
        var subject = Subject.online()
        for nanoseconds in ExtremeNumberTests.ends {
            var heartbeat = Heartbeat(receivedAt: Instant(nanoseconds: nanoseconds), receivedWallTime: subject.wallTime)
            heartbeat.generation = 1
            _ = subject.hear(heartbeat)
        }
        #expect(subject.record.status == .online)
    }
}
