import Model
import Testing

@testable import RollcallSupervisor

struct DemoFleetTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    /// A fleet of one agent of this behaviour.
    private func fleet(_ behaviour: DemoBehaviour) -> DemoFleet {
        DemoFleet(agents: [DemoAgent(id: "a", role: .worker, board: "alpha", behaviour: behaviour)])
    }

    private func wake(_ fleet: inout DemoFleet, _ generation: Int, _ attempt: Int, at milliseconds: Int64 = 0)
        -> [DemoFleet.Directive]
    {
        fleet.woken(
            "a", generation: generation, attempt: attempt, interval: .seconds(5),
            now: start + TimeSpan(milliseconds: milliseconds))
    }

    private func advance(_ fleet: inout DemoFleet, to milliseconds: Int64) -> [DemoFleet.Directive] {
        fleet.advanced(to: start + TimeSpan(milliseconds: milliseconds))
    }

    private func beat(_ generation: Int, _ attempt: Int, boot: Int, seq: Int64, _ status: String? = nil) -> DemoBeat {
        DemoBeat(status: status, generation: generation, attempt: attempt, bootID: "\(generation).\(boot)", seq: seq)
    }

    @Test func aDozenHasEveryRoleBoardAndBehaviour() {
        let table = DemoFleet(count: 12).agents.map {
            "\($0.id) \($0.role.rawValue) \($0.board ?? "-") \($0.behaviour.rawValue)"
        }
        #expect(
            table == [
                "main main - healthy", "lead-alpha lead alpha healthy", "lead-beta lead beta healthy",
                "late-4 worker alpha late",
                "silent-5 worker beta silent", "leaver-6 worker alpha leaver", "cut-7 worker beta cut",
                "worker-8 worker alpha healthy", "worker-9 worker beta healthy", "worker-10 worker alpha healthy",
                "worker-11 worker beta healthy", "worker-12 worker alpha healthy",
            ])
        #expect(DemoFleet(count: 0).agents.isEmpty)
        let many = DemoFleet(count: 1_000).agents
        #expect(many.count == 1_000 && Set(many.map(\.id)).count == 1_000)
        #expect(many.count { $0.behaviour == .cut } == 1)
        #expect(many.allSatisfy { AgentAddress(gateway: DemoFleet.gateway, agent: $0.id) != nil })
    }

    @Test func aHealthyAgentChecksInAndBeatsAtItsInterval() {
        var fleet = fleet(.healthy)
        #expect(wake(&fleet, 1, 1) == [])
        #expect(advance(&fleet, to: 200) == [])
        #expect(advance(&fleet, to: 1_000) == [.beat(agent: "a", beat(1, 1, boot: 1, seq: 1))])
        #expect(advance(&fleet, to: 5_900) == [])
        #expect(advance(&fleet, to: 6_000) == [.beat(agent: "a", beat(1, 1, boot: 1, seq: 2))])
    }

    @Test func aRepeatedWakeIsAnsweredAtOnceAndAnOldOneIgnored() {
        var fleet = fleet(.healthy)
        _ = wake(&fleet, 2, 1)
        _ = advance(&fleet, to: 1_000)
        #expect(wake(&fleet, 2, 1, at: 2_000) == [.beat(agent: "a", beat(2, 1, boot: 1, seq: 2))])
        #expect(wake(&fleet, 2, 2, at: 2_000) == [.beat(agent: "a", beat(2, 2, boot: 1, seq: 3))])
        #expect(wake(&fleet, 2, 1, at: 2_000) == [])
        #expect(wake(&fleet, 1, 3, at: 2_000) == [])
        #expect(advance(&fleet, to: 6_900) == [])
    }

    @Test func aNewGenerationStartsItAnew() {
        var fleet = fleet(.healthy)
        _ = wake(&fleet, 1, 1)
        _ = advance(&fleet, to: 1_000)
        #expect(wake(&fleet, 2, 1, at: 2_000) == [])
        #expect(advance(&fleet, to: 3_000) == [.beat(agent: "a", beat(2, 1, boot: 2, seq: 1))])
    }

    @Test func aRecoveryOfOneThatRunsIsAnsweredAndStartsNothing() {
        var fleet = fleet(.healthy)
        _ = wake(&fleet, 1, 1)
        _ = advance(&fleet, to: 1_000)
        let answer = fleet.woken(
            "a", generation: 2, attempt: 1, isRecovery: true, interval: .seconds(5),
            now: start + TimeSpan(milliseconds: 2_000))
        #expect(answer == [.beat(agent: "a", DemoBeat(generation: 2, attempt: 1, bootID: "1.1", seq: 2))])
        #expect(advance(&fleet, to: 6_900) == [])
    }

    @Test func aLateAgentNeedsASecondWakeAndASilentOneNeverAnswers() {
        var late = fleet(.late)
        #expect(wake(&late, 1, 1) == [])
        #expect(advance(&late, to: 4_900) == [])
        #expect(wake(&late, 1, 2, at: 5_000) == [])
        #expect(advance(&late, to: 6_000) == [.beat(agent: "a", beat(1, 2, boot: 1, seq: 1))])
        var silent = fleet(.silent)
        for attempt in 1...3 { #expect(wake(&silent, 1, attempt) == []) }
        #expect(advance(&silent, to: 60_000) == [])
    }

    @Test func aLeaverSaysGoodbyeAndFallsSilent() {
        var fleet = fleet(.leaver)
        _ = wake(&fleet, 1, 1)
        #expect(advance(&fleet, to: 1_000) == [.beat(agent: "a", beat(1, 1, boot: 1, seq: 1))])
        #expect(advance(&fleet, to: 16_000) == [.beat(agent: "a", beat(1, 1, boot: 1, seq: 2, "stopping"))])
        #expect(advance(&fleet, to: 60_000) == [])
        #expect(wake(&fleet, 2, 1, at: 60_000) == [])
        #expect(advance(&fleet, to: 61_000) == [.beat(agent: "a", beat(2, 1, boot: 2, seq: 1))])
    }

    @Test func theOneThatIsCutOffConnectsByItselfAndLivesLongerTheSecondTime() {
        var fleet = fleet(.cut)
        _ = wake(&fleet, 1, 1)
        #expect(advance(&fleet, to: 1_000) == [.connect(agent: "a", beat(1, 1, boot: 1, seq: 1))])
        #expect(advance(&fleet, to: 6_000) == [.beatOwn(agent: "a", beat(1, 1, boot: 1, seq: 2))])
        #expect(advance(&fleet, to: 13_000) == [.cutOff(agent: "a")])
        fleet.connectionLost("a")
        #expect(advance(&fleet, to: 20_000) == [])
        #expect(wake(&fleet, 2, 1, at: 20_000) == [])
        #expect(advance(&fleet, to: 21_000) == [.connect(agent: "a", beat(2, 1, boot: 2, seq: 1))])
        #expect(advance(&fleet, to: 50_000) == [.beatOwn(agent: "a", beat(2, 1, boot: 2, seq: 2))])
        #expect(wake(&fleet, 3, 1, at: 51_000) == [.disconnect(agent: "a")])
        #expect(advance(&fleet, to: 52_000) == [.connect(agent: "a", beat(3, 1, boot: 3, seq: 1))])
        #expect(fleet.deleted("a") == [.disconnect(agent: "a")])
        #expect(advance(&fleet, to: 90_000) == [])
    }
}
