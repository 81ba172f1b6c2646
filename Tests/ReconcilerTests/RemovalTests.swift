import API
import Lifecycle
import Model
import ReconcilerCore
import Testing
import Wire

/// Agents and gateways that go, and what stays of them.
@Suite struct RemovalTests {
    private static let agent = AgentAddress("gw/a")!

    @Test func anAgentIsGoneWhenItsDeletionIsAnswered() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.ask(.delete(RemovalTests.agent)) == [
                "gw/a deleting", "gw/a deleted", "gw/a tombstone 1 r5", "gw/a credential removed", "q3: deleting",
            ])
        #expect(subject.record("gw/a") == nil)
        #expect(subject.owner.agentCount == 0)
        #expect(subject.ask(.wake(RemovalTests.agent)) == ["q4: unknown-agent agent"])
    }

    @Test func theAnswerWaitsForTheOrderThatIsUnderWay() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        #expect(subject.ask(.delete(RemovalTests.agent), id: "k") == ["gw/a settle", "gw/a deleting"])
        #expect(subject.ask(.wake(RemovalTests.agent)) == ["q4: conflict agent"])
        #expect(subject.ask(.delete(RemovalTests.agent), id: "other") == ["other: conflict agent"])
        #expect(subject.ask(.delete(RemovalTests.agent), id: "k") == [], "it is being executed: one answer for both")
        #expect(
            subject.woken("gw/a") == [
                "gw/a deleted", "gw/a tombstone 1 r3", "gw/a credential removed", "k: deleting",
            ])
        #expect(subject.ask(.delete(RemovalTests.agent), id: "k") == ["k: as before"])
    }

    @Test func anotherRequestUnderTheKeyOfOneThatWaitsIsAConflict() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.delete(RemovalTests.agent), id: "k")
        #expect(subject.ask(.wake(RemovalTests.agent), id: "k") == ["k: conflict "])
        #expect(subject.woken("gw/a").last == "k: deleting")
    }

    @Test func aDeletionThatOutlivedItsOwnerIsAnsweredByTheNext() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.delete(RemovalTests.agent), id: "k")
        _ = subject.replaceOwner()
        _ = subject.handle(.observabilityRestored)
        #expect(subject.ask(.delete(RemovalTests.agent), id: "k") == [], "sent again, it waits as the first did")
        #expect(
            subject.pass(AgentMachine.orderDrainedAfter.milliseconds) == [
                "gw/a deleted", "gw/a tombstone 1 r3", "gw/a credential removed", "k: deleting",
            ])
    }

    @Test func anAgentThatIsBeingDeletedGetsNoTokenAgain() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a", id: "k", token: "t1")
        _ = subject.ask(.delete(RemovalTests.agent))
        #expect(subject.provision("gw/a", id: "k", token: "t2") == ["k: as before"])
    }

    @Test func rejectionsArePublishedOnceASecondWhetherTheAgentIsThereOrNot() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.delete(RemovalTests.agent))
        #expect(subject.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (deleting)"])
        _ = subject.woken("gw/a")
        #expect(subject.beat("gw", ["a"]) == [], "the agent is gone, the second is not over")
        _ = subject.pass(1_000)
        #expect(subject.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (unknown_agent)"])
        _ = subject.provision("gw/a")
        _ = subject.ask(.delete(RemovalTests.agent))
        #expect(subject.beat("gw", ["a"]) == [], "it is known again, the second is not over")
    }

    @Test func whatIsForgottenEveryMinuteIsNotTheLastSecond() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.pass(60_000)
        _ = subject.pass(59_500)
        #expect(subject.beat("gw", ["x"]) == ["gw/x heartbeat_rejected (unknown_agent)"])
        _ = subject.pass(600)
        #expect(subject.beat("gw", ["x"]) == [])
    }

    @Test func numbersGoOnAfterADeletion() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.delete(RemovalTests.agent))
        #expect(subject.provision("gw/a", wake: false).contains("gw/a changed (provisioned)"))
        #expect(subject.record("gw/a")?.generation == 1)
        #expect(subject.record("gw/a")?.revision == 6)
        _ = subject.ask(.wake(RemovalTests.agent))
        #expect(subject.record("gw/a")?.generation == 2)
    }

    @Test func aReportOfAnAgentBeforeItSettlesNothing() throws {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        let first = try #require(subject.orders.last)
        _ = subject.ask(.delete(RemovalTests.agent))
        _ = subject.pass(AgentMachine.orderDrainedAfter.milliseconds)
        _ = subject.provision("gw/a")
        let second = try #require(subject.orders.last)
        #expect(second.publication > first.publication, "issues never restart")
        #expect(subject.handle(.reportReceived(WakeReport(first, outcome: .expired, age: 0), frameAge: .zero)) == [])
    }

    @Test func numbersGoOnAcrossOwners() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.delete(RemovalTests.agent))
        _ = subject.replaceOwner()
        _ = subject.provision("gw/a")
        #expect(subject.record("gw/a")?.generation == 2)
        #expect(subject.record("gw/a")?.revision == 6)
    }

    @Test func heartbeatsOfADeletingAgentAreRejected() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.delete(RemovalTests.agent))
        #expect(subject.beat("gw", ["a"]) == ["gw/a heartbeat_rejected (deleting)"])
        var malformed = HeartbeatDetail(agent: RemovalTests.agent)
        malformed.rejected = .malformed
        _ = subject.pass(1_000)
        #expect(subject.beat(malformed) == ["gw/a heartbeat_rejected (deleting)"])
    }

    // MARK: Gateways

    @Test func aGatewayWithAgentsGoesOnlyByForce() {
        var subject = OwnerSubject.online(["a", "b"])
        #expect(subject.ask(.removeGateway("gw", force: false)) == ["q4: conflict force"])
        #expect(subject.owner.agentCount == 2)
        #expect(
            subject.ask(.removeGateway("gw", force: true)) == [
                "gw/a deleting", "gw/a deleted", "gw/a tombstone 1 r5", "gw/a credential removed", "gw/b deleting",
                "gw/b deleted", "gw/b tombstone 1 r5", "gw/b credential removed", "gw credential removed",
                "gw is removed", "q5: gw removed with 2",
            ])
        #expect(subject.provision("gw/a") == ["q6: unknown-gateway gateway"])
    }

    @Test func anEmptyGatewayGoesWithoutForce() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        #expect(
            subject.ask(.removeGateway("gw", force: false)) == [
                "gw credential removed", "gw is removed", "q2: gw removed with 0",
            ])
    }

    @Test func whileItLeavesNothingIsAddedToIt() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.ask(.removeGateway("gw", force: true))
        #expect(subject.provision("gw/b") == ["q4: conflict agent"])
        #expect(subject.addGateway() == ["q5: conflict gateway"])
        #expect(subject.ask(.removeGateway("gw", force: true)) == ["q6: conflict gateway"])
        #expect(subject.woken("gw/a").last == "q3: gw removed with 1")
    }
}
