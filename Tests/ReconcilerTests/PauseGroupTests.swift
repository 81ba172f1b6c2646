import Contract
import Lifecycle
import ReconcilerCore
import Testing

/// Pause and resume of an agent, of a gateway, of a board.
@Suite struct PauseGroupTests {
    private static let agent = AgentAddress("gw/a")!

    @Test func aQuietAgentIsPausedAtOnce() {
        var desk = Desk.online(["a"])
        #expect(desk.ask(.pause(.agent(PauseGroupTests.agent), until: nil)) == ["gw/a paused (agent)", "q3: paused 1"])
        #expect(desk.ask(.resume(.agent(PauseGroupTests.agent))) == ["gw/a resumed (agent)", "q4: paused 1"])
        #expect(desk.ask(.resume(.agent(PauseGroupTests.agent))) == ["q5: paused 0"])
    }

    @Test func theAnswerWaitsForEveryOrderUnderWay() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.provision("gw/b")
        #expect(
            desk.ask(.pause(.gateway("gw"), until: nil)) == [
                "gw is never", "gw/a settle", "gw/a paused (gateway)", "gw/b settle", "gw/b paused (gateway)",
            ])
        #expect(desk.woken("gw/a") == ["gw/a woken (provision)"])
        #expect(desk.woken("gw/b") == ["gw/b woken (provision)", "q4: paused 2"])
    }

    @Test func theAnswerComesWhenNoOrderCanBePublishedAnyMore() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        #expect(desk.pass(AgentMachine.orderQuietAfter.milliseconds - 1) == [])
        #expect(desk.pass(1) == ["q3: paused 1"])
    }

    @Test func aPauseThatIsOverIsAnsweredAtOnce() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        let lines = desk.ask(.resume(.agent(PauseGroupTests.agent)))
        #expect(lines.contains("q3: paused 1"), "a wake follows: there is nothing to wait for")
    }

    /// Nothing of it is a judgement of heartbeats.
    @Test func itComesWhileNothingCanBeSeenToo() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        _ = desk.handle(.sightLost)
        #expect(desk.owner.nextWork.map { $0 <= desk.now + AgentMachine.orderQuietAfter } == true)
        #expect(desk.pass(AgentMachine.orderQuietAfter.milliseconds) == ["q3: paused 1"])
    }

    @Test func aResumeRepeatsTheWake() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.woken("gw/a")
        _ = desk.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        #expect(
            desk.ask(.resume(.agent(PauseGroupTests.agent))) == [
                "gw/a resumed (agent)", "gw/a order 1.1#2", "q4: paused 1",
            ])
    }

    @Test func anEndInThePastIsRefused() {
        var desk = Desk.online(["a"])
        #expect(
            desk.ask(.pause(.agent(PauseGroupTests.agent), until: desk.stamp)) == ["q3: invalid-request until"])
        #expect(desk.record("gw/a")?.isPaused == false)
    }

    @Test func aPauseEndsAtItsTime() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.pause(.agent(PauseGroupTests.agent), until: desk.stamp + .seconds(60)))
        #expect(desk.owner.nextWork.map { $0 <= desk.now + .seconds(60) } == true)
        #expect(desk.pass(60_000).first == "gw/a resumed (agent)")
    }

    // MARK: Those that come later

    @Test func anAgentThatIsAddedToAPausedGatewayIsPausedBeforeItsFirstWake() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.ask(.pause(.gateway("gw"), until: nil))
        #expect(
            desk.provision("gw/a") == [
                "gw/a credential token", "gw/a paused (gateway)", "gw/a provisioning (provision)",
                "q3: provisioning, minted",
            ])
        #expect(desk.orders.isEmpty)
        #expect(
            desk.ask(.resume(.gateway("gw"))) == [
                "gw is never", "gw/a resumed (gateway)", "gw/a order 1.1#1", "q4: paused 1",
            ])
    }

    @Test func anAgentThatJoinsAPausedBoardIsPausedBeforeItsWakeAndLeavesItWithTheBoard() {
        var desk = Desk.online(["a"])
        #expect(desk.ask(.pause(.board("b2"), until: nil)) == ["board b2 is paused", "q3: paused 0"])
        #expect(desk.update("gw/a", board: "b2") == ["gw/a paused (board)", "gw/a updating (update)", "q4: updating"])
        #expect(desk.orders.count == 1)
        #expect(
            desk.update("gw/a", board: "b1") == [
                "gw/a updating (update)", "gw/a resumed (board)", "gw/a order 3.1#2", "q5: updating",
            ])
        #expect(desk.record("gw/a")?.isPaused == false)
        #expect(desk.provision("gw/b", board: "b2").contains("gw/b paused (board)"))
        #expect(desk.record("gw/b")?.pausedBy == [.board])
    }

    @Test func withoutAWakeItFollowsItsBoardToo() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.pause(.board("b2"), until: nil))
        _ = desk.update("gw/a", board: "b2", wake: false)
        #expect(desk.record("gw/a")?.pausedBy == [.board])
        _ = desk.update("gw/a", board: "b1", wake: false)
        #expect(desk.record("gw/a")?.isPaused == false)
        #expect(desk.record("gw/a")?.status == .online)
    }

    @Test func aPauseThatIsOverPausesNobody() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.ask(.pause(.gateway("gw"), until: desk.stamp + .seconds(1)))
        _ = desk.ask(.pause(.board("b1"), until: desk.stamp + .seconds(1)))
        _ = desk.pass(1_000)
        _ = desk.provision("gw/a")
        #expect(desk.record("gw/a")?.isPaused == false)
        #expect(desk.orders.count == 1)
    }

    @Test func aBoardPausesOnlyItsOwn() {
        var desk = Desk.online(["a"])
        _ = desk.provision("gw/b", board: "b2", wake: false)
        #expect(
            desk.ask(.pause(.board("b1"), until: nil)) == [
                "board b1 is paused", "gw/a paused (board)", "q4: paused 1",
            ])
        #expect(
            desk.ask(.pause(.gateway("gw"), until: nil)) == [
                "gw is never", "gw/a paused (gateway)", "gw/b paused (gateway)", "q5: paused 2",
            ])
        #expect(
            desk.ask(.resume(.board("b1"))) == ["board b1 is resumed", "gw/a resumed (board)", "q6: paused 1"])
        #expect(desk.record("gw/a")?.pausedBy == [.gateway])
    }

    @Test func pausesSurviveTheirOwner() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.pause(.gateway("gw"), until: nil))
        _ = desk.ask(.pause(.board("b9"), until: nil))
        _ = desk.replaceOwner()
        _ = desk.handle(.sightRegained)
        #expect(desk.record("gw/a")?.pausedBy == [.gateway])
        _ = desk.provision("gw/b", board: "b9")
        #expect(desk.record("gw/b")?.pausedBy == [.gateway, .board])
    }
}
