import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// The pace of a gateway's wakes, its connection, and its policy.
@Suite struct GatewayTests {
    private static func storm(_ count: Int, rate: String) -> Desk {
        var desk = Desk([.wakeRate: rate])
        _ = desk.addGateway()
        for number in 0..<count { _ = desk.provision("gw/a\(number)") }
        return desk
    }

    @Test func oneWakeIsNotDelayedAndAStormIsPaced() {
        var desk = GatewayTests.storm(200, rate: "50/s")
        #expect(desk.orders.count == 10, "a fifth of a second's wakes at once")
        let start = desk.now
        while desk.orders.count < 200, let due = desk.owner.nextWork {
            _ = desk.pass(max(1, (due.nanoseconds - desk.now.nanoseconds + 999_999) / 1_000_000))
            let elapsed = desk.now.milliseconds(since: start)
            #expect(Int64(desk.orders.count) <= 11 + elapsed / 20)
        }
        #expect(desk.orders.count == 200)
        #expect(desk.now.milliseconds(since: start) >= 3_800)
        #expect(desk.now.milliseconds(since: start) < 4_200)
        #expect(Set(desk.orders.map(\.agent)).count == 200)
    }

    @Test func aDeadlineRunsFromTheWakesOwnPublication() {
        var desk = GatewayTests.storm(2, rate: "1/s")
        #expect(desk.orders.map(\.agent.agent) == ["a0"])
        _ = desk.woken("gw/a0")
        #expect(desk.pass(1_001) == ["gw/a1 order 1.1#1"])
        _ = desk.woken("gw/a1")
        #expect(desk.record("gw/a0")?.checkinDeadlineAt == desk.stamp + TimeSpan(milliseconds: 28_999))
        #expect(desk.record("gw/a1")?.checkinDeadlineAt == desk.stamp + .seconds(30))
    }

    @Test func withoutALimitAllGoAtOnce() {
        #expect(GatewayTests.storm(300, rate: "0").orders.count == 300)
    }

    @Test func gatewaysDoNotWaitForEachOther() {
        var desk = GatewayTests.storm(50, rate: "5/s")
        _ = desk.addGateway("other")
        #expect(desk.provision("other/a").contains("other/a order 1.1#1"))
    }

    @Test func whoeverNeedsItsTurnNoMoreUsesNoneUp() {
        var desk = GatewayTests.storm(50, rate: "5/s")
        for number in 1..<49 { _ = desk.ask(.delete(AgentAddress("gw/a\(number)")!)) }
        #expect(desk.orders.map(\.agent.agent) == ["a0"])
        #expect(desk.pass(201) == ["gw/a49 order 1.1#1"])
    }

    @Test func theEndOfBlindnessIsPacedToo() {
        var desk = Desk([.wakeRate: "50/s"])
        _ = desk.addGateway()
        for number in 0..<100 {
            _ = desk.provision("gw/a\(number)")
            _ = desk.pass(50)
            _ = desk.woken("gw/a\(number)")
        }
        _ = desk.handle(.sightLost)
        let lines = desk.handle(.sightRegained)
        #expect(lines.filter { $0.contains("order 1.1#2") }.count == 10)
        #expect(lines.filter { $0.hasSuffix("changed (own_outage)") }.count == 100)
    }

    // MARK: Connection

    @Test func itsConnectionIsToldOnceWithACount() {
        var desk = Desk.online(["a", "b"])
        #expect(
            desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [
                "gw gateway_connected 2", "gw is connected",
            ])
        #expect(desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [])
        _ = desk.pass(1_000)
        #expect(desk.handle(.gatewayStatusReceived(gateway: "gw", .lost)) == ["gw gateway_lost 2", "gw is lost"])
        _ = desk.pass(1_000)
        #expect(
            desk.handle(.gatewayStatusReceived(gateway: "gw", .stopped)) == ["gw gateway_stopped 2", "gw is stopped"])
        #expect(desk.handle(.gatewayStatusReceived(gateway: "other", .lost)) == [])
    }

    @Test func itsReturnRecoversThoseThatWentOfflineBecauseOfIt() {
        var desk = Desk.online(["a", "b"], [.maxWakeAttempts: "1"])
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = desk.pass(1_000)
        _ = desk.beat("gw", ["a", "b"])
        _ = desk.ask(.wake(AgentAddress("gw/a")!))
        _ = desk.woken("gw/a")
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(desk.pass(30_100).contains("gw/a offline (checkin_missed)"))
        #expect(desk.record("gw/a")?.lastProvisionError?.hasSuffix(": gateway gw is lost") == true)
        #expect(
            desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [
                "gw gateway_connected 2", "gw is connected", "gw/a updating (recover)", "gw/a order 3.1#3",
            ])
        #expect(desk.record("gw/b")?.status == .online)
    }

    @Test func itsReturnIsNoticedByASuccessorToo() {
        var desk = Desk.online(["a"], [.maxWakeAttempts: "1"])
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        _ = desk.ask(.wake(AgentAddress("gw/a")!))
        _ = desk.woken("gw/a")
        _ = desk.pass(30_100)
        _ = desk.replaceOwner([.maxWakeAttempts: "1"])
        #expect(desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [], "blind: it waits")
        #expect(desk.handle(.sightRegained).contains("gw/a updating (recover)"))
    }

    @Test func whileBlindALostGatewayIsNotTakenForLost() {
        var desk = Desk.online(["a"])
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = desk.handle(.sightLost)
        #expect(desk.handle(.gatewayStatusReceived(gateway: "gw", .lost)) == [])
        #expect(desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)) == [])
        #expect(desk.handle(.sightRegained) == [])
    }

    // MARK: Its lives

    private func status(_ state: GatewayStatusMessage.State, _ boot: String) -> PartitionEvent {
        .gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state, bootID: boot))
    }

    @Test func anotherLifeIsAReturnThoughNobodyHeardOfTheEndBefore() {
        var desk = Desk.online(["a", "b"])
        _ = desk.handle(status(.connected, "b1"))
        _ = desk.pass(1_000)
        _ = desk.beat("gw", ["a", "b"])
        _ = desk.ask(.wake(AgentAddress("gw/b")!))
        _ = desk.woken("gw/b")
        #expect(desk.handle(status(.connected, "b1")) == [])
        _ = desk.pass(1_000)
        #expect(
            desk.handle(status(.connected, "b2")) == [
                "gw gateway_connected 2", "gw is connected", "gw/b changed (host_returned)", "gw/b order 2.1#3",
            ])
        #expect(desk.pass(10_000).contains("gw/a lapsed (host_restarted)"))
        #expect(desk.record("gw/b")?.status == .updating)
    }

    @Test func theLateEndOfAnEarlierLifeChangesNothing() {
        var desk = Desk.online(["a"])
        _ = desk.handle(status(.connected, "b1"))
        _ = desk.handle(status(.connected, "b2"))
        _ = desk.pass(2_000)
        #expect(desk.handle(status(.lost, "b1")) == [])
        #expect(desk.gateways["gw"]?.connection == .connected)
        _ = desk.pass(1_000)
        #expect(desk.handle(status(.lost, "b2")) == ["gw gateway_lost 1", "gw is lost"])
    }

    @Test func whoWasHeardOfWhileItWasAwayIsThere() {
        var desk = Desk.online(["a", "b"])
        _ = desk.handle(status(.connected, "b1"))
        _ = desk.pass(1_000)
        _ = desk.beat("gw", ["a", "b"])
        _ = desk.handle(status(.lost, "b1"))
        _ = desk.pass(1_000)
        _ = desk.beat("gw", ["a"])
        _ = desk.handle(status(.connected, "b1"))
        #expect(desk.pass(10_000).filter { $0.contains("lapsed") } == ["gw/b lapsed (host_restarted)"])
    }

    @Test func whatNobodyRetainsIsLostAfterAGrace() {
        var desk = Desk.online(["a"])
        _ = desk.handle(status(.connected, "b1"))
        _ = desk.pass(2_000)
        _ = desk.handle(.sightLost)
        _ = desk.handle(.sessionBegan)
        _ = desk.handle(.sightRegained)
        _ = desk.pass(9_000)
        #expect(desk.gateways["gw"]?.connection == .connected)
        var confirmed = desk
        #expect(desk.pass(1_000).contains("gw gateway_lost 1"))
        _ = confirmed.handle(status(.connected, "b1"))
        #expect(!confirmed.pass(1_000).contains("gw gateway_lost 1"))
    }

    @Test func atMostOneEventASecondIsToldAndTheNewestInTheEnd() {
        var desk = Desk.online(["a"])
        #expect(desk.handle(status(.connected, "b1")).first == "gw gateway_connected 1")
        #expect(desk.handle(status(.lost, "b1")) == ["gw is lost"])
        #expect(desk.handle(status(.connected, "b1")) == ["gw is connected"])
        #expect(desk.pass(1_000).first == "gw gateway_connected 1")
        #expect(desk.pass(1_000).filter { $0.contains("gateway_") } == [])
    }

    // MARK: Policy

    @Test func agentsFollowTheirGatewaysPolicyButForTheirOwnSettings() {
        var desk = Desk.online(["a"])
        _ = desk.provision("gw/b", policy: [.offlineAfter: "2h"], wake: false)
        #expect(
            desk.addGateway("gw", [.offlineAfter: "1h"]).filter { $0.contains("changed") } == ["gw/a changed (policy)"])
        #expect(desk.record("gw/a")?.policy.offlineAfter.description == "1h")
        #expect(desk.record("gw/a")?.policyOverrides.isEmpty == true)
        #expect(desk.record("gw/b")?.policy.offlineAfter.description == "2h")
        _ = desk.addGateway("gw", [.offlineAfter: nil])
        #expect(desk.record("gw/a")?.policy.offlineAfter.description == "10m")
    }

    @Test func aSuccessorWithAnotherSystemPolicyAppliesIt() {
        var desk = Desk.online(["a"])
        _ = desk.provision("gw/b", policy: [.checkinDeadline: "7s"], wake: false)
        #expect(
            desk.replaceOwner([.checkinDeadline: "5s"]) == ["gw/a changed (policy)"],
            "b has its own")
        #expect(desk.record("gw/a")?.policy.checkinDeadline.description == "5s")
        #expect(desk.record("gw/b")?.policy.checkinDeadline.description == "7s")
        #expect(desk.replaceOwner([.checkinDeadline: "5s"]) == [])
    }
}
