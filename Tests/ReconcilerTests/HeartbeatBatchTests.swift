import API
import Lifecycle
import Model
import Testing
import Wire

@testable import ReconcilerCore

/// Heartbeats in batches, what is kept of them, and the deadlines they move.
@Suite struct HeartbeatBatchTests {
    @Test func namesAreHeartbeatsOfThatMoment() {
        var subject = OwnerSubject.online(["a", "b"])
        _ = subject.pass(60_000)
        #expect(subject.beat("gw", ["a", "b"], age: 500, frameAge: 1_500) == [])
        #expect(subject.record("gw/a")?.lastSeenAt == subject.wallTime - .seconds(2))
        #expect(subject.record("gw/b")?.lastSeenAt == subject.wallTime - .seconds(2))
        #expect(subject.owner.counters.heartbeats == 4)
    }

    @Test func fullAddressesAreNamesToo() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.pass(60_000)
        let segment = HeartbeatBatch.Segment(
            at: subject.wallTime.millisecondsSince1970, age: 0, gateway: nil,
            names: NameRun(["gw/a", "nonsense", "gw/x"]), detail: nil)
        let lines = subject.handle(.batchReceived(HeartbeatBatch(segments: [segment]), frameAge: .zero))
        #expect(lines == ["gw/x heartbeat_rejected (unknown_agent)"])
        #expect(subject.record("gw/a")?.lastSeenAt == subject.wallTime)
    }

    /// When it is lost with its owner, so is what its agents' earlier inputs have caused.
    @Test func aBatchDependsOnWhatItsAgentsHaveCaused() {
        var subject = OwnerSubject.online(["a", "b"])
        func beat(_ names: [String]) -> Int {
            let segment = HeartbeatBatch.Segment(
                at: subject.wallTime.millisecondsSince1970, age: 0, gateway: "gw", names: NameRun(names), detail: nil)
            _ = subject.handle(.batchReceived(HeartbeatBatch(segments: [segment]), frameAge: .zero), slices: 0)
            return subject.owner.dependence
        }
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .degraded
        let report = HeartbeatBatch.Segment(
            at: subject.wallTime.millisecondsSince1970, age: 0, gateway: nil, names: NameRun(), detail: detail)
        let lines = subject.handle(.batchReceived(HeartbeatBatch(segments: [report]), frameAge: .zero), slices: 0)
        #expect(lines == ["gw/a changed (reported)"])
        let changed = subject.owner.step
        #expect(subject.owner.dependence == changed)
        #expect(beat(["b"]) < changed)
        #expect(subject.handle(.batchReceived(HeartbeatBatch(segments: [report]), frameAge: .zero), slices: 0).isEmpty)
        #expect(subject.owner.dependence == changed)
        #expect(beat(["b", "a"]) == subject.owner.step)  // it is well again
        #expect(beat(["unheard-of"]) == subject.owner.step)
        _ = subject.handle(.timePassed, slices: 0)
        #expect(subject.owner.dependence == subject.owner.step)
    }

    @Test func aDetailSaysMore() {
        var subject = OwnerSubject.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .degraded
        detail.bootID = "b-1"
        detail.templatesDigest = "other"
        #expect(subject.beat(detail) == ["gw/a changed (reported)"])
        #expect(subject.record("gw/a")?.reportedStatus == .degraded)
        #expect(subject.record("gw/a")?.bootID == "b-1")
        #expect(subject.record("gw/a")?.hasStaleTemplates == true)
        detail.tokenDigest = "wrong"
        #expect(subject.beat(detail) == ["gw/a heartbeat_rejected (bad_token)"])
        #expect(subject.owner.counters.rejections == 1)
    }

    @Test func whatAnIngestRejectsIsCountedOnItsAgent() {
        var subject = OwnerSubject.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.rejected = .tooLarge
        #expect(subject.beat(detail) == ["gw/a heartbeat_rejected (too_large)"])
        #expect(subject.record("gw/a")?.lastRejection?.count == 1)
        detail.agent = AgentAddress("gw/x")!
        #expect(subject.beat(detail) == ["gw/x heartbeat_rejected (unknown_agent)"])
    }

    @Test func nobodyWeKnowIsPublishedOnceASecond() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.beat("gw", ["x", "x", "y"]) == [
                "gw/x heartbeat_rejected (unknown_agent)", "gw/y heartbeat_rejected (unknown_agent)",
            ])
        _ = subject.pass(999)
        #expect(subject.beat("gw", ["x"]) == [])
        _ = subject.pass(1)
        #expect(subject.beat("gw", ["x"]) == ["gw/x heartbeat_rejected (unknown_agent)"])
        #expect(subject.beat("nowhere", ["x"]) == ["nowhere/x heartbeat_rejected (unknown_agent)"])
        #expect(subject.owner.counters.rejections == 6)
    }

    @Test func aFloodOfRejectionsIsToldInPartAndCountedWhole() {
        var subject = OwnerSubject.online(["a"])
        var bad = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        bad.rejected = .malformed
        #expect(subject.beat("gw", (0..<5_000).map { "x\($0)" }).count == RejectionMeter.toldMax)
        #expect(subject.beat(bad) == [], "of the same gateway")
        #expect(subject.record("gw/a")?.lastRejection?.count == 1)
        #expect(subject.beat("nowhere", ["x"]).count == 1, "of another one")
        #expect(subject.owner.counters.rejections == 5_002)
        _ = subject.pass(1_000)
        #expect(subject.beat(bad) == ["gw/a heartbeat_rejected (malformed)"])
    }

    @Test func aReportOfNobodyIsLogged() throws {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        let order = try #require(subject.orders.last)
        _ = subject.ask(.delete(AgentAddress("gw/a")!))
        _ = subject.pass(AgentMachine.orderDrainedAfter.milliseconds)
        let report = WakeReport(order, outcome: .expired, age: 0)
        #expect(subject.handle(.reportReceived(report, frameAge: .zero)) == ["missing gw/a"])
    }

    @Test func theTimeAReportWasHeldCountsForItsDeadline() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.woken("gw/a", frameAge: 4_000)
        #expect(subject.pass(25_900) == [])
        #expect(subject.pass(100).first == "gw/a retriggered (checkin_missed)")
    }

    @Test func aHeartbeatThatWasHeldIsJudgedByItsReception() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.wake(AgentAddress("gw/a")!))
        _ = subject.pass(1_000)
        #expect(subject.beat("gw", ["a"], age: 500, frameAge: 1_000) == [], "received before the wake was ordered")
        #expect(subject.record("gw/a")?.status == .updating)
        #expect(subject.beat("gw", ["a"], age: 500, frameAge: 400).contains("gw/a online (checked_in)"))
    }

    // MARK: Written behind

    @Test func lastSeenUpdatesAreHandedOverTogetherWithinTwoSeconds() {
        var subject = OwnerSubject.online(["a", "b", "c"])
        _ = subject.pass(60_000)
        _ = subject.beat("gw", ["a", "b"])
        #expect(subject.pass(1_999) == [])
        _ = subject.beat("gw", ["a"])
        #expect(subject.pass(1) == ["seen gw/a gw/b"])
        #expect(subject.pass(10_000) == [], "nothing new")
    }

    @Test func rejectionsAreHandedOverWithThem() {
        var subject = OwnerSubject.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.rejected = .malformed
        _ = subject.beat(detail)
        _ = subject.beat(detail)
        #expect(subject.pass(2_000) == ["rejected gw/a ×2"])
    }

    @Test func oneEntryHasFiveHundred() {
        var subject = OwnerSubject([.wakeRate: "0"])
        _ = subject.addGateway()
        let names = (0..<1_100).map { "a\($0)" }
        for name in names { _ = subject.provision("gw/\(name)", wake: false) }
        _ = subject.beat("gw", names)
        _ = subject.beat("gw", names)
        let lines = subject.pass(2_000)
        #expect(lines.map { $0.split(separator: " ").count - 1 } == [500, 500, 100])
    }

    @Test func lastSeenUpdatesAreHandedOverWhileSuspendedToo() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(.observabilityLost)
        _ = subject.beat("gw", ["a"])
        #expect(subject.pass(2_000) == ["seen gw/a"])
    }

    // MARK: Deadlines

    @Test func whileSuspendedNothingIsJudged() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(.observabilityLost)
        #expect(subject.pass(3_600_000).filter { $0 != "seen gw/a" } == [])
        #expect(subject.handle(.observabilityRestored) == [])
        #expect(subject.pass(89_999) == [])
        #expect(subject.pass(1).first == "gw/a lapsed (silent)")
    }

    @Test func aLastWillIsDiscardedWhileBlind() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.pass(1_000)
        _ = subject.handle(.observabilityLost)
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .lost
        _ = subject.beat(detail)
        _ = subject.handle(.observabilityRestored)
        #expect(subject.pass(11_000).filter { $0.contains("lapsed") } == [])
    }

    /// It waited at its ingest, and came once the owner could see again.
    @Test(arguments: [(500, false), (1_500, true)])
    func aLastWillFromATimeOfSuspensionIsDiscardedWheneverItComes(age: Int64, isDiscarded: Bool) {
        var subject = OwnerSubject.online(["a"])
        _ = subject.handle(.observabilityLost)
        _ = subject.pass(60_000)
        _ = subject.handle(.observabilityRestored)
        _ = subject.pass(1_000)
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .lost
        _ = subject.beat(detail, age: age)
        #expect(subject.pass(11_000).contains("gw/a lapsed (lost)") == !isDiscarded)
    }

    @Test func theQueueHasAFewEntriesAnAgentWhateverItLives() {
        var subject = OwnerSubject.online(["a"])
        for _ in 0..<200 {
            var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
            detail.status = .lost
            _ = subject.pass(1_000)
            _ = subject.beat(detail)
            _ = subject.pass(5_000)
            _ = subject.beat("gw", ["a"])
            _ = subject.pass(8_000)
        }
        #expect(subject.record("gw/a")?.status == .online)
        #expect(subject.owner.deadlines.judged.count <= 4)
        for _ in 0..<200 {
            _ = subject.ask(.wake(AgentAddress("gw/a")!))
            _ = subject.woken("gw/a")
            _ = subject.beat("gw", ["a"])
            _ = subject.pass(31_000)
        }
        #expect(subject.owner.deadlines.judged.count <= 4)
        #expect(subject.pass(570_000).contains("gw/a lapsed (silent)"))
    }

    @Test func aSlotThatIsUsedAgainHasNothingOfItsFormerAgent() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.delete(AgentAddress("gw/a")!))
        _ = subject.provision("gw/b", wake: false)
        #expect(subject.owner.agentCount == 1)
        #expect(subject.pass(3_600_000) == [])
        #expect(subject.record("gw/b")?.status == .offline)
    }

    // MARK: Another owner

    @Test func aSuccessorGoesOnWhereTheFormerOwnerWas() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.provision("gw/b")
        _ = subject.woken("gw/b")
        #expect(subject.replaceOwner() == [])
        #expect(subject.pass(60_000) == [], "blind until it has heard of an ingest")
        #expect(
            subject.handle(.observabilityRestored) == ["gw/b settle", "gw/b changed (own_outage)", "gw/b order 1.1#2"])
        _ = subject.woken("gw/b")
        #expect(subject.pass(30_100).contains("gw/b retriggered (checkin_missed)"))
        #expect(subject.pass(600_000).contains("gw/a lapsed (silent)"))
    }
}
