import Lifecycle
import Model
import Testing

/// An online agent that falls silent, and one whose connection broke.
@Suite struct LapseTests {
    @Test func silenceStartsARecoverCycle() {
        var subject = Subject.online()
        #expect(subject.dueIn == 600_000)
        #expect(subject.passToDue() == ["lapsed (silent)", "updating (recover)", "permit?"])
        #expect(subject.record.status == .updating)
        #expect(subject.record.generation == 2)
    }

    @Test func orEndsInOfflineAtOnce() {
        var subject = Subject.online([.onLapse: "offline"])
        #expect(subject.passToDue() == ["lapsed (silent)", "offline (lapsed)"])
        #expect(subject.record.status == .offline)
        #expect(subject.record.generation == 1)
        #expect(subject.record.lastProvisionError == nil)
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.dueIn == nil)
        subject.pass("1s")
        #expect(subject.heartbeat() == ["online (heartbeat)"])
    }

    @Test func aHeartbeatMovesIt() {
        var subject = Subject.online()
        subject.pass(milliseconds: 599_999)
        _ = subject.heartbeat()
        subject.pass(milliseconds: 599_999)
        #expect(subject.deadlinePassed() == [])
        subject.pass(milliseconds: 1)
        #expect(subject.deadlinePassed().first == "lapsed (silent)")
    }

    @Test func theReturnOfItsGatewayRecoversAnAgentThatLapsedBehindIt() {
        var subject = Subject.online([.onLapse: "offline"])
        subject.isGatewayLost = true
        _ = subject.passToDue()
        subject.isGatewayLost = false
        #expect(subject.hostReturned() == ["updating (recover)", "permit?"])
    }

    @Test func aNewPolicyHoldsAtOnce() {
        var subject = Subject.online()
        _ = subject.apply { machine, context, directives in
            machine.change { $0.record.policy.offlineAfter = DurationText(1, .minutes) }
            machine.noteChange("updated", context, into: &directives)
        }
        #expect(subject.dueIn == 60_000)
    }

    // MARK: Last Will

    @Test func afterItsWillItHasAGraceToComeBack() {
        var subject = Subject.online(boot: "b-1")
        subject.pass("1s")
        #expect(subject.heartbeat(.lost, boot: "b-1") == [])
        #expect(subject.dueIn == 10_000)
        #expect(subject.record.status == .online)
        #expect(
            subject.record.lastSeenAt == subject.wallTime - .seconds(1), "the broker speaks for it: no sign of life")
        #expect(subject.passToDue() == ["lapsed (lost)", "updating (recover)", "permit?"])
    }

    @Test func withOnLapseOfflineTheGraceEndsThere() {
        var subject = Subject.online([.onLapse: "offline", .lostGrace: "2s"])
        subject.pass("1s")
        _ = subject.heartbeat(.lost)
        #expect(subject.dueIn == 2_000)
        #expect(subject.passToDue() == ["lapsed (lost)", "offline (lapsed)"])
    }

    @Test(arguments: [HeartbeatStatus.ok, .degraded, .starting])
    func aSignOfLifeEndsTheGrace(status: HeartbeatStatus) {
        var subject = Subject.online()
        subject.pass("1s")
        _ = subject.heartbeat(.lost)
        subject.pass("5s")
        _ = subject.heartbeat(status)
        #expect(subject.phase == .online)
        #expect(subject.dueIn == 600_000)
    }

    @Test func theShortWayIsNotTakenWhileItIsLost() {
        var subject = Subject.online()
        subject.pass("1s")
        _ = subject.heartbeat(.lost)
        let isTaken = subject.machine.noteHeartbeat(receivedAt: subject.now, receivedWallTime: subject.wallTime)
        #expect(!isTaken)
    }

    @Test func aHeartbeatFromBeforeTheWillDoesNotEndTheGrace() {
        var subject = Subject.online()
        subject.pass("5s")
        _ = subject.heartbeat(.lost)
        _ = subject.heartbeat(age: "1s")
        #expect(subject.dueIn == 10_000)
    }

    @Test func theWillOfAnEarlierBootChangesNothing() {
        var subject = Subject.online(boot: "b-1")
        _ = subject.heartbeat(boot: "b-2")
        subject.pass("1s")
        let machine = subject.machine
        #expect(subject.heartbeat(.lost, boot: "b-1") == [])
        #expect(subject.phase == machine.phase)
        #expect(subject.record == machine.record)
    }

    @Test func aWillThatWasOvertakenByAHeartbeatChangesNothing() {
        var subject = Subject.online()
        subject.pass("5s")
        _ = subject.heartbeat()
        #expect(subject.heartbeat(.lost, age: "2s") == [])
        #expect(subject.phase == .online)
    }

    @Test func theWillOfAnAgentThatIsNotOnlineChangesNothing() {
        var subject = Subject.awaitingCheckin()
        #expect(subject.heartbeat(.lost) == [])
        #expect(subject.dueIn == 30_000)
        var offline = Subject()
        #expect(offline.heartbeat(.lost) == [])
        #expect(offline.record.status == .offline)
    }

    @Test func aLongGraceDoesNotOutlastTheSilenceThatIsAllowed() {
        var subject = Subject.online([.lostGrace: "1h"])
        subject.pass("1m")
        _ = subject.heartbeat(.lost)
        #expect(subject.dueIn == 540_000, "10 minutes of silence are a lapse with a Last Will too")
        #expect(subject.passToDue().first?.hasPrefix("lapsed") == true)
    }

    @Test func aGoodbyeAfterTheWillIsAGoodbye() {
        var subject = Subject.online()
        subject.pass("1s")
        _ = subject.heartbeat(.lost)
        #expect(subject.heartbeat(.stopping) == ["offline (goodbye)"])
        #expect(subject.dueIn == nil)
    }
}
