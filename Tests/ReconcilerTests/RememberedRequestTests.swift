import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// A request is executed once, whatever wall clocks say: they may differ between machines, and be stepped.
@Suite struct RememberedRequestTests {
    private static let agent = AgentAddress("gw/a")!

    /// The first owner died after its commit and before its receipt: the request comes to its successor again.
    @Test(arguments: [-3_600, -601, 601, 3_600, 90_000] as [Int64])
    func aSuccessorWithAnotherWallClockDoesNotExecuteItAgain(seconds: Int64) {
        var desk = Desk.online(["a"])
        #expect(desk.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false).count == 3)
        desk.stamp = desk.stamp + .seconds(seconds)
        _ = desk.replaceOwner()
        #expect(desk.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false) == ["w: as before"])
        _ = desk.pass(500_000)
        #expect(desk.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: false).last == "w: as before")
    }

    @Test(arguments: [true, false])
    func aStepOfTheWallClockForgetsNothing(isKeyed: Bool) {
        var desk = Desk.online(["a"])
        #expect(desk.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: isKeyed).count == 3)
        desk.stamp = desk.stamp + .seconds(90_000)
        _ = desk.pass(100_000)
        #expect(desk.ask(.wake(RememberedRequestTests.agent), id: "w", keyed: isKeyed).last == "w: as before")
    }

    @Test(arguments: [true, false])
    func afterItsTimeItIsForgotten(isKeyed: Bool) {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.replaceOwner()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), id: "p", keyed: isKeyed)
        #expect(desk.owner.requests["p"] != nil)
        desk.now = desk.now + .seconds(isKeyed ? 86_399 : 599)
        _ = desk.handle(.timePassed)
        #expect(desk.owner.requests["p"] != nil)
        desk.now = desk.now + .seconds(120)
        _ = desk.handle(.timePassed)
        #expect(desk.owner.requests["p"] == nil)
    }
}
