import API
import Lifecycle
import Model
import Testing

@testable import ReconcilerCore

/// The pace of a gateway's wakes, its connection, and its policy.
@Suite struct GatewayTests {
    private static func storm(_ count: Int, rate: String) -> OwnerSubject {
        var subject = OwnerSubject([.wakeRate: rate])
        _ = subject.addGateway()
        for number in 0..<count { _ = subject.provision("gw/a\(number)") }
        return subject
    }

    @Test func oneWakeIsNotDelayedAndAStormIsPaced() {
        var subject = GatewayTests.storm(200, rate: "50/s")
        #expect(subject.orders.count == 10, "a fifth of a second's wakes at once")
        let start = subject.now
        while subject.orders.count < 200, let due = subject.owner.nextWork {
            _ = subject.pass(max(1, (due.nanoseconds - subject.now.nanoseconds + 999_999) / 1_000_000))
            let elapsed = subject.now.milliseconds(since: start)
            #expect(Int64(subject.orders.count) <= 11 + elapsed / 20)
        }
        #expect(subject.orders.count == 200)
        #expect(subject.now.milliseconds(since: start) >= 3_800)
        #expect(subject.now.milliseconds(since: start) < 4_200)
        #expect(Set(subject.orders.map(\.agent)).count == 200)
    }

    /// The agent that waited is gone, and one of another gateway has its slot.
    @Test func aGatewaysPaceIsNobodyElses() {
        var subject = GatewayTests.storm(2, rate: "1/s")
        _ = subject.addGateway("other")
        _ = subject.ask(.delete(AgentAddress("gw/a1")!))
        _ = subject.pass(900)
        _ = subject.provision("other/b0")
        #expect(subject.provision("other/b1").allSatisfy { !$0.contains("order") })
        #expect(subject.pass(300) == [], "its own gateway's rate is used up")
        #expect(subject.pass(701) == ["other/b1 order 1.1#1"])
    }

    @Test func aDeadlineRunsFromTheWakesOwnPublication() {
        var subject = GatewayTests.storm(2, rate: "1/s")
        #expect(subject.orders.map(\.agent.agent) == ["a0"])
        _ = subject.woken("gw/a0")
        #expect(subject.pass(1_001) == ["gw/a1 order 1.1#1"])
        _ = subject.woken("gw/a1")
        #expect(subject.record("gw/a0")?.checkinDeadlineAt == subject.wallTime + TimeSpan(milliseconds: 28_999))
        #expect(subject.record("gw/a1")?.checkinDeadlineAt == subject.wallTime + .seconds(30))
    }

    @Test func withoutALimitAllGoAtOnce() {
        #expect(GatewayTests.storm(300, rate: "0").orders.count == 300)
    }

    @Test func gatewaysDoNotWaitForEachOther() {
        var subject = GatewayTests.storm(50, rate: "5/s")
        _ = subject.addGateway("other")
        #expect(subject.provision("other/a").contains("other/a order 1.1#1"))
    }

    @Test func whoeverNeedsItsTurnNoMoreUsesNoneUp() {
        var subject = GatewayTests.storm(50, rate: "5/s")
        for number in 1..<49 { _ = subject.ask(.delete(AgentAddress("gw/a\(number)")!)) }
        #expect(subject.orders.map(\.agent.agent) == ["a0"])
        #expect(subject.pass(201) == ["gw/a49 order 1.1#1"])
    }

    @Test func theEndOfSuspensionIsPacedToo() {
        var subject = OwnerSubject([.wakeRate: "50/s"])
        _ = subject.addGateway()
        for number in 0..<100 {
            _ = subject.provision("gw/a\(number)")
            _ = subject.pass(50)
            _ = subject.woken("gw/a\(number)")
        }
        _ = subject.handle(.observabilityLost)
        let lines = subject.handle(.observabilityRestored)
        #expect(lines.filter { $0.contains("order 1.1#2") }.count == 10)
        #expect(lines.filter { $0.hasSuffix("changed (own_outage)") }.count == 100)
    }

    // MARK: Connection

    @Test func itsConnectionIsToldOnceWithACount() {
        var subject = OwnerSubject.online(["a", "b"])
        #expect(
            subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [
                "gw gateway_connected 2", "gw is connected",
            ])
        #expect(subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [])
        _ = subject.pass(1_000)
        #expect(subject.handle(.gatewayStatusReceived(gateway: "gw", .lost)) == ["gw gateway_lost 2", "gw is lost"])
        _ = subject.pass(1_000)
        #expect(
            subject.handle(.gatewayStatusReceived(gateway: "gw", .stopped)) == [
                "gw gateway_stopped 2", "gw is stopped",
            ])
        #expect(subject.handle(.gatewayStatusReceived(gateway: "other", .lost)) == [])
    }

    @Test func itsReturnRecoversThoseThatWentOfflineBecauseOfIt() {
        var subject = OwnerSubject.online(["a", "b"], [.maxWakeAttempts: "1"])
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = subject.pass(1_000)
        _ = subject.beat("gw", ["a", "b"])
        _ = subject.ask(.wake(AgentAddress("gw/a")!))
        _ = subject.woken("gw/a")
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(subject.pass(30_100).contains("gw/a offline (checkin_missed)"))
        #expect(subject.record("gw/a")?.lastProvisionError?.hasSuffix(": gateway gw is lost") == true)
        #expect(
            subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [
                "gw gateway_connected 2", "gw is connected", "gw/a updating (recover)", "gw/a order 3.1#3",
            ])
        #expect(subject.record("gw/b")?.status == .online)
    }

    @Test func itsReturnIsNoticedByASuccessorToo() {
        var subject = OwnerSubject.online(["a"], [.maxWakeAttempts: "1"])
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        _ = subject.ask(.wake(AgentAddress("gw/a")!))
        _ = subject.woken("gw/a")
        _ = subject.pass(30_100)
        _ = subject.replaceOwner([.maxWakeAttempts: "1"])
        #expect(subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [], "blind: it waits")
        #expect(subject.handle(.observabilityRestored).contains("gw/a updating (recover)"))
    }

    @Test func whileSuspendedALostGatewayIsNotTakenForLost() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = subject.handle(.observabilityLost)
        #expect(subject.handle(.gatewayStatusReceived(gateway: "gw", .lost)) == [])
        #expect(subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [])
        #expect(subject.handle(.observabilityRestored) == [])
    }

    // MARK: Its incarnations

    private func status(_ state: GatewayStatusMessage.State, _ boot: String) -> PartitionEvent {
        .gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state, bootID: boot))
    }

    @Test func anotherIncarnationIsAReturnThoughNobodyHeardOfTheEndBefore() {
        var subject = OwnerSubject.online(["a", "b"])
        _ = subject.handle(status(.connected, "b1"))
        _ = subject.pass(1_000)
        _ = subject.beat("gw", ["a", "b"])
        _ = subject.ask(.wake(AgentAddress("gw/b")!))
        _ = subject.woken("gw/b")
        #expect(subject.handle(status(.connected, "b1")) == [])
        _ = subject.pass(1_000)
        #expect(
            subject.handle(status(.connected, "b2")) == [
                "gw gateway_connected 2", "gw is connected", "gw/b changed (host_returned)", "gw/b order 2.1#3",
            ])
        #expect(subject.pass(10_000).contains("gw/a lapsed (host_restarted)"))
        #expect(subject.record("gw/b")?.status == .updating)
    }

    @Test func theLateEndOfAnEarlierIncarnationChangesNothing() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(status(.connected, "b1"))
        _ = subject.handle(status(.connected, "b2"))
        _ = subject.pass(2_000)
        #expect(subject.handle(status(.lost, "b1")) == [])
        #expect(subject.gateways["gw"]?.connection == .connected)
        _ = subject.pass(1_000)
        #expect(subject.handle(status(.lost, "b2")) == ["gw gateway_lost 1", "gw is lost"])
    }

    /// It came and went while nobody here listened.
    @Test func theEndOfAnIncarnationThatNobodyHeardOfConfirmsNothing() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(status(.connected, "b1"))
        _ = subject.pass(2_000)
        _ = subject.handle(.observabilityLost)
        _ = subject.handle(.sessionBegan)
        _ = subject.handle(status(.lost, "b2"))
        _ = subject.handle(.observabilityRestored)
        #expect(subject.gateways["gw"]?.connection == .connected, "it may be the late end of one before")
        var refuted = subject
        #expect(subject.pass(10_000).contains("gw gateway_lost 1"))
        _ = refuted.handle(status(.connected, "b1"))
        #expect(!refuted.pass(10_000).contains("gw gateway_lost 1"))
    }

    @Test func whoWasHeardOfWhileItWasAwayIsThere() {
        var subject = OwnerSubject.online(["a", "b"])
        _ = subject.handle(status(.connected, "b1"))
        _ = subject.pass(1_000)
        _ = subject.beat("gw", ["a", "b"])
        _ = subject.handle(status(.lost, "b1"))
        _ = subject.pass(1_000)
        _ = subject.beat("gw", ["a"])
        _ = subject.handle(status(.connected, "b1"))
        #expect(subject.pass(10_000).filter { $0.contains("lapsed") } == ["gw/b lapsed (host_restarted)"])
    }

    @Test func whatNobodyRetainsIsLostAfterAGrace() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(status(.connected, "b1"))
        _ = subject.pass(2_000)
        _ = subject.handle(.observabilityLost)
        _ = subject.handle(.sessionBegan)
        _ = subject.handle(.observabilityRestored)
        _ = subject.pass(9_000)
        #expect(subject.gateways["gw"]?.connection == .connected)
        var confirmed = subject
        #expect(subject.pass(1_000).contains("gw gateway_lost 1"))
        _ = confirmed.handle(status(.connected, "b1"))
        #expect(!confirmed.pass(1_000).contains("gw gateway_lost 1"))
    }

    @Test func atMostOneEventASecondIsToldAndTheNewestInTheEnd() {
        var subject = OwnerSubject.online(["a"])
        #expect(subject.handle(status(.connected, "b1")).first == "gw gateway_connected 1")
        #expect(subject.handle(status(.lost, "b1")) == ["gw is lost"])
        #expect(subject.handle(status(.connected, "b1")) == ["gw is connected"])
        #expect(subject.pass(1_000).first == "gw gateway_connected 1")
        #expect(subject.pass(1_000).filter { $0.contains("gateway_") } == [])
    }

    // MARK: Policy

    @Test func agentsFollowTheirGatewaysPolicyButForTheirOwnSettings() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.provision("gw/b", policy: [.offlineAfter: "2h"], wake: false)
        #expect(
            subject.addGateway("gw", [.offlineAfter: "1h"]).filter { $0.contains("changed") } == [
                "gw/a changed (policy)"
            ])
        #expect(subject.record("gw/a")?.policy.offlineAfter.description == "1h")
        #expect(subject.record("gw/a")?.policyOverrides.isEmpty == true)
        #expect(subject.record("gw/b")?.policy.offlineAfter.description == "2h")
        _ = subject.addGateway("gw", [.offlineAfter: nil])
        #expect(subject.record("gw/a")?.policy.offlineAfter.description == "10m")
    }

    @Test func aSuccessorWithAnotherSystemPolicyAppliesIt() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.provision("gw/b", policy: [.checkinDeadline: "7s"], wake: false)
        #expect(
            subject.replaceOwner([.checkinDeadline: "5s"]) == ["gw/a changed (policy)"],
            "b has its own")
        #expect(subject.record("gw/a")?.policy.checkinDeadline.description == "5s")
        #expect(subject.record("gw/b")?.policy.checkinDeadline.description == "7s")
        #expect(subject.replaceOwner([.checkinDeadline: "5s"]) == [])
    }
}
