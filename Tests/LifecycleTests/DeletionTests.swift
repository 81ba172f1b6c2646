import Lifecycle
import Model
import Testing

@Suite struct DeletionTests {
    @Test func anAgentWithoutAnOrderUnderWayIsGoneAtOnceAndItsNumbersStay() {
        var subject = Subject.online()
        #expect(subject.delete() == ["deleting", "deleted", "erase 1 r5"])
        #expect(subject.record.status == .deleting)
    }

    @Test func nothingElseHappensToItMeanwhile() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.delete()
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.delete() == [])
        #expect(subject.pause() == [])
        #expect(subject.grantPermit() == [])
        #expect(subject.observabilityRestored() == [])
        #expect(subject.hostReturned() == [])
        subject.pass("1s")
        #expect(subject.deadlinePassed() == [])
        #expect(subject.expired() == ["deleted", "erase 1 r3"])
    }

    @Test func aPausedAgentIsDeletedToo() {
        var subject = Subject.awaitingCheckin()
        _ = subject.pause(.gateway, until: subject.wallTime + .seconds(60))
        #expect(subject.delete() == ["deleting", "deleted", "erase 1 r5"])
        #expect(!subject.record.isPaused)
        #expect(subject.record.pausedUntil == nil)
    }

    @Test func aDeletionSurvivesARestart() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.delete()
        subject.restore(away: "1s")
        _ = subject.observabilityRestored()
        #expect(
            subject.dueIn == AgentMachine.orderDrainedAfter.milliseconds, "its order may be published by whoever has it"
        )
        #expect(subject.passToDue() == ["deleted", "erase 1 r3"])
    }
}
