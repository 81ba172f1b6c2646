import API
import Model
import Testing

@testable import ReconcilerCore

/// A request is executed once, whatever wall clocks say: they may differ between machines, and be stepped.
@Suite struct RememberedRequestTests {
    private static let agent = AgentAddress("gw/a")!

    /// The first owner died after its commit and before its acknowledgement: the request comes to its successor again.
    @Test(arguments: [-3_600, -601, 601, 3_600, 90_000] as [Int64])
    func aSuccessorWithAnotherWallClockDoesNotExecuteItAgain(seconds: Int64) {
        var subject = OwnerSubject.online(["a"])
        #expect(subject.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false).count == 3)
        subject.wallTime = subject.wallTime + .seconds(seconds)
        _ = subject.replaceOwner()
        #expect(subject.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false) == ["w: as before"])
        _ = subject.pass(500_000)
        #expect(subject.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false).last == "w: as before")
    }

    @Test(arguments: [true, false])
    func aStepOfTheWallClockForgetsNothing(isKeyed: Bool) {
        var subject = OwnerSubject.online(["a"])
        #expect(subject.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: isKeyed).count == 3)
        subject.wallTime = subject.wallTime + .seconds(90_000)
        _ = subject.pass(100_000)
        #expect(subject.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: isKeyed).last == "w: as before")
    }

    @Test(arguments: [true, false])
    func afterItsTimeItIsForgotten(isKeyed: Bool) {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.replaceOwner()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), id: "p", keyed: isKeyed)
        #expect(subject.owner.requests.executed("p", subject.now) != nil)
        subject.now = subject.now + .seconds(isKeyed ? 86_399 : 599)
        _ = subject.handle(.timePassed)
        #expect(subject.owner.requests.executed("p", subject.now) != nil)
        subject.now = subject.now + .seconds(120)
        _ = subject.handle(.timePassed)
        #expect(subject.owner.requests.executed("p", subject.now) == nil)
    }
}
