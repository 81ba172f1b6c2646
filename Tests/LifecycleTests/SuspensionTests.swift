import Lifecycle
import Model
import Testing

/// While check-ins could not arrive or be counted nothing is judged; then what was waited for is waited for anew. Taking an
/// agent over is a time of suspension too.
@Suite struct SuspensionTests {
    @Test func theSameWakeIsRepeatedAndItsPublicationArmsAFullDeadline() throws {
        var subject = Subject.awaitingCheckin()
        let first = try #require(subject.orders.last)
        subject.pass("5m")
        #expect(subject.observabilityRestored() == ["changed (own_outage)", "permit?"])
        #expect(subject.logs == [.deadlineDeferred(attempt: 1, delay: .seconds(30), .ownOutage)])
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.dueIn == nil)
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
        var expected = first
        expected.publication = 2
        #expect(subject.orders.last == expected)
        subject.pass("1s")
        _ = subject.woken()
        #expect(subject.dueIn == 30_000)
        #expect(subject.record.wakeAttempts == 1)
    }

    @Test func aRepeatIsTheSameWakeWhateverChangedSince() throws {
        var subject = Subject.awaitingCheckin()
        let first = try #require(subject.orders.last)
        _ = subject.apply { machine, context, directives in
            machine.change {
                $0.record.templatesDigest = "digest-2"
                $0.record.board = "b2"
                $0.record.variables = ["K": "V"]
                $0.record.policy.maxWakeAttempts = 9
                $0.record.policy.heartbeatInterval = DurationText(5, .seconds)
            }
            machine.noteChange("updated", context, into: &directives)
        }
        _ = subject.observabilityRestored()
        _ = subject.grantPermit()
        var expected = first
        expected.publication = 2
        #expect(subject.orders.last == expected)
    }

    @Test(arguments: [true, false])
    func whoComesOnlineByAnOldHeartbeatHasTimeForTheNewerOnes(isAsked: Bool) {
        let policy: [PolicySetting: String] = [.offlineAfter: "2s", .heartbeatInterval: "1s", .checkinDeadline: "1s"]
        var subject = isAsked ? Subject.awaitingCheckin(policy) : Subject(policy)
        subject.pass("9s")
        _ = subject.observabilityRestored()
        #expect(subject.heartbeat(age: "3s").last?.hasPrefix("online") == true)
        #expect(subject.dueIn == 2_000)
    }

    @Test func anOrderWhoseReportHasNotComeIsRepeated() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        #expect(subject.observabilityRestored() == ["settle", "permit?"])
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
    }

    @Test func aQueuedWakeKeepsItsPlace() {
        var subject = Subject()
        _ = subject.provision()
        #expect(subject.observabilityRestored() == ["permit?"])
        #expect(subject.grantPermit() == ["order 1.1#1 provision"])
        var second = Subject.awaitingCheckin()
        _ = second.passToDue()
        #expect(second.observabilityRestored() == ["permit?"])
        #expect(second.grantPermit() == ["order 1.2#2 retrigger"])
    }

    @Test(arguments: [("1m", 540_000), ("9m", 90_000), ("30m", 90_000)])
    func anOnlineAgentGetsAtLeastOneIntervalAndOneDeadline(silence: String, due: Int64) {
        var subject = Subject.online()
        subject.pass(silence)
        #expect(subject.observabilityRestored() == [])
        #expect(subject.dueIn == due)
        #expect(subject.record.status == .online)
    }

    /// It may have come back meanwhile, and beats again an interval later.
    @Test(arguments: [("10s", "5s", 90_000), ("3m", "5s", 180_000), ("3m", "20m", 90_000)])
    func whoWasLostGetsAtLeastOneIntervalAndOneDeadline(grace: String, outage: String, due: Int64) {
        var subject = Subject.online([.lostGrace: grace])
        subject.pass("1s")
        _ = subject.heartbeat(.lost)
        subject.pass(outage)
        #expect(subject.observabilityRestored() == [])
        #expect(subject.dueIn == due)
    }

    @Test func suspensionTwiceInARowRepeatsOnce() {
        var subject = Subject.awaitingCheckin()
        _ = subject.observabilityRestored()
        #expect(subject.observabilityRestored() == ["permit?"])
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
        #expect(subject.grantPermit() == [])
    }

    @Test func offlineAndPausedAgentsAreLeftAlone() {
        var offline = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = offline.passToDue()
        #expect(offline.observabilityRestored() == [])
        var paused = Subject.awaitingCheckin()
        _ = paused.pause()
        #expect(paused.observabilityRestored() == [])
        #expect(paused.dueIn == nil)
    }

    @Test func attemptsGoOnAfterwards() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "2"])
        for _ in 0..<5 {
            _ = subject.observabilityRestored()
            _ = subject.grantPermit()
            _ = subject.woken()
        }
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.passToDue() == ["offline (checkin_missed)"])
        #expect(Set(subject.orders.map(\.attempt)) == [1, 2])
    }

    // MARK: Restored

    @Test func aHeartbeatCountsThoughTheSuccessorsClockIsBehind() {
        var subject = Subject.awaitingCheckin()
        subject.wallTime = subject.wallTime - .seconds(60)
        subject.restore(away: "1s")
        _ = subject.observabilityRestored()
        #expect(subject.heartbeat().last == "online (checked_in)")
    }

    @Test func aSuccessorRepeatsTheCommittedOrder() throws {
        var subject = Subject.awaitingCheckin()
        let first = try #require(subject.orders.last)
        subject.restore(away: "10m")
        #expect(subject.dueIn == nil)
        #expect(subject.observabilityRestored() == ["settle", "changed (own_outage)", "permit?"])
        _ = subject.grantPermit()
        var expected = first
        expected.publication = 2
        #expect(subject.orders.last == expected)
        _ = subject.woken()
        #expect(subject.dueIn == 30_000)
    }

    @Test func aSuccessorShowsNoDeadlineThatNobodyWillJudge() {
        var subject = Subject.awaitingCheckin()
        subject.restore(away: "10m")
        #expect(subject.expired() == ["settle", "permit?"], "another copy of the order was too old")
        #expect(subject.observabilityRestored() == ["changed (own_outage)", "permit?"])
        #expect(subject.record.checkinDeadlineAt == nil)
    }

    @Test func aSuccessorOrdersTheFirstWakeOfACycleThatHadNone() {
        var subject = Subject()
        _ = subject.provision()
        subject.restore()
        #expect(subject.observabilityRestored() == ["permit?"])
        #expect(subject.grantPermit() == ["order 1.1#1 provision"])
    }

    @Test func aSuccessorCountsTheCheckInOfItsPredecessorsWake() {
        var subject = Subject.awaitingCheckin()
        subject.restore(away: "1s")
        #expect(subject.heartbeat() == ["settle", "online (checked_in)"])
    }

    @Test func aSuccessorTakesNoHeartbeatFromBeforeTheOrderForACheckIn() {
        var subject = Subject.online()
        _ = subject.wake()
        subject.pass("10s")
        _ = subject.grantPermit()
        subject.restore(away: "10s")
        #expect(subject.heartbeat(age: "11s") == ["seen"])
        #expect(subject.heartbeat(age: "9s").last == "online (checked_in)")
    }

    /// The owners are programs of one machine, whose wall clock was set back or forward meanwhile.
    @Test(arguments: [-7 * 3_600, 7 * 3_600])
    func onTheSameMachineTheWallClockSaysNothingOfTheOrder(step: Int64) {
        var subject = Subject.online()
        _ = subject.wake()
        subject.pass("10s")
        _ = subject.grantPermit()
        subject.wallTime = subject.wallTime + .seconds(step)
        subject.restore(away: "10s", onSameMachine: true)
        #expect(subject.heartbeat(age: "11s") == ["seen"])
        #expect(subject.heartbeat(age: "9s").last == "online (checked_in)")
    }

    @Test func anOnlineAgentIsTakenOverWithAGrace() {
        var subject = Subject.online()
        subject.restore(away: "30m")
        _ = subject.observabilityRestored()
        #expect(subject.record.status == .online)
        #expect(subject.dueIn == 90_000)
        subject.pass("30s")
        _ = subject.heartbeat()
        #expect(subject.dueIn == 600_000)
    }

    @Test func anOfflineAgentIsTakenOverAsItIs() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        let record = subject.record
        subject.restore(away: "1h")
        #expect(subject.observabilityRestored() == [])
        #expect(subject.record == record)
        #expect(subject.dueIn == nil)
    }

    @Test func theCapOfExtensionsSurvives() {
        var subject = Subject.awaitingCheckin([.startupExtensionMax: "1m"])
        _ = subject.heartbeat(.starting, extend: "90s")
        subject.restore()
        _ = subject.observabilityRestored()
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat(.starting, extend: "90s") == ["seen"])
        #expect(subject.dueIn == 30_000)
    }
}
