import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// Heartbeats in batches, what is kept of them, and the deadlines they move.
@Suite struct HeartbeatBatchTests {
    @Test func namesAreHeartbeatsOfThatMoment() {
        var desk = Desk.online(["a", "b"])
        _ = desk.pass(60_000)
        #expect(desk.beat("gw", ["a", "b"], age: 500, held: 1_500) == [])
        #expect(desk.record("gw/a")?.lastSeenAt == desk.stamp - .seconds(2))
        #expect(desk.record("gw/b")?.lastSeenAt == desk.stamp - .seconds(2))
        #expect(desk.owner.counters.heartbeats == 4)
    }

    @Test func fullAddressesAreNamesToo() {
        var desk = Desk.online(["a"])
        _ = desk.pass(60_000)
        let segment = HeartbeatBatch.Segment(
            at: desk.stamp.millisecondsSince1970, age: 0, gateway: nil, names: ["gw/a", "nonsense", "gw/x"], detail: nil
        )
        let lines = desk.handle(.batchReceived(HeartbeatBatch(segments: [segment]), held: .zero))
        #expect(lines == ["gw/x heartbeat_rejected (unknown_agent)"])
        #expect(desk.record("gw/a")?.lastSeenAt == desk.stamp)
    }

    /// When it is lost with its owner, so is what its agents' earlier inputs have caused.
    @Test func aBatchDependsOnWhatItsAgentsHaveCaused() {
        var desk = Desk.online(["a", "b"])
        func beat(_ names: [String]) -> Int {
            let segment = HeartbeatBatch.Segment(
                at: desk.stamp.millisecondsSince1970, age: 0, gateway: "gw", names: names, detail: nil)
            _ = desk.handle(.batchReceived(HeartbeatBatch(segments: [segment]), held: .zero), slices: 0)
            return desk.owner.dependence
        }
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .degraded
        let report = HeartbeatBatch.Segment(
            at: desk.stamp.millisecondsSince1970, age: 0, gateway: nil, names: [], detail: detail)
        let lines = desk.handle(.batchReceived(HeartbeatBatch(segments: [report]), held: .zero), slices: 0)
        #expect(lines == ["gw/a changed (reported)"])
        let changed = desk.owner.step
        #expect(desk.owner.dependence == changed)
        #expect(beat(["b"]) < changed)
        #expect(desk.handle(.batchReceived(HeartbeatBatch(segments: [report]), held: .zero), slices: 0).isEmpty)
        #expect(desk.owner.dependence == changed)
        #expect(beat(["b", "a"]) == desk.owner.step)  // it is well again
        #expect(beat(["unheard-of"]) == desk.owner.step)
        _ = desk.handle(.timePassed, slices: 0)
        #expect(desk.owner.dependence == desk.owner.step)
    }

    @Test func aDetailSaysMore() {
        var desk = Desk.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .degraded
        detail.bootID = "b-1"
        detail.templatesDigest = "other"
        #expect(desk.beat(detail) == ["gw/a changed (reported)"])
        #expect(desk.record("gw/a")?.reportedStatus == .degraded)
        #expect(desk.record("gw/a")?.bootID == "b-1")
        #expect(desk.record("gw/a")?.hasStaleTemplates == true)
        detail.tokenDigest = "wrong"
        #expect(desk.beat(detail) == ["gw/a heartbeat_rejected (bad_token)"])
        #expect(desk.owner.counters.rejections == 1)
    }

    @Test func whatAnIngestRejectsIsCountedOnItsAgent() {
        var desk = Desk.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.rejected = .tooLarge
        #expect(desk.beat(detail) == ["gw/a heartbeat_rejected (too_large)"])
        #expect(desk.record("gw/a")?.lastRejection?.count == 1)
        detail.agent = AgentAddress("gw/x")!
        #expect(desk.beat(detail) == ["gw/x heartbeat_rejected (unknown_agent)"])
    }

    @Test func nobodyWeKnowIsPublishedOnceASecond() {
        var desk = Desk.online(["a"])
        #expect(
            desk.beat("gw", ["x", "x", "y"]) == [
                "gw/x heartbeat_rejected (unknown_agent)", "gw/y heartbeat_rejected (unknown_agent)",
            ])
        _ = desk.pass(999)
        #expect(desk.beat("gw", ["x"]) == [])
        _ = desk.pass(1)
        #expect(desk.beat("gw", ["x"]) == ["gw/x heartbeat_rejected (unknown_agent)"])
        #expect(desk.beat("nowhere", ["x"]) == ["nowhere/x heartbeat_rejected (unknown_agent)"])
        #expect(desk.owner.counters.rejections == 6)
    }

    @Test func aFloodOfRejectionsIsToldInPartAndCountedWhole() {
        var desk = Desk.online(["a"])
        var bad = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        bad.rejected = .malformed
        #expect(desk.beat("gw", (0..<5_000).map { "x\($0)" }).count == RejectionMeter.toldMax)
        #expect(desk.beat(bad) == [], "of the same gateway")
        #expect(desk.record("gw/a")?.lastRejection?.count == 1)
        #expect(desk.beat("nowhere", ["x"]).count == 1, "of another one")
        #expect(desk.owner.counters.rejections == 5_002)
        _ = desk.pass(1_000)
        #expect(desk.beat(bad) == ["gw/a heartbeat_rejected (malformed)"])
    }

    @Test func aReportOfNobodyIsLogged() throws {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        let order = try #require(desk.orders.last)
        _ = desk.ask(.delete(AgentAddress("gw/a")!))
        _ = desk.pass(AgentMachine.orderQuietAfter.milliseconds)
        let report = WakeReport(order, outcome: .expired, age: 0)
        #expect(desk.handle(.reportReceived(report, held: .zero)) == ["missing gw/a"])
    }

    @Test func theTimeAReportWasHeldCountsForItsDeadline() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.woken("gw/a", held: 4_000)
        #expect(desk.pass(25_900) == [])
        #expect(desk.pass(100).first == "gw/a retriggered (checkin_missed)")
    }

    @Test func aHeartbeatThatWasHeldIsJudgedByItsReception() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.wake(AgentAddress("gw/a")!))
        _ = desk.pass(1_000)
        #expect(desk.beat("gw", ["a"], age: 500, held: 1_000) == [], "received before the wake was ordered")
        #expect(desk.record("gw/a")?.status == .updating)
        #expect(desk.beat("gw", ["a"], age: 500, held: 400).contains("gw/a online (checked_in)"))
    }

    // MARK: Written behind

    @Test func sightingsAreHandedOverTogetherWithinTwoSeconds() {
        var desk = Desk.online(["a", "b", "c"])
        _ = desk.pass(60_000)
        _ = desk.beat("gw", ["a", "b"])
        #expect(desk.pass(1_999) == [])
        _ = desk.beat("gw", ["a"])
        #expect(desk.pass(1) == ["seen gw/a gw/b"])
        #expect(desk.pass(10_000) == [], "nothing new")
    }

    @Test func rejectionsAreHandedOverWithThem() {
        var desk = Desk.online(["a"])
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.rejected = .malformed
        _ = desk.beat(detail)
        _ = desk.beat(detail)
        #expect(desk.pass(2_000) == ["rejected gw/a ×2"])
    }

    @Test func oneEntryHasFiveHundred() {
        var desk = Desk([.wakeRate: "0"])
        _ = desk.addGateway()
        let names = (0..<1_100).map { "a\($0)" }
        for name in names { _ = desk.provision("gw/\(name)", wake: false) }
        _ = desk.beat("gw", names)
        _ = desk.beat("gw", names)
        let lines = desk.pass(2_000)
        #expect(lines.map { $0.split(separator: " ").count - 1 } == [500, 500, 100])
    }

    @Test func sightingsAreHandedOverWhileBlindToo() {
        var desk = Desk.online(["a"])
        _ = desk.handle(.sightLost)
        _ = desk.beat("gw", ["a"])
        #expect(desk.pass(2_000) == ["seen gw/a"])
    }

    // MARK: Deadlines

    @Test func whileBlindNothingIsJudged() {
        var desk = Desk.online(["a"])
        _ = desk.handle(.sightLost)
        #expect(desk.pass(3_600_000).filter { $0 != "seen gw/a" } == [])
        #expect(desk.handle(.sightRegained) == [])
        #expect(desk.pass(89_999) == [])
        #expect(desk.pass(1).first == "gw/a lapsed (silent)")
    }

    @Test func aLastWillIsDiscardedWhileBlind() {
        var desk = Desk.online(["a"])
        _ = desk.pass(1_000)
        _ = desk.handle(.sightLost)
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .lost
        _ = desk.beat(detail)
        _ = desk.handle(.sightRegained)
        #expect(desk.pass(11_000).filter { $0.contains("lapsed") } == [])
    }

    /// It waited at its ingest, and came once the owner could see again.
    @Test(arguments: [(500, false), (1_500, true)])
    func aLastWillFromATimeOfBlindnessIsDiscardedWheneverItComes(age: Int64, isDiscarded: Bool) {
        var desk = Desk.online(["a"])
        _ = desk.handle(.sightLost)
        _ = desk.pass(60_000)
        _ = desk.handle(.sightRegained)
        _ = desk.pass(1_000)
        var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
        detail.status = .lost
        _ = desk.beat(detail, age: age)
        #expect(desk.pass(11_000).contains("gw/a lapsed (lost)") == !isDiscarded)
    }

    @Test func theQueueHasAFewEntriesAnAgentWhateverItLives() {
        var desk = Desk.online(["a"])
        for _ in 0..<200 {
            var detail = HeartbeatDetail(agent: AgentAddress("gw/a")!)
            detail.status = .lost
            _ = desk.pass(1_000)
            _ = desk.beat(detail)
            _ = desk.pass(5_000)
            _ = desk.beat("gw", ["a"])
            _ = desk.pass(8_000)
        }
        #expect(desk.record("gw/a")?.status == .online)
        #expect(desk.owner.queue.count <= 4)
        for _ in 0..<200 {
            _ = desk.ask(.wake(AgentAddress("gw/a")!))
            _ = desk.woken("gw/a")
            _ = desk.beat("gw", ["a"])
            _ = desk.pass(31_000)
        }
        #expect(desk.owner.queue.count <= 4)
        #expect(desk.pass(570_000).contains("gw/a lapsed (silent)"))
    }

    @Test func aSlotThatIsUsedAgainHasNothingOfItsFormerOccupant() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.delete(AgentAddress("gw/a")!))
        _ = desk.provision("gw/b", wake: false)
        #expect(desk.owner.agentCount == 1)
        #expect(desk.pass(3_600_000) == [])
        #expect(desk.record("gw/b")?.status == .offline)
    }

    // MARK: Another owner

    @Test func aSuccessorGoesOnWhereTheFormerOwnerWas() {
        var desk = Desk.online(["a"])
        _ = desk.provision("gw/b")
        _ = desk.woken("gw/b")
        #expect(desk.replaceOwner() == [])
        #expect(desk.pass(60_000) == [], "blind until it has heard of an ingest")
        #expect(
            desk.handle(.sightRegained) == ["gw/b settle", "gw/b changed (own_outage)", "gw/b order 1.1#2"])
        _ = desk.woken("gw/b")
        #expect(desk.pass(30_100).contains("gw/b retriggered (checkin_missed)"))
        #expect(desk.pass(600_000).contains("gw/a lapsed (silent)"))
    }
}
