import Lifecycle
import Model
import Testing

/// A pause is answered and an agent is gone only when no wake of it can be published any more.
@Suite struct DrainTests {
    @Test func aPauseWaitsForTheReportOfAnOrder() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        #expect(subject.pause() == ["settle", "paused (agent)"])
        #expect(!subject.isDrained)
        #expect(subject.woken() == ["woken (provision)"])
        #expect(subject.isDrained)
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.dueIn == nil)
    }

    @Test func aPauseWaitsNoLongerThanAnOrderLives() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.pause()
        #expect(subject.dueIn == AgentMachine.orderDrainedAfter.milliseconds)
        #expect(subject.passToDue() == [])
        #expect(subject.isDrained)
        #expect(subject.dueIn == nil)
    }

    @Test func aDeletionWaitsForTheReportOfAnOrder() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        #expect(subject.delete() == ["settle", "deleting"])
        #expect(subject.woken() == ["deleted", "erase 1 r3"])
        #expect(subject.logs == [.skippedDeleting])
    }

    @Test func aDeletionWaitsNoLongerThanAnOrderLives() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.delete()
        #expect(subject.dueIn == AgentMachine.orderDrainedAfter.milliseconds)
        #expect(subject.passToDue() == ["deleted", "erase 1 r3"])
    }

    /// What left an order under way whose report nobody waits for any more.
    enum Abandonment: CaseIterable, Sendable {
        case anotherCycle, checkedInBeforeTheReport, goodbye, suspension, resumed

        func apply(to subject: inout Subject) {
            switch self {
            case .anotherCycle: _ = subject.wake()
            case .checkedInBeforeTheReport: _ = subject.heartbeat()
            case .goodbye: _ = subject.heartbeat(.stopping)
            case .suspension: _ = subject.observabilityRestored()
            case .resumed:
                _ = subject.pause()
                _ = subject.resume()
            }
        }
    }

    @Test(arguments: Abandonment.allCases, [true, false])
    func anOrderThatWasGivenUpIsWaitedForToo(_ abandonment: Abandonment, isRestored: Bool) {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        abandonment.apply(to: &subject)
        if isRestored { subject.restore() }
        var deleted = subject

        _ = subject.pause()
        #expect(!subject.isDrained, "its wake may still be published")
        _ = subject.woken()
        #expect(subject.isDrained)

        _ = deleted.delete()
        #expect(deleted.record.status == .deleting)
        #expect(deleted.dueIn != nil)
        #expect(deleted.woken().first == "deleted")
    }

    @Test func aReportThatIsRepeatedWhilePausedChangesNothing() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.pause()
        _ = subject.woken()
        #expect(subject.woken() == [])
    }

    @Test func everyOrderUnderWayIsWaitedFor() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.pause()
        #expect(subject.woken(publication: 2) == ["woken (manual)"])
        #expect(!subject.isDrained)
        #expect(subject.woken(publication: 1) == [])
        #expect(subject.isDrained)
    }

    @Test func whatIsTooOldToBePublishedIsNotWaitedFor() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.heartbeat()
        subject.pass("10s")
        #expect(subject.delete().last == "erase 1 r4")
    }

    @Test func nobodyIsQuietWhileCommitsAreLate() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.delete()
        subject.pass("5s")
        subject.drainFloor = subject.now + AgentMachine.orderDrainedAfter
        #expect(subject.passToDue() == [], "the store may have published it until just now")
        #expect(subject.dueIn == 5_000)
        #expect(subject.passToDue() == ["deleted", "erase 1 r3"])
    }

    @Test func theStoreIsToldOfEveryOrderThatIsGivenUp() {
        for abandonment in Abandonment.allCases where abandonment != .resumed {
            var subject = Subject()
            _ = subject.provision()
            _ = subject.grantPermit()
            let lines: [String] =
                switch abandonment {
                case .anotherCycle: subject.wake()
                case .checkedInBeforeTheReport: subject.heartbeat()
                case .goodbye: subject.heartbeat(.stopping)
                case .suspension: subject.observabilityRestored()
                case .resumed: []
                }
            #expect(lines.contains("settle"), "\(abandonment)")
        }
    }
}
