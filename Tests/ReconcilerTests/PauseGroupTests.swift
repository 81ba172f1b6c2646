import API
import Lifecycle
import Model
import ReconcilerCore
import Testing

/// Pause and resume of an agent, of a gateway, of a board.
@Suite struct PauseGroupTests {
    private static let agent = AgentAddress("gw/a")!

    @Test func aQuietAgentIsPausedAtOnce() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.ask(.pause(.agent(PauseGroupTests.agent), until: nil)) == ["gw/a paused (agent)", "q3: paused 1"])
        #expect(subject.ask(.resume(.agent(PauseGroupTests.agent))) == ["gw/a resumed (agent)", "q4: paused 1"])
        #expect(subject.ask(.resume(.agent(PauseGroupTests.agent))) == ["q5: paused 0"])
    }

    @Test func theAnswerWaitsForEveryOrderUnderWay() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.provision("gw/b")
        #expect(
            subject.ask(.pause(.gateway("gw"), until: nil)) == [
                "gw is never", "gw/a settle", "gw/a paused (gateway)", "gw/b settle", "gw/b paused (gateway)",
            ])
        #expect(subject.woken("gw/a") == ["gw/a woken (provision)"])
        #expect(subject.woken("gw/b") == ["gw/b woken (provision)", "q4: paused 2"])
    }

    @Test func theAnswerComesWhenNoOrderCanBePublishedAnyMore() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        #expect(subject.pass(AgentMachine.orderDrainedAfter.milliseconds - 1) == [])
        #expect(subject.pass(1) == ["q3: paused 1"])
    }

    @Test func aPauseThatIsOverIsAnsweredAtOnce() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        let lines = subject.ask(.resume(.agent(PauseGroupTests.agent)))
        #expect(lines.contains("q3: paused 1"), "a wake follows: there is nothing to wait for")
    }

    /// Nothing of it is a judgement of heartbeats.
    @Test func itComesWhileNothingCanBeSeenToo() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        _ = subject.handle(.observabilityLost)
        #expect(subject.owner.nextWork.map { $0 <= subject.now + AgentMachine.orderDrainedAfter } == true)
        #expect(subject.pass(AgentMachine.orderDrainedAfter.milliseconds) == ["q3: paused 1"])
    }

    @Test func aResumeRepeatsTheWake() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.woken("gw/a")
        _ = subject.ask(.pause(.agent(PauseGroupTests.agent), until: nil))
        #expect(
            subject.ask(.resume(.agent(PauseGroupTests.agent))) == [
                "gw/a resumed (agent)", "gw/a order 1.1#2", "q4: paused 1",
            ])
    }

    @Test func anEndInThePastIsRefused() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.ask(.pause(.agent(PauseGroupTests.agent), until: subject.wallTime)) == ["q3: invalid-request until"]
        )
        #expect(subject.record("gw/a")?.isPaused == false)
    }

    @Test func aPauseEndsAtItsTime() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.pause(.agent(PauseGroupTests.agent), until: subject.wallTime + .seconds(60)))
        #expect(subject.owner.nextWork.map { $0 <= subject.now + .seconds(60) } == true)
        #expect(subject.pass(60_000).first == "gw/a resumed (agent)")
    }

    // MARK: Those that come later

    @Test func anAgentThatIsAddedToAPausedGatewayIsPausedBeforeItsFirstWake() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.ask(.pause(.gateway("gw"), until: nil))
        #expect(
            subject.provision("gw/a") == [
                "gw/a credential token", "gw/a paused (gateway)", "gw/a provisioning (provision)",
                "q3: provisioning, minted",
            ])
        #expect(subject.orders.isEmpty)
        #expect(
            subject.ask(.resume(.gateway("gw"))) == [
                "gw is never", "gw/a resumed (gateway)", "gw/a order 1.1#1", "q4: paused 1",
            ])
    }

    @Test func anAgentThatJoinsAPausedBoardIsPausedBeforeItsWakeAndLeavesItWithTheBoard() {
        var subject = OwnerSubject.online(["a"])
        #expect(subject.ask(.pause(.board("b2"), until: nil)) == ["board b2 is paused", "q3: paused 0"])
        #expect(
            subject.update("gw/a", board: "b2") == ["gw/a paused (board)", "gw/a updating (update)", "q4: updating"])
        #expect(subject.orders.count == 1)
        #expect(
            subject.update("gw/a", board: "b1") == [
                "gw/a updating (update)", "gw/a resumed (board)", "gw/a order 3.1#2", "q5: updating",
            ])
        #expect(subject.record("gw/a")?.isPaused == false)
        #expect(subject.provision("gw/b", board: "b2").contains("gw/b paused (board)"))
        #expect(subject.record("gw/b")?.pausedBy == [.board])
    }

    @Test func withoutAWakeItFollowsItsBoardToo() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.pause(.board("b2"), until: nil))
        _ = subject.update("gw/a", board: "b2", wake: false)
        #expect(subject.record("gw/a")?.pausedBy == [.board])
        _ = subject.update("gw/a", board: "b1", wake: false)
        #expect(subject.record("gw/a")?.isPaused == false)
        #expect(subject.record("gw/a")?.status == .online)
    }

    @Test func aPauseThatIsOverPausesNobody() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.ask(.pause(.gateway("gw"), until: subject.wallTime + .seconds(1)))
        _ = subject.ask(.pause(.board("b1"), until: subject.wallTime + .seconds(1)))
        _ = subject.pass(1_000)
        _ = subject.provision("gw/a")
        #expect(subject.record("gw/a")?.isPaused == false)
        #expect(subject.orders.count == 1)
    }

    @Test func aBoardPausesOnlyItsOwn() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.provision("gw/b", board: "b2", wake: false)
        #expect(
            subject.ask(.pause(.board("b1"), until: nil)) == [
                "board b1 is paused", "gw/a paused (board)", "q4: paused 1",
            ])
        #expect(
            subject.ask(.pause(.gateway("gw"), until: nil)) == [
                "gw is never", "gw/a paused (gateway)", "gw/b paused (gateway)", "q5: paused 2",
            ])
        #expect(
            subject.ask(.resume(.board("b1"))) == ["board b1 is resumed", "gw/a resumed (board)", "q6: paused 1"])
        #expect(subject.record("gw/a")?.pausedBy == [.gateway])
    }

    @Test func pausesSurviveTheirOwner() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.pause(.gateway("gw"), until: nil))
        _ = subject.ask(.pause(.board("b9"), until: nil))
        _ = subject.replaceOwner()
        _ = subject.handle(.observabilityRestored)
        #expect(subject.record("gw/a")?.pausedBy == [.gateway])
        _ = subject.provision("gw/b", board: "b9")
        #expect(subject.record("gw/b")?.pausedBy == [.gateway, .board])
    }
}
