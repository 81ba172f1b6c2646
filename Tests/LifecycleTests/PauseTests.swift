import Lifecycle
import Model
import Testing

/// Paused: no wake, no lapse, no verdict, no deadline; heartbeats count.
@Suite struct PauseTests {
    @Test func aPauseDisarmsTheDeadlineAndAResumeRepeatsTheWake() throws {
        var subject = Subject.awaitingCheckin()
        let first = try #require(subject.orders.last)
        subject.pass("29s")
        #expect(subject.pause() == ["paused (agent)"])
        #expect(subject.isDrained)
        #expect(subject.record.isPaused)
        #expect(subject.record.pausedBy == [.agent])
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.dueIn == nil)
        subject.pass("2h")
        #expect(subject.deadlinePassed() == [])
        #expect(subject.resume() == ["resumed (agent)", "permit?"])
        #expect(!subject.record.isPaused)
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
        var expected = first
        expected.publication = 2
        #expect(subject.orders.last == expected)
        #expect(subject.woken() == ["settle", "woken (provision)"])
        #expect(subject.dueIn == 30_000, "a full deadline")
        #expect(subject.record.wakeAttempts == 1)
    }

    @Test func aCycleAskedForMeanwhileSendsItsFirstWakeOnResume() {
        var subject = Subject.online()
        _ = subject.pause()
        #expect(subject.wake() == ["updating (manual)"])
        #expect(subject.grantPermit() == [])
        #expect(subject.record.status == .updating)
        #expect(subject.record.generation == 2)
        #expect(subject.dueIn == nil)
        #expect(subject.resume() == ["resumed (agent)", "permit?"])
        #expect(subject.grantPermit() == ["order 2.1#2 manual"])
    }

    @Test func aQueuedWakeDoesNotGoOut() {
        var subject = Subject()
        _ = subject.provision()
        #expect(subject.pause() == ["paused (agent)"])
        #expect(subject.isDrained)
        #expect(subject.grantPermit() == [])
        #expect(subject.resume() == ["resumed (agent)", "permit?"])
        #expect(subject.grantPermit() == ["order 1.1#1 provision"])
    }

    @Test func anOnlineAgentDoesNotLapse() {
        var subject = Subject.online()
        _ = subject.pause()
        #expect(subject.dueIn == nil)
        subject.pass("5h")
        #expect(subject.resume() == ["resumed (agent)"])
        #expect(subject.record.status == .online)
        #expect(subject.dueIn == 90_000, "one interval and one deadline to be heard of")
    }

    @Test func heartbeatsCount() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause()
        subject.pass("1m")
        #expect(subject.heartbeat() == ["online (checked_in)"])
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.dueIn == nil)
        #expect(subject.heartbeat() == ["seen"])
        #expect(subject.resume() == ["resumed (agent)"], "nothing is left to be repeated")
    }

    @Test func aLastWillAndAnExtensionDoNotMatterUntilItsResume() {
        var subject = Subject.online()
        _ = subject.pause()
        subject.pass("1s")
        #expect(subject.heartbeat(.lost) == [])
        subject.pass("1s")
        var lost = subject
        #expect(subject.heartbeat(.starting, extend: "1m") == ["changed (reported)"])
        #expect(subject.dueIn == nil)
        #expect(subject.resume() == ["resumed (agent)"])
        #expect(subject.phase == .online, "it was heard of since")
        #expect(lost.resume() == ["resumed (agent)"])
        #expect(lost.dueIn == 10_000)
        #expect(lost.passToDue() == ["lapsed (lost)", "updating (recover)", "permit?"])
    }

    @Test func aGoodbyeIsAGoodbye() {
        var subject = Subject.online()
        _ = subject.pause()
        #expect(subject.heartbeat(.stopping) == ["offline (goodbye)"])
        #expect(subject.record.isPaused)
        #expect(subject.resume() == ["resumed (agent)"])
        #expect(subject.dueIn == nil)
    }

    @Test func anExpiredOrderIsRepeatedOnResume() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.pause()
        #expect(subject.expired() == [])
        #expect(subject.isDrained)
        #expect(subject.resume() == ["resumed (agent)", "permit?"])
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
    }

    @Test func aFailureThatIsReportedMeanwhileCountsAsItsAttempt() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.pause()
        #expect(subject.failed() == ["provision_failed (the template is broken)"])
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.dueIn == nil)
    }

    // MARK: Causes

    @Test func aResumeRemovesOnlyItsOwnCause() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause(.agent)
        #expect(subject.pause(.board) == ["paused (board)"])
        #expect(subject.record.pausedBy == [.agent, .board])
        #expect(subject.resume(.gateway) == [])
        #expect(subject.resume(.agent) == ["resumed (agent)"])
        #expect(subject.record.isPaused)
        #expect(subject.resume(.board) == ["resumed (board)", "permit?"])
        #expect(!subject.record.isPaused)
    }

    @Test func aRepeatedPauseChangesItsEnd() {
        var subject = Subject.online()
        let end = subject.wallTime + .seconds(60)
        _ = subject.pause(.agent, until: end)
        #expect(subject.record.pausedUntil == end)
        #expect(subject.pause(.agent) == ["paused (agent)"])
        #expect(subject.record.pausedBy == [.agent])
        #expect(subject.record.pausedUntil == nil)
        #expect(subject.dueIn == nil)
    }

    @Test func aPauseEndsAtItsTime() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause(.agent, until: subject.wallTime + .seconds(60))
        #expect(subject.dueIn == 60_000)
        #expect(subject.passToDue() == ["resumed (agent)", "permit?"])
        #expect(subject.record.pausedUntil == nil)
    }

    @Test func eachCauseEndsAtItsOwnTime() {
        var subject = Subject.online()
        let start = subject.wallTime
        _ = subject.pause(.agent, until: start + .seconds(60))
        _ = subject.pause(.gateway, until: start + .seconds(120))
        #expect(subject.record.pausedUntil == start + .seconds(120))
        #expect(subject.passToDue() == ["resumed (agent)"])
        #expect(subject.wallTime == start + .seconds(60))
        #expect(subject.record.isPaused)
        #expect(subject.passToDue() == ["resumed (gateway)"])
        #expect(subject.wallTime == start + .seconds(120))
        #expect(!subject.record.isPaused)
    }

    @Test func withACauseThatHasNoEndItIsPausedUntilFurtherNotice() {
        var subject = Subject.online()
        _ = subject.pause(.agent)
        _ = subject.pause(.gateway, until: subject.wallTime + .seconds(60))
        #expect(subject.record.pausedUntil == nil)
        #expect(subject.passToDue() == ["resumed (gateway)"])
        #expect(subject.record.pausedBy == [.agent])
        #expect(subject.dueIn == nil)
    }

    /// The end is a time of day; the deadline queue runs on a clock that nobody sets.
    @Test func theWallClockDecidesWhenAPauseEnds() {
        var subject = Subject.online()
        _ = subject.pause(.agent, until: subject.wallTime + .seconds(60))
        subject.pass("1m")
        subject.wallTime = subject.wallTime - .seconds(30)
        #expect(subject.deadlinePassed() == [])
        #expect(subject.dueIn == 30_000)
        #expect(subject.passToDue() == ["resumed (agent)"])
    }

    @Test func aPauseSurvivesARestart() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause(.agent, until: subject.wallTime + .seconds(60))
        subject.restore(away: "20s")
        #expect(subject.observabilityRestored() == [])
        #expect(subject.dueIn == 40_000)
        #expect(subject.passToDue() == ["resumed (agent)", "permit?"])
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
    }

    @Test func aPauseThatEndedWhileNobodyOwnedItEndsNow() {
        var subject = Subject.online()
        _ = subject.pause(.agent, until: subject.wallTime + .seconds(60))
        subject.restore(away: "10m")
        _ = subject.observabilityRestored()
        #expect(subject.deadlinePassed() == ["resumed (agent)"])
        #expect(subject.dueIn == 90_000)
    }
}
