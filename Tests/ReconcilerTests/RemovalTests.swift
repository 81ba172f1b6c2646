import Contract
import Lifecycle
import ReconcilerCore
import Testing

/// Agents and gateways that go, and what stays of them.
@Suite struct RemovalTests {
    private static let agent = AgentAddress("gw/a")!

    @Test func anAgentIsGoneWhenItsDeletionIsAnswered() {
        var desk = Desk.online(["a"])
        #expect(
            desk.ask(.delete(RemovalTests.agent)) == [
                "gw/a deleting", "gw/a deleted", "gw/a tombstone 1 r5", "gw/a credential removed", "q3: deleting",
            ])
        #expect(desk.record("gw/a") == nil)
        #expect(desk.owner.agentCount == 0)
        #expect(desk.ask(.wake(RemovalTests.agent)) == ["q4: unknown-agent agent"])
    }

    @Test func theAnswerWaitsForTheOrderThatIsUnderWay() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        #expect(desk.ask(.delete(RemovalTests.agent), id: "k") == ["gw/a settle", "gw/a deleting"])
        #expect(desk.ask(.wake(RemovalTests.agent)) == ["q4: conflict agent"])
        #expect(desk.ask(.delete(RemovalTests.agent), id: "other") == ["other: conflict agent"])
        #expect(desk.ask(.delete(RemovalTests.agent), id: "k") == [], "it is being executed: one answer for both")
        #expect(
            desk.woken("gw/a") == [
                "gw/a deleted", "gw/a tombstone 1 r3", "gw/a credential removed", "k: deleting",
            ])
        #expect(desk.ask(.delete(RemovalTests.agent), id: "k") == ["k: as before"])
    }

    @Test func anotherRequestUnderTheKeyOfOneThatWaitsIsAConflict() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.delete(RemovalTests.agent), id: "k")
        #expect(desk.ask(.wake(RemovalTests.agent), id: "k") == ["k: conflict "])
        #expect(desk.woken("gw/a").last == "k: deleting")
    }

    @Test func aDeletionThatOutlivedItsOwnerIsAnsweredByTheNext() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.delete(RemovalTests.agent), id: "k")
        _ = desk.replaceOwner()
        _ = desk.handle(.sightRegained)
        #expect(desk.ask(.delete(RemovalTests.agent), id: "k") == [], "sent again, it waits as the first did")
        #expect(
            desk.pass(AgentMachine.orderQuietAfter.milliseconds) == [
                "gw/a deleted", "gw/a tombstone 1 r3", "gw/a credential removed", "k: deleting",
            ])
    }

    @Test func anAgentThatIsBeingDeletedGetsNoTokenAgain() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a", id: "k", token: "t1")
        _ = desk.ask(.delete(RemovalTests.agent))
        #expect(desk.provision("gw/a", id: "k", token: "t2") == ["k: as before"])
    }

    @Test func rejectionsArePublishedOnceASecondWhetherTheAgentIsThereOrNot() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.delete(RemovalTests.agent))
        #expect(desk.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (deleting)"])
        _ = desk.woken("gw/a")
        #expect(desk.beat("gw", ["a"]) == [], "the agent is gone, the second is not over")
        _ = desk.pass(1_000)
        #expect(desk.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (unknown_agent)"])
        _ = desk.provision("gw/a")
        _ = desk.ask(.delete(RemovalTests.agent))
        #expect(desk.beat("gw", ["a"]) == [], "it is known again, the second is not over")
    }

    @Test func whatIsForgottenEveryMinuteIsNotTheLastSecond() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.pass(60_000)
        _ = desk.pass(59_500)
        #expect(desk.beat("gw", ["x"]) == ["gw/x heartbeat_rejected (unknown_agent)"])
        _ = desk.pass(600)
        #expect(desk.beat("gw", ["x"]) == [])
    }

    @Test func numbersGoOnAfterADeletion() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.delete(RemovalTests.agent))
        #expect(desk.provision("gw/a", wake: false).contains("gw/a changed (provisioned)"))
        #expect(desk.record("gw/a")?.generation == 1)
        #expect(desk.record("gw/a")?.revision == 6)
        _ = desk.ask(.wake(RemovalTests.agent))
        #expect(desk.record("gw/a")?.generation == 2)
    }

    @Test func aReportOfAnAgentBeforeItSettlesNothing() throws {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        let first = try #require(desk.orders.last)
        _ = desk.ask(.delete(RemovalTests.agent))
        _ = desk.pass(AgentMachine.orderQuietAfter.milliseconds)
        _ = desk.provision("gw/a")
        let second = try #require(desk.orders.last)
        #expect(second.issue > first.issue, "issues never restart")
        #expect(desk.handle(.reportReceived(WakeReport(first, outcome: .expired, age: 0), held: .zero)) == [])
    }

    @Test func numbersGoOnAcrossOwners() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.delete(RemovalTests.agent))
        _ = desk.replaceOwner()
        _ = desk.provision("gw/a")
        #expect(desk.record("gw/a")?.generation == 2)
        #expect(desk.record("gw/a")?.revision == 6)
    }

    @Test func heartbeatsOfADeletingAgentAreRejected() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.delete(RemovalTests.agent))
        #expect(desk.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (deleting)"])
        var malformed = HeartbeatDetail(agent: RemovalTests.agent)
        malformed.rejected = .malformed
        _ = desk.pass(1_000)
        #expect(desk.beat(malformed) == ["gw/a heartbeat_rejected (deleting)"])
    }

    // MARK: Gateways

    @Test func aGatewayWithAgentsGoesOnlyByForce() {
        var desk = Desk.online(["a", "b"])
        #expect(desk.ask(.removeGateway("gw", force: false)) == ["q4: conflict force"])
        #expect(desk.owner.agentCount == 2)
        #expect(
            desk.ask(.removeGateway("gw", force: true)) == [
                "gw/a deleting", "gw/a deleted", "gw/a tombstone 1 r5", "gw/a credential removed", "gw/b deleting",
                "gw/b deleted", "gw/b tombstone 1 r5", "gw/b credential removed", "gw credential removed",
                "gw is removed", "q5: gw removed with 2",
            ])
        #expect(desk.provision("gw/a") == ["q6: unknown-gateway gateway"])
    }

    @Test func anEmptyGatewayGoesWithoutForce() {
        var desk = Desk()
        _ = desk.addGateway()
        #expect(
            desk.ask(.removeGateway("gw", force: false)) == [
                "gw credential removed", "gw is removed", "q2: gw removed with 0",
            ])
    }

    @Test func whileItLeavesNothingIsAddedToIt() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.ask(.removeGateway("gw", force: true))
        #expect(desk.provision("gw/b") == ["q4: conflict agent"])
        #expect(desk.addGateway() == ["q5: conflict gateway"])
        #expect(desk.ask(.removeGateway("gw", force: true)) == ["q6: conflict gateway"])
        #expect(desk.woken("gw/a").last == "q3: gw removed with 1")
    }
}
