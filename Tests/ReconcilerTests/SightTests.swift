import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// When nothing may be judged.
struct SightTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    private func presence(_ state: Presence.State, incarnation: String = "i", session: Int? = 1) -> Presence {
        var presence = Presence(
            service: .heartbeatIngest, instance: "1", state: state, startedAt: Timestamp(millisecondsSince1970: 0),
            configDigest: "", incarnation: incarnation)
        presence.heartbeatSession = session
        return presence
    }

    private func seeing() -> Sight {
        var sight = Sight()
        sight.connected()
        sight.heard(presence(.running), isRetained: false, now: start)
        return sight
    }

    private func evaluate(
        _ sight: inout Sight, at now: Instant? = nil, uncommitted: Instant? = nil, unanswered: Instant? = nil
    ) -> (blind: Bool, interrupted: Bool) {
        let result = sight.evaluate(now: now ?? start, stuckSince: uncommitted, unansweredSince: unanswered)
        return (result.blind != nil, result.interrupted)
    }

    @Test func aReceivingIngestIsAllItTakes() {
        var sight = seeing()
        #expect(evaluate(&sight) == (false, false))
        #expect(sight.asked == ["1"])
    }

    /// It has read all it was given, but heartbeats that come now find nobody.
    @Test func whoStopsReceivesNoMore() {
        var sight = seeing()
        let answer = BarrierAnswer(
            number: 1, ingest: "1", incarnation: "i", session: 1, batches: [:], isStopping: true)
        sight.answered(answer)
        #expect(evaluate(&sight) == (true, false))
        #expect(sight.asked == ["1"], "it may not have handed over what it received")
        sight.heard(presence(.running), isRetained: false, now: start)
        #expect(evaluate(&sight) == (true, false), "that was said before")
        sight.heard(presence(.running, incarnation: "j"), isRetained: false, now: start)
        #expect(evaluate(&sight).blind == false)
    }

    @Test func aRetainedPresenceProvesNoLife() {
        var sight = Sight()
        sight.connected()
        sight.heard(presence(.running), isRetained: true, now: start)
        #expect(evaluate(&sight).blind)
    }

    @Test func anIngestIsAskedForAsLongAsTheBrokerMayGiveItHeartbeats() {
        var sight = seeing()
        #expect(evaluate(&sight, at: start + .seconds(14)) == (false, false))
        #expect(sight.asked == ["1"])
        #expect(evaluate(&sight, at: start + .seconds(21)) == (true, true))
    }

    @Test func whoIsKnownByARetainedPresenceIsAskedToo() {
        var sight = seeing()
        var other = presence(.running)
        other.instance = "2"
        sight.heard(other, isRetained: true, now: start)
        #expect(sight.asked.contains("2"), "heartbeats may be given to it")
        #expect(evaluate(&sight) == (false, false))
        let later = start + .seconds(18)
        sight.heard(presence(.running), isRetained: false, now: later)
        #expect(evaluate(&sight, at: later) == (false, false))
        #expect(evaluate(&sight, at: start + .seconds(21)) == (false, true), "its subscription is gone by now")
        #expect(!sight.asked.contains("2"))
    }

    /// It was stopped, its own connection has ended and its line not yet, and then its owner began anew.
    @Test func whoIsLostAndWhoseLineMayStandIsWaitedFor() {
        var sight = seeing()
        var other = presence(.lost)
        other.instance = "2"
        sight.heard(other, isRetained: true, now: start)
        #expect(sight.asked == ["1", "2"], "heartbeats may be given to it")
        sight.ended(HeartbeatLineEnded(ingest: "2", incarnation: "i", line: 3), isRetained: false)
        #expect(sight.asked == ["1"])
        #expect(evaluate(&sight) == (false, true))
        sight.heard(other, isRetained: true, now: start)
        #expect(evaluate(&sight, at: start + .seconds(14)) == (false, false))
        sight.heard(presence(.running), isRetained: false, now: start + .seconds(14))
        #expect(evaluate(&sight, at: start + .seconds(21)) == (false, true), "its line is gone by now")
        #expect(sight.asked == ["1"])
    }

    @Test(arguments: [true, false])
    func whoseLineHasEndedBeforeIsNotWaitedFor(isLostHeardFirst: Bool) {
        var sight = seeing()
        var other = presence(.lost)
        other.instance = "2"
        if isLostHeardFirst { sight.heard(other, isRetained: true, now: start) }
        sight.ended(HeartbeatLineEnded(ingest: "2", incarnation: "i", line: 3), isRetained: true)
        if !isLostHeardFirst { sight.heard(other, isRetained: true, now: start) }
        #expect(sight.asked == ["1"])
        #expect(evaluate(&sight) == (false, false), "that was before")
        // Of the life after it the end of a line is not known.
        other = presence(.lost, incarnation: "j")
        other.instance = "2"
        sight.heard(other, isRetained: true, now: start)
        #expect(sight.asked == ["1", "2"])
    }

    @Test func anIngestThatIsNotSubscribedReceivesNothing() {
        var sight = seeing()
        sight.heard(presence(.running, session: nil), isRetained: false, now: start)
        #expect(evaluate(&sight) == (true, true))
    }

    @Test(arguments: [("i", 2), ("j", 1)])
    func anotherSubscriptionHasMissedSomething(incarnation: String, session: Int) {
        var sight = seeing()
        sight.heard(presence(.running, incarnation: incarnation, session: session), isRetained: false, now: start)
        #expect(evaluate(&sight) == (false, true))
        #expect(evaluate(&sight) == (false, false))
    }

    @Test func anAnswerThroughAnotherSubscriptionIsAnInterruption() {
        var sight = seeing()
        sight.answered(BarrierAnswer(number: 1, ingest: "1", incarnation: "i", session: 2, batches: [:]))
        #expect(evaluate(&sight) == (false, true))
    }

    @Test func anUncleanEndIsAnInterruptionAndACleanOneIsNot() {
        var lost = seeing()
        lost.heard(presence(.lost), isRetained: false, now: start)
        lost.ended(HeartbeatLineEnded(ingest: "1", incarnation: "i", line: 1), isRetained: false)
        #expect(evaluate(&lost) == (true, true))
        #expect(lost.asked.isEmpty)
        var stopped = seeing()
        stopped.heard(presence(.stopped), isRetained: false, now: start)
        #expect(evaluate(&stopped) == (true, false))
        #expect(stopped.asked.isEmpty)
    }

    @Test func whoLostItsOwnConnectionIsAskedUntilItsLineHasEnded() {
        var sight = seeing()
        var other = presence(.running)
        other.instance = "2"
        sight.heard(other, isRetained: false, now: start)
        other.state = .lost
        sight.heard(other, isRetained: false, now: start)
        #expect(sight.asked == ["1", "2"], "heartbeats may still be given to it")
        sight.ended(HeartbeatLineEnded(ingest: "2", incarnation: "i", line: 1), isRetained: false)
        #expect(evaluate(&sight) == (false, true))
        #expect(sight.asked == ["1"])
    }

    @Test func anIntroducedIngestIsAskedBeforeItsPresenceIsHeard() {
        var sight = seeing()
        sight.introduced("2", incarnation: "j", line: 1, now: start)
        #expect(sight.asked == ["1", "2"])
        #expect(evaluate(&sight) == (false, false), "nothing was lost")
        var lost = presence(.lost, incarnation: "j")
        lost.instance = "2"
        sight.heard(lost, isRetained: false, now: start)
        #expect(sight.asked == ["1", "2"], "its line may have been opened")
        #expect(evaluate(&sight, at: start + .seconds(21)) == (true, true), "both were unheard of for too long")
    }

    @Test func anIngestWithoutALineMayDieUnnoticed() {
        var sight = seeing()
        var waiting = presence(.running, session: nil)
        waiting.instance = "2"
        sight.heard(waiting, isRetained: false, now: start)
        #expect(sight.asked == ["1", "2"], "it may hold what it received by an earlier line")
        waiting.state = .lost
        sight.heard(waiting, isRetained: false, now: start)
        #expect(evaluate(&sight) == (false, false))
        #expect(sight.asked == ["1"])
    }

    @Test func whatIsHeardOfALineThatEndedIsOld() {
        var sight = seeing()
        sight.ended(HeartbeatLineEnded(ingest: "1", incarnation: "i", line: 1), isRetained: false)
        #expect(evaluate(&sight) == (true, true))
        sight.heard(presence(.running, session: 1), isRetained: false, now: start)
        #expect(evaluate(&sight) == (true, false))
        sight.heard(presence(.running, session: 2), isRetained: false, now: start)
        #expect(evaluate(&sight) == (false, true), "until the line stood, heartbeats may have gone nowhere")
        sight.ended(HeartbeatLineEnded(ingest: "1", incarnation: "i", line: 1), isRetained: false)
        #expect(evaluate(&sight) == (false, true), "told late: it costs a moment")
    }

    @Test func silenceOfAnyPartIsBlindness() {
        var sight = seeing()
        let late = start + TimeSpan(milliseconds: 1_001)
        #expect(evaluate(&sight, at: late, uncommitted: start).blind)
        #expect(evaluate(&sight, at: late, unanswered: start).blind)
        #expect(!evaluate(&sight, at: late).blind)
        #expect(evaluate(&sight, at: start + TimeSpan(milliseconds: 20_001)) == (true, true))
    }

    @Test func withoutTheBrokerNothingIsSeen() {
        var sight = seeing()
        sight.disconnected()
        #expect(evaluate(&sight).blind)
        sight.connected()
        #expect(evaluate(&sight).blind, "what was heard before must be heard again")
    }

    /// Its machine is gone without a word, and it was started again elsewhere.
    private func movedAway() -> Sight {
        var sight = seeing()
        var other = presence(.running)
        other.instance = "2"
        sight.heard(other, isRetained: false, now: start)
        other = presence(.running, incarnation: "j", session: nil)
        other.instance = "2"
        sight.heard(other, isRetained: false, now: start)
        return sight
    }

    @Test func whileHeartbeatsMayBeGivenToAnEarlierLifeNobodySees() {
        var sight = movedAway()
        #expect(evaluate(&sight) == (true, true))
        sight.ended(HeartbeatLineEnded(ingest: "2", incarnation: "i", line: 1), isRetained: false)
        #expect(evaluate(&sight) == (false, true))
    }

    @Test func aLineTakesTheOneOfTheEarlierLifeOver() {
        var sight = movedAway()
        sight.introduced("2", incarnation: "j", line: 1, now: start)
        #expect(evaluate(&sight).blind, "it is not open yet")
        var other = presence(.running, incarnation: "j")
        other.instance = "2"
        sight.heard(other, isRetained: false, now: start)
        #expect(evaluate(&sight) == (false, true))
        #expect(evaluate(&sight) == (false, false))
    }

    @Test func theBrokerEndsALineThatNobodyReads() {
        var sight = movedAway()
        for (name, incarnation, session) in [("1", "i", 1), ("2", "j", nil)] {
            var other = presence(.running, incarnation: incarnation, session: session)
            other.instance = name
            sight.heard(other, isRetained: false, now: start + .seconds(19))
        }
        #expect(evaluate(&sight, at: start + .seconds(20)).blind)
        #expect(!evaluate(&sight, at: start + .seconds(21)).blind)
    }
}
