import API
import Model
import Testing
import Wire

@testable import ReconcilerCore

/// When nothing may be judged.
struct ObservabilityTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    private func presence(_ state: Presence.State, incarnation: String = "i", session: Int? = 1) -> Presence {
        var presence = Presence(
            service: .heartbeatIngest, instance: "1", state: state, startedAt: Timestamp(millisecondsSince1970: 0),
            configDigest: "", incarnation: incarnation)
        presence.heartbeatSession = session
        return presence
    }

    private func seeing() -> Observability {
        var observability = Observability()
        observability.connected()
        observability.heard(presence(.running), isRetained: false, now: start)
        return observability
    }

    private func evaluate(
        _ observability: inout Observability, at now: Instant? = nil, uncommitted: Instant? = nil,
        unanswered: Instant? = nil
    ) -> (suspended: Bool, interrupted: Bool) {
        let result = observability.evaluate(now: now ?? start, stuckSince: uncommitted, unansweredSince: unanswered)
        return (result.suspended != nil, result.interrupted)
    }

    @Test func aReceivingIngestIsAllItTakes() {
        var observability = seeing()
        #expect(evaluate(&observability) == (false, false))
        #expect(observability.asked == ["1"])
    }

    /// It has read all it was given, but heartbeats that come now find nobody.
    @Test func whoStopsReceivesNoMore() {
        var observability = seeing()
        let answer = BarrierAnswer(
            number: 1, ingest: "1", incarnation: "i", session: 1, batches: [:], isStopping: true)
        observability.answered(answer)
        #expect(evaluate(&observability) == (true, false))
        #expect(observability.asked == ["1"], "it may not have handed over what it received")
        observability.heard(presence(.running), isRetained: false, now: start)
        #expect(evaluate(&observability) == (true, false), "that was said before")
        observability.heard(presence(.running, incarnation: "j"), isRetained: false, now: start)
        #expect(evaluate(&observability).suspended == false)
    }

    @Test func aRetainedPresenceProvesNoLife() {
        var observability = Observability()
        observability.connected()
        observability.heard(presence(.running), isRetained: true, now: start)
        #expect(evaluate(&observability).suspended)
    }

    @Test func anIngestIsAskedForAsLongAsTheBrokerMayGiveItHeartbeats() {
        var observability = seeing()
        #expect(evaluate(&observability, at: start + .seconds(14)) == (false, false))
        #expect(observability.asked == ["1"])
        #expect(evaluate(&observability, at: start + .seconds(21)) == (true, true))
    }

    @Test func whoIsKnownByARetainedPresenceIsAskedToo() {
        var observability = seeing()
        var other = presence(.running)
        other.instance = "2"
        observability.heard(other, isRetained: true, now: start)
        #expect(observability.asked.contains("2"), "heartbeats may be given to it")
        #expect(evaluate(&observability) == (false, false))
        let later = start + .seconds(18)
        observability.heard(presence(.running), isRetained: false, now: later)
        #expect(evaluate(&observability, at: later) == (false, false))
        #expect(evaluate(&observability, at: start + .seconds(21)) == (false, true), "its subscription is gone by now")
        #expect(!observability.asked.contains("2"))
    }

    /// It was stopped, its own connection has ended and its subscription not yet, and then its owner began anew.
    @Test func whoIsLostAndWhoseLineMayStandIsWaitedFor() {
        var observability = seeing()
        var other = presence(.lost)
        other.instance = "2"
        observability.heard(other, isRetained: true, now: start)
        #expect(observability.asked == ["1", "2"], "heartbeats may be given to it")
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "2", incarnation: "i", subscription: 3), isRetained: false)
        #expect(observability.asked == ["1"])
        #expect(evaluate(&observability) == (false, true))
        observability.heard(other, isRetained: true, now: start)
        #expect(evaluate(&observability, at: start + .seconds(14)) == (false, false))
        observability.heard(presence(.running), isRetained: false, now: start + .seconds(14))
        #expect(evaluate(&observability, at: start + .seconds(21)) == (false, true), "its subscription is gone by now")
        #expect(observability.asked == ["1"])
    }

    @Test(arguments: [true, false])
    func whoseLineHasEndedBeforeIsNotWaitedFor(isLostHeardFirst: Bool) {
        var observability = seeing()
        var other = presence(.lost)
        other.instance = "2"
        if isLostHeardFirst { observability.heard(other, isRetained: true, now: start) }
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "2", incarnation: "i", subscription: 3), isRetained: true)
        if !isLostHeardFirst { observability.heard(other, isRetained: true, now: start) }
        #expect(observability.asked == ["1"])
        #expect(evaluate(&observability) == (false, false), "that was before")
        // Of the incarnation after it the end of a subscription is not known.
        other = presence(.lost, incarnation: "j")
        other.instance = "2"
        observability.heard(other, isRetained: true, now: start)
        #expect(observability.asked == ["1", "2"])
    }

    @Test func anIngestThatIsNotSubscribedReceivesNothing() {
        var observability = seeing()
        observability.heard(presence(.running, session: nil), isRetained: false, now: start)
        #expect(evaluate(&observability) == (true, true))
    }

    @Test(arguments: [("i", 2), ("j", 1)])
    func anotherSubscriptionHasMissedSomething(incarnation: String, session: Int) {
        var observability = seeing()
        observability.heard(
            presence(.running, incarnation: incarnation, session: session), isRetained: false, now: start)
        #expect(evaluate(&observability) == (false, true))
        #expect(evaluate(&observability) == (false, false))
    }

    @Test func anAnswerThroughAnotherSubscriptionIsAnInterruption() {
        var observability = seeing()
        observability.answered(BarrierAnswer(number: 1, ingest: "1", incarnation: "i", session: 2, batches: [:]))
        #expect(evaluate(&observability) == (false, true))
    }

    @Test func anUncleanEndIsAnInterruptionAndACleanOneIsNot() {
        var lost = seeing()
        lost.heard(presence(.lost), isRetained: false, now: start)
        lost.ended(HeartbeatSubscriptionEnded(ingest: "1", incarnation: "i", subscription: 1), isRetained: false)
        #expect(evaluate(&lost) == (true, true))
        #expect(lost.asked.isEmpty)
        var stopped = seeing()
        stopped.heard(presence(.stopped), isRetained: false, now: start)
        #expect(evaluate(&stopped) == (true, false))
        #expect(stopped.asked.isEmpty)
    }

    @Test func whoLostItsOwnConnectionIsAskedUntilItsLineHasEnded() {
        var observability = seeing()
        var other = presence(.running)
        other.instance = "2"
        observability.heard(other, isRetained: false, now: start)
        other.state = .lost
        observability.heard(other, isRetained: false, now: start)
        #expect(observability.asked == ["1", "2"], "heartbeats may still be given to it")
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "2", incarnation: "i", subscription: 1), isRetained: false)
        #expect(evaluate(&observability) == (false, true))
        #expect(observability.asked == ["1"])
    }

    @Test func anIntroducedIngestIsAskedBeforeItsPresenceIsHeard() {
        var observability = seeing()
        observability.introduced("2", incarnation: "j", subscription: 1, now: start)
        #expect(observability.asked == ["1", "2"])
        #expect(evaluate(&observability) == (false, false), "nothing was lost")
        var lost = presence(.lost, incarnation: "j")
        lost.instance = "2"
        observability.heard(lost, isRetained: false, now: start)
        #expect(observability.asked == ["1", "2"], "its subscription may have been opened")
        #expect(evaluate(&observability, at: start + .seconds(21)) == (true, true), "both were unheard of for too long")
    }

    @Test func anIngestWithoutALineMayDieUnnoticed() {
        var observability = seeing()
        var waiting = presence(.running, session: nil)
        waiting.instance = "2"
        observability.heard(waiting, isRetained: false, now: start)
        #expect(observability.asked == ["1", "2"], "it may hold what it received by an earlier subscription")
        waiting.state = .lost
        observability.heard(waiting, isRetained: false, now: start)
        #expect(evaluate(&observability) == (false, false))
        #expect(observability.asked == ["1"])
    }

    @Test func whatIsHeardOfALineThatEndedIsOld() {
        var observability = seeing()
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "1", incarnation: "i", subscription: 1), isRetained: false)
        #expect(evaluate(&observability) == (true, true))
        observability.heard(presence(.running, session: 1), isRetained: false, now: start)
        #expect(evaluate(&observability) == (true, false))
        observability.heard(presence(.running, session: 2), isRetained: false, now: start)
        #expect(
            evaluate(&observability) == (false, true), "until the subscription stood, heartbeats may have gone nowhere")
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "1", incarnation: "i", subscription: 1), isRetained: false)
        #expect(evaluate(&observability) == (false, true), "told late: it costs a moment")
    }

    @Test func silenceOfAnyPartIsSuspension() {
        var observability = seeing()
        let late = start + TimeSpan(milliseconds: 1_001)
        #expect(evaluate(&observability, at: late, uncommitted: start).suspended)
        #expect(evaluate(&observability, at: late, unanswered: start).suspended)
        #expect(!evaluate(&observability, at: late).suspended)
        #expect(evaluate(&observability, at: start + TimeSpan(milliseconds: 20_001)) == (true, true))
    }

    @Test func withoutTheBrokerNothingIsSeen() {
        var observability = seeing()
        observability.disconnected()
        #expect(evaluate(&observability).suspended)
        observability.connected()
        #expect(evaluate(&observability).suspended, "what was heard before must be heard again")
    }

    /// Its machine is gone without a word, and it was started again elsewhere.
    private func movedAway() -> Observability {
        var observability = seeing()
        var other = presence(.running)
        other.instance = "2"
        observability.heard(other, isRetained: false, now: start)
        other = presence(.running, incarnation: "j", session: nil)
        other.instance = "2"
        observability.heard(other, isRetained: false, now: start)
        return observability
    }

    @Test func whileHeartbeatsMayBeGivenToAnEarlierIncarnationNobodySees() {
        var observability = movedAway()
        #expect(evaluate(&observability) == (true, true))
        observability.ended(
            HeartbeatSubscriptionEnded(ingest: "2", incarnation: "i", subscription: 1), isRetained: false)
        #expect(evaluate(&observability) == (false, true))
    }

    @Test func aLineTakesTheOneOfTheEarlierIncarnationOver() {
        var observability = movedAway()
        observability.introduced("2", incarnation: "j", subscription: 1, now: start)
        #expect(evaluate(&observability).suspended, "it is not open yet")
        var other = presence(.running, incarnation: "j")
        other.instance = "2"
        observability.heard(other, isRetained: false, now: start)
        #expect(evaluate(&observability) == (false, true))
        #expect(evaluate(&observability) == (false, false))
    }

    @Test func theBrokerEndsALineThatNobodyReads() {
        var observability = movedAway()
        for (name, incarnation, session) in [("1", "i", 1), ("2", "j", nil)] {
            var other = presence(.running, incarnation: incarnation, session: session)
            other.instance = name
            observability.heard(other, isRetained: false, now: start + .seconds(19))
        }
        #expect(evaluate(&observability, at: start + .seconds(20)).suspended)
        #expect(!evaluate(&observability, at: start + .seconds(21)).suspended)
    }
}
