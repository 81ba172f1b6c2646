import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// Pause, resume, removal and policy of many agents come to them in slices, and nobody can tell in which.
@Suite struct GroupSliceTests {
    private let names = (0..<250).map { "a\($0)" }
    private let last = AgentAddress("gw/a249")!

    /// Online agents of one gateway, quiet.
    private func online(_ settings: [PolicySetting: String] = [.offlineAfter: "60s", .onLapse: "offline"]) -> Desk {
        var desk = Desk(settings)
        _ = desk.addGateway()
        for name in names { _ = desk.provision("gw/\(name)", wake: false) }
        _ = desk.beat("gw", names)
        return desk
    }

    private func count(_ lines: [String], _ end: String) -> Int { lines.filter { $0.hasSuffix(end) }.count }

    /// The other slices, each bounded.
    private func goOn(_ desk: inout Desk, _ end: String) -> [String] {
        var all: [String] = []
        while let due = desk.owner.nextWork, due <= desk.now {
            let lines = desk.handle(.roomCame, slices: 0)
            #expect(count(lines, end) <= PartitionOwner.sliceMax)
            all += lines
        }
        return all
    }

    @Test func aPauseIsAnsweredOnceItHasComeToAll() {
        var desk = online()
        let first = desk.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        #expect(first.first == "gw is never")
        #expect(count(first, "paused (gateway)") == PartitionOwner.sliceMax)
        #expect(!first.contains("p: paused 250"))
        let rest = goOn(&desk, "paused (gateway)")
        #expect(count(rest, "paused (gateway)") == 150)
        #expect(rest.last == "p: paused 250")
        #expect(count(first + rest, "p: paused 250") == 1)
    }

    @Test func aRepeatWaitsForTheSameAnswer() {
        var desk = online()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        #expect(desk.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0) == [])
        #expect(count(goOn(&desk, "paused (gateway)"), "p: paused 250") == 1)
    }

    @Test func nobodyIsJudgedWhosePauseWasBegun() {
        var desk = online()
        desk.now = desk.now + .seconds(61)
        desk.stamp = desk.stamp + .seconds(61)
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        let lines = desk.handle(.barrierPassed(asOf: desk.now))
        #expect(count(lines, "offline (lapsed)") == 0)
        #expect(names.allSatisfy { desk.record("gw/\($0)")?.isPaused == true })
    }

    @Test func aWakeThatIsAskedForMeanwhileIsHeld() {
        var desk = online()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(
            desk.ask(.wake(last), id: "w", slices: 0) == [
                "gw/a249 paused (gateway)", "gw/a249 updating (manual)", "w: updating",
            ])
        _ = goOn(&desk, "paused (gateway)")
        #expect(desk.orders.isEmpty)
    }

    @Test func wakesThatWaitForTheirTurnsAreHeld() {
        var desk = Desk([.wakeRate: "5/s"])
        _ = desk.addGateway()
        for name in names { _ = desk.provision("gw/\(name)") }
        let ordered = desk.orders.count
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        desk.now = desk.now + .seconds(1)
        _ = desk.handle(.roomCame)
        #expect(desk.orders.count == ordered)
    }

    @Test func whoIsAddedMeanwhileIsPausedToo() {
        var desk = online()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(
            desk.ask(.provision(Desk.change("gw/new", .worker, "b1", [:], [:], true)), slices: 0).contains(
                "gw/new paused (gateway)"))
        _ = goOn(&desk, "paused (gateway)")
        #expect(desk.orders.isEmpty)
    }

    @Test func aResumeComesBehindThePause() {
        var desk = online()
        var lines = desk.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        lines += desk.ask(.resume(.gateway("gw")), id: "r", slices: 0)
        while let due = desk.owner.nextWork, due <= desk.now { lines += desk.handle(.roomCame, slices: 0) }
        for name in names {
            #expect(
                lines.filter { $0.hasPrefix("gw/\(name) ") } == [
                    "gw/\(name) paused (gateway)", "gw/\(name) resumed (gateway)",
                ])
        }
        #expect(lines.filter { $0.hasPrefix("p: ") || $0.hasPrefix("r: ") } == ["p: paused 250", "r: paused 250"])
        #expect(names.allSatisfy { desk.record("gw/\($0)")?.isPaused == false })
    }

    @Test func heartbeatsForceNothing() {
        var desk = online()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(desk.beat("gw", names, slices: 0) == [])
        #expect(names.filter { desk.record("gw/\($0)")?.isPaused == true }.count == PartitionOwner.sliceMax)
    }

    @Test func judgingGoesOnBesideIt() {
        var desk = online()
        _ = desk.addGateway("other")
        _ = desk.provision("other/x", wake: false)
        _ = desk.beat("other", ["x"])
        desk.now = desk.now + .seconds(61)
        desk.stamp = desk.stamp + .seconds(61)
        _ = desk.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        _ = desk.handle(.barrierPassed(asOf: desk.now), slices: 0)
        var slices = 0
        while desk.record("other/x")?.status == .online, slices < 10 {
            slices += 1
            _ = desk.handle(.roomCame, slices: 0)
        }
        #expect(slices <= 5)
        #expect(desk.record("other/x")?.status == .offline)
    }

    // MARK: Boards

    @Test func whoLeavesABoardMeanwhileIsPausedAndLetGo() {
        var desk = online()
        _ = desk.ask(.pause(.board("b1"), until: nil), slices: 0)
        let change = Desk.change("gw/a249", nil, "b2", [:], [:], false)
        #expect(
            desk.ask(.update(change), id: "u", slices: 0) == [
                "gw/a249 paused (board)", "gw/a249 changed (updated)", "gw/a249 resumed (board)", "u: online",
            ])
        _ = goOn(&desk, "paused (board)")
        #expect(desk.record("gw/a249")?.isPaused == false)
        #expect(desk.record("gw/a248")?.pausedBy == [.board])
    }

    // MARK: Removal

    @Test func aRemovalRefusesWhatItHasNotComeToYet() {
        var desk = online()
        let first = desk.ask(.removeGateway("gw", force: true), id: "r", slices: 0)
        #expect(count(first, " deleted") == PartitionOwner.sliceMax)
        #expect(desk.ask(.wake(last), id: "w", slices: 0) == ["w: conflict agent"])
        #expect(desk.ask(.delete(last), id: "d", slices: 0) == ["d: conflict agent"])
        let change = Desk.change("gw/a249", .worker, "b1", [:], [:], true)
        #expect(desk.ask(.provision(change), id: "p", slices: 0) == ["p: conflict agent"])
        let pause = Command.pause(.board("b1"), until: nil)
        #expect(desk.ask(pause, id: "b", slices: 0) == ["board b1 is paused", "b: paused 0"])
        let rest = goOn(&desk, " deleted")
        #expect(count(rest, " deleted") == 150)
        #expect(rest.last == "r: gw removed with 250")
        #expect(desk.owner.agentCount == 0)
        #expect(desk.owner.nextWork == nil)
    }

    @Test func aPauseThatARemovalOvertakesIsAnsweredFirst() {
        var desk = online()
        _ = desk.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        let lines = desk.ask(.removeGateway("gw", force: true), id: "r")
        #expect(count(lines, "paused (gateway)") == 150)
        let answers = lines.filter { $0.hasPrefix("p: ") || $0.hasPrefix("r: ") }
        #expect(answers == ["p: paused 250", "r: gw removed with 250"])
    }

    // MARK: Policy

    @Test func aPolicyIsAnsweredOnceAllFollowIt() {
        var desk = online()
        let patch = PolicyPatch([.offlineAfter: "30s"])
        let first = desk.ask(.addGateway("gw", policy: patch), id: "g", slices: 0)
        #expect(first.first == "gw is never")
        #expect(count(first, "changed (policy)") == PartitionOwner.sliceMax)
        #expect(
            desk.ask(.wake(last), id: "w", slices: 0).prefix(2) == [
                "gw/a249 changed (policy)", "gw/a249 updating (manual)",
            ])
        let rest = goOn(&desk, "changed (policy)")
        #expect(count(rest, "changed (policy)") == 149)
        #expect(rest.last == "g: gw")
        #expect(names.allSatisfy { desk.record("gw/\($0)")?.policy.offlineAfter.description == "30s" })
    }
}
