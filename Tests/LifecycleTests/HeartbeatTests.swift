import Lifecycle
import Model
import Testing

/// What agents say, and what it changes.
@Suite struct HeartbeatTests {
    // MARK: Check-ins

    @Test func beforeTheFirstWakeWasOrderedItOnlyCountsAsSeen() {
        var subject = Subject.online()
        _ = subject.wake()
        subject.pass("1s")
        #expect(subject.heartbeat() == ["seen"])
        #expect(subject.record.status == .updating)
        #expect(subject.record.lastSeenAt == subject.wallTime)
        _ = subject.grantPermit()
        #expect(subject.heartbeat(age: "1s") == ["seen"], "received before the order")
        #expect(subject.heartbeat() == ["settle", "online (checked_in)"], "even before the report of its publication")
    }

    @Test(arguments: [HeartbeatStatus.ok, .degraded])
    func okAndDegradedCheckIn(status: HeartbeatStatus) {
        var subject = Subject.awaitingCheckin()
        #expect(subject.heartbeat(status) == ["online (checked_in)"])
        #expect(subject.record.reportedStatus == status)
    }

    @Test func theGenerationThatIsEchoedDecides() {
        var subject = Subject.awaitingCheckin()
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat(generation: 1) == ["changed (reported)"], "older")
        #expect(subject.heartbeat(generation: 1) == ["seen"])
        #expect(subject.record.status == .updating)
        #expect(subject.heartbeat(generation: 3) == ["heartbeat_rejected (malformed)"], "newer")
        #expect(subject.record.lastRejection?.reason == .malformed)
        #expect(subject.heartbeat(age: "5s", generation: 2) == ["online (checked_in)"], "current")
    }

    @Test func plainHeartbeatsOfAnOnlineAgentDoNotRaiseTheRevision() {
        var subject = Subject.online()
        let revision = subject.record.revision
        subject.pass("60s")
        #expect(subject.heartbeat() == ["seen"])
        #expect(subject.heartbeat(generation: 1) == ["seen"])
        #expect(subject.record.revision == revision)
        #expect(subject.record.lastSeenAt == subject.wallTime)
        #expect(subject.dueIn == 600_000)
    }

    @Test func theShortWayOfAPlainHeartbeatIsTheSame() {
        var short = Subject.online()
        short.pass("60s")
        var long = short
        #expect(long.heartbeat() == ["seen"])
        let isTaken = short.machine.noteHeartbeat(receivedAt: short.now, receivedWallTime: short.wallTime)
        #expect(isTaken)
        #expect(short.machine == long.machine)

        var waiting = Subject.awaitingCheckin()
        let before = waiting.machine
        let isTakenWhileWaiting = waiting.machine.noteHeartbeat(
            receivedAt: waiting.now, receivedWallTime: waiting.wallTime)
        #expect(!isTakenWhileWaiting)
        #expect(waiting.machine == before)
    }

    @Test func whatItReportsOfItselfIsAChange() {
        var subject = Subject.online()
        #expect(subject.heartbeat(.degraded) == ["changed (reported)"])
        #expect(subject.heartbeat(.degraded) == ["seen"])
        #expect(subject.heartbeat(.degraded, digest: "digest-0") == ["changed (reported)"])
        #expect(subject.record.hasStaleTemplates)
        #expect(subject.heartbeat(.ok, boot: "b-2") == ["changed (reported)"])
        #expect(subject.record.bootID == "b-2")
    }

    @Test func anEarlierHeartbeatThatComesLateTakesNothingBack() {
        var subject = Subject.online()
        subject.pass("10s")
        _ = subject.heartbeat(.degraded)
        let record = subject.record
        #expect(subject.heartbeat(.ok, age: "5s") == ["seen"])
        #expect(subject.record == record)
    }

    @Test func aHeartbeatFromAnOfflineAgentMakesItOnline() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        #expect(subject.heartbeat() == ["online (heartbeat)"])
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.record.lastProvisionError == nil)
    }

    // MARK: Starting

    @Test func startingIsNoCheckInAndMovesTheDeadline() {
        var subject = Subject.awaitingCheckin()
        subject.pass("20s")
        #expect(subject.heartbeat(.starting, extend: "60s") == ["changed (extended)"])
        #expect(subject.logs == [.deadlineDeferred(attempt: 1, delay: .seconds(50), .extended)])
        #expect(subject.record.status == .provisioning)
        #expect(subject.record.reportedStatus == .starting)
        #expect(subject.record.lastSeenAt == subject.wallTime)
        #expect(subject.record.checkinDeadlineAt == subject.wallTime + .seconds(60))
        #expect(subject.dueIn == 60_000)
    }

    @Test func withoutExtendItAsksForOneDeadline() {
        var subject = Subject.awaitingCheckin()
        subject.pass("20s")
        _ = subject.heartbeat(.starting)
        #expect(subject.record.checkinDeadlineAt == subject.wallTime + .seconds(30))
    }

    @Test func theLaterDeadlineCounts() {
        var subject = Subject.awaitingCheckin()
        let deadline = subject.record.checkinDeadlineAt
        #expect(subject.heartbeat(.starting, extend: "10s") == ["changed (reported)"])
        #expect(subject.record.checkinDeadlineAt == deadline)
        #expect(subject.heartbeat(.starting, extend: "10s") == ["seen"])
    }

    @Test func theExtensionsOfOneCycleAreCapped() {
        var subject = Subject.awaitingCheckin([.startupExtensionMax: "1m"])
        let deadline = subject.record.checkinDeadlineAt.map { $0 + .seconds(60) }
        #expect(subject.heartbeat(.starting, extend: "70s") == ["changed (extended)"])
        subject.pass("10s")
        #expect(subject.heartbeat(.starting, extend: "2h") == ["changed (extended)"])
        #expect(subject.record.checkinDeadlineAt == deadline)
        #expect(subject.heartbeat(.starting, extend: "2h") == ["seen"], "used up")
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat(.starting, extend: "2h") == ["seen"], "the cap is the cycle's")
        #expect(subject.dueIn == 30_000)
    }

    @Test func startingBeforeTheReportOfItsWakeIsNotForgotten() {
        var subject = Subject([.startupExtensionMax: "2m"])
        _ = subject.provision()
        _ = subject.grantPermit()
        subject.pass("1s")
        #expect(subject.heartbeat(.starting, extend: "2m") == ["changed (reported)"])
        #expect(subject.woken(age: "1s") == ["settle", "woken (provision)"])
        #expect(subject.record.checkinDeadlineAt == subject.wallTime + .seconds(120))
        #expect(subject.dueIn == 120_000)
        #expect(subject.heartbeat(.starting, extend: "2h") == ["changed (extended)"])
        #expect(subject.dueIn == 149_000, "29 s and the cap of 120 s")
    }

    @Test func startingBetweenTwoWakesCountsForTheNext() {
        var subject = Subject.awaitingCheckin()
        _ = subject.passToDue()
        _ = subject.heartbeat(.starting, extend: "1m")
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.dueIn == 60_000)
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.dueIn == 30_000, "another cycle begins anew")
    }

    @Test func startingOfAnOlderGenerationMovesNothing() {
        var subject = Subject.awaitingCheckin()
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat(.starting, generation: 1, extend: "2m") == ["changed (reported)"])
        #expect(subject.dueIn == 30_000)
    }

    @Test func startingOfAnOnlineAgentKeepsItOnline() {
        var subject = Subject.online()
        subject.pass("9m")
        #expect(subject.heartbeat(.starting) == ["changed (reported)"])
        #expect(subject.record.status == .online)
        #expect(subject.dueIn == 600_000)
    }

    // MARK: Goodbye

    @Test func stoppingEndsInOfflineWithoutAnError() {
        var subject = Subject.online(boot: "b-1")
        #expect(subject.heartbeat(.stopping, boot: "b-1") == ["offline (goodbye)"])
        #expect(subject.record.status == .offline)
        #expect(subject.record.lastProvisionError == nil)
        #expect(subject.record.reportedStatus == .stopping)
        #expect(subject.dueIn == nil)
        #expect(subject.heartbeat(.stopping, boot: "b-1") == ["seen"], "once")
    }

    @Test func stoppingWithoutABootCountsAndOfAnotherBootChangesNothing() {
        var subject = Subject.online(boot: "b-1")
        let machine = subject.machine
        #expect(subject.heartbeat(.stopping, boot: "b-0") == [])
        #expect(subject.heartbeat(.stopping, boot: "b-0", seq: 7) == [])
        #expect(subject.record == machine.record)
        #expect(subject.heartbeat(.stopping) == ["offline (goodbye)"])
    }

    @Test func stoppingOfAnOlderGenerationIsOnlySeen() {
        var subject = Subject.online()
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat(.stopping, generation: 1) == ["seen"])
        #expect(subject.record.status == .updating)
    }

    @Test func stoppingEndsACycleOnceItsWakeIsOrdered() {
        var subject = Subject.online()
        _ = subject.wake()
        #expect(subject.heartbeat(.stopping) == ["seen"], "received before the first wake was ordered")
        _ = subject.grantPermit()
        _ = subject.woken()
        subject.pass("1s")
        #expect(subject.heartbeat(.stopping) == ["offline (goodbye)"])
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.grantPermit() == [])
        #expect(subject.dueIn == nil)
    }

    @Test func aHeartbeatThatTheGoodbyeOvertookBringsNobodyBack() {
        var subject = Subject.online()
        subject.pass("10s")
        _ = subject.heartbeat(.stopping)
        #expect(subject.heartbeat(age: "1s") == ["seen"])
        #expect(subject.record.status == .offline)
        subject.pass("1s")
        #expect(subject.heartbeat() == ["online (heartbeat)"])
    }

    // MARK: Sequence

    @Test func lostAndRepeatedHeartbeatsAreCounted() {
        var subject = Subject.online(boot: "b-1")
        #expect(subject.heartbeat(boot: "b-1", seq: 5) == ["seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: 6) == ["seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: 9) == ["lost 2", "seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: 9) == ["repeated", "seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: 7) == ["repeated", "seen"])
        #expect(subject.heartbeat(boot: "b-2", seq: 1) == ["changed (reported)"], "a new boot counts anew")
        #expect(subject.heartbeat(boot: "b-2", seq: 2) == ["seen"])
    }

    @Test func aWillAndTheGoodbyeOfAnotherBootDoNotDisturbTheCount() {
        var subject = Subject.online(boot: "b-1")
        _ = subject.heartbeat(boot: "b-1", seq: 50)
        _ = subject.heartbeat(.lost, boot: "b-0", seq: 1)
        _ = subject.heartbeat(.stopping, boot: "b-0", seq: 1)
        _ = subject.heartbeat(.lost, boot: "b-1", seq: 1)
        subject.pass("1s")
        #expect(subject.heartbeat(boot: "b-1", seq: 51) == ["seen"])
    }

    @Test func aJumpOfTheSequenceIsCounted() {
        var subject = Subject.online(boot: "b-1")
        #expect(subject.heartbeat(boot: "b-1", seq: -2) == ["seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: .max) == ["lost \(Int64.max - 1)", "seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: .max) == ["repeated", "seen"])
        #expect(subject.heartbeat(boot: "b-1", seq: .min) == ["repeated", "seen"])
    }
}
