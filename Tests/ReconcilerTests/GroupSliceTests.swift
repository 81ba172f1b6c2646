import API
import Model
import Testing

@testable import ReconcilerCore

/// Pause, resume, removal and policy of many agents come to them in slices, and nobody can tell in which.
@Suite struct GroupSliceTests {
    private let names = (0..<250).map { "a\($0)" }
    private let last = AgentAddress("gw/a249")!

    /// Online agents of one gateway, drained.
    private func online(_ settings: [PolicySetting: String] = [.offlineAfter: "60s", .onLapse: "offline"])
        -> OwnerSubject
    {
        var subject = OwnerSubject(settings)
        _ = subject.addGateway()
        for name in names { _ = subject.provision("gw/\(name)", wake: false) }
        _ = subject.beat("gw", names)
        return subject
    }

    private func count(_ lines: [String], _ end: String) -> Int { lines.filter { $0.hasSuffix(end) }.count }

    /// The other slices, each bounded.
    private func runSlice(_ subject: inout OwnerSubject, _ end: String) -> [String] {
        var all: [String] = []
        while let due = subject.owner.nextWork, due <= subject.now {
            let lines = subject.handle(.roomCame, slices: 0)
            #expect(count(lines, end) <= PartitionOwner.sliceMax)
            all += lines
        }
        return all
    }

    @Test func aPauseIsAnsweredOnceItHasComeToAll() {
        var subject = online()
        let first = subject.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        #expect(first.first == "gw is never")
        #expect(count(first, "paused (gateway)") == PartitionOwner.sliceMax)
        #expect(!first.contains("p: paused 250"))
        let rest = runSlice(&subject, "paused (gateway)")
        #expect(count(rest, "paused (gateway)") == 150)
        #expect(rest.last == "p: paused 250")
        #expect(count(first + rest, "p: paused 250") == 1)
    }

    @Test func aRepeatWaitsForTheSameAnswer() {
        var subject = online()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        #expect(subject.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0) == [])
        #expect(count(runSlice(&subject, "paused (gateway)"), "p: paused 250") == 1)
    }

    @Test func nobodyIsJudgedWhosePauseWasBegun() {
        var subject = online()
        subject.now = subject.now + .seconds(61)
        subject.wallTime = subject.wallTime + .seconds(61)
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        let lines = subject.handle(.barrierPassed(asOf: subject.now))
        #expect(count(lines, "offline (lapsed)") == 0)
        #expect(names.allSatisfy { subject.record("gw/\($0)")?.isPaused == true })
    }

    @Test func aWakeThatIsAskedForMeanwhileIsHeld() {
        var subject = online()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(
            subject.ask(.wake(last), id: "w", slices: 0) == [
                "gw/a249 paused (gateway)", "gw/a249 updating (manual)", "w: updating",
            ])
        _ = runSlice(&subject, "paused (gateway)")
        #expect(subject.orders.isEmpty)
    }

    @Test func wakesThatWaitForTheirTurnsAreHeld() {
        var subject = OwnerSubject([.wakeRate: "5/s"])
        _ = subject.addGateway()
        for name in names { _ = subject.provision("gw/\(name)") }
        let ordered = subject.orders.count
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        subject.now = subject.now + .seconds(1)
        _ = subject.handle(.roomCame)
        #expect(subject.orders.count == ordered)
    }

    @Test func whoIsAddedMeanwhileIsPausedToo() {
        var subject = online()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(
            subject.ask(.provision(OwnerSubject.change("gw/new", .worker, "b1", [:], [:], true)), slices: 0).contains(
                "gw/new paused (gateway)"))
        _ = runSlice(&subject, "paused (gateway)")
        #expect(subject.orders.isEmpty)
    }

    @Test func aResumeComesBehindThePause() {
        var subject = online()
        var lines = subject.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        lines += subject.ask(.resume(.gateway("gw")), id: "r", slices: 0)
        while let due = subject.owner.nextWork, due <= subject.now { lines += subject.handle(.roomCame, slices: 0) }
        for name in names {
            #expect(
                lines.filter { $0.hasPrefix("gw/\(name) ") } == [
                    "gw/\(name) paused (gateway)", "gw/\(name) resumed (gateway)",
                ])
        }
        #expect(lines.filter { $0.hasPrefix("p: ") || $0.hasPrefix("r: ") } == ["p: paused 250", "r: paused 250"])
        #expect(names.allSatisfy { subject.record("gw/\($0)")?.isPaused == false })
    }

    @Test func heartbeatsForceNothing() {
        var subject = online()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        #expect(subject.beat("gw", names, slices: 0) == [])
        #expect(names.filter { subject.record("gw/\($0)")?.isPaused == true }.count == PartitionOwner.sliceMax)
    }

    @Test func judgingGoesOnBesideIt() {
        var subject = online()
        _ = subject.addGateway("other")
        _ = subject.provision("other/x", wake: false)
        _ = subject.beat("other", ["x"])
        subject.now = subject.now + .seconds(61)
        subject.wallTime = subject.wallTime + .seconds(61)
        _ = subject.ask(.pause(.gateway("gw"), until: nil), slices: 0)
        _ = subject.handle(.barrierPassed(asOf: subject.now), slices: 0)
        var slices = 0
        while subject.record("other/x")?.status == .online, slices < 10 {
            slices += 1
            _ = subject.handle(.roomCame, slices: 0)
        }
        #expect(slices <= 5)
        #expect(subject.record("other/x")?.status == .offline)
    }

    // MARK: Boards

    @Test func whoLeavesABoardMeanwhileIsPausedAndLetGo() {
        var subject = online()
        _ = subject.ask(.pause(.board("b1"), until: nil), slices: 0)
        let change = OwnerSubject.change("gw/a249", nil, "b2", [:], [:], false)
        #expect(
            subject.ask(.update(change), id: "u", slices: 0) == [
                "gw/a249 paused (board)", "gw/a249 changed (updated)", "gw/a249 resumed (board)", "u: online",
            ])
        _ = runSlice(&subject, "paused (board)")
        #expect(subject.record("gw/a249")?.isPaused == false)
        #expect(subject.record("gw/a248")?.pausedBy == [.board])
    }

    // MARK: Removal

    @Test func aRemovalRefusesWhatItHasNotComeToYet() {
        var subject = online()
        let first = subject.ask(.removeGateway("gw", force: true), id: "r", slices: 0)
        #expect(count(first, " deleted") == PartitionOwner.sliceMax)
        #expect(subject.ask(.wake(last), id: "w", slices: 0) == ["w: conflict agent"])
        #expect(subject.ask(.delete(last), id: "d", slices: 0) == ["d: conflict agent"])
        let change = OwnerSubject.change("gw/a249", .worker, "b1", [:], [:], true)
        #expect(subject.ask(.provision(change), id: "p", slices: 0) == ["p: conflict agent"])
        let pause = Command.pause(.board("b1"), until: nil)
        #expect(subject.ask(pause, id: "b", slices: 0) == ["board b1 is paused", "b: paused 0"])
        let rest = runSlice(&subject, " deleted")
        #expect(count(rest, " deleted") == 150)
        #expect(rest.last == "r: gw removed with 250")
        #expect(subject.owner.agentCount == 0)
        #expect(subject.owner.nextWork == nil)
    }

    @Test func aPauseThatARemovalOvertakesIsAnsweredFirst() {
        var subject = online()
        _ = subject.ask(.pause(.gateway("gw"), until: nil), id: "p", slices: 0)
        let lines = subject.ask(.removeGateway("gw", force: true), id: "r")
        #expect(count(lines, "paused (gateway)") == 150)
        let answers = lines.filter { $0.hasPrefix("p: ") || $0.hasPrefix("r: ") }
        #expect(answers == ["p: paused 250", "r: gw removed with 250"])
    }

    // MARK: Policy

    @Test func aPolicyIsAnsweredOnceAllFollowIt() {
        var subject = online()
        let patch = PolicyPatch([.offlineAfter: "30s"])
        let first = subject.ask(.addGateway("gw", policy: patch), id: "g", slices: 0)
        #expect(first.first == "gw is never")
        #expect(count(first, "changed (policy)") == PartitionOwner.sliceMax)
        #expect(
            subject.ask(.wake(last), id: "w", slices: 0).prefix(2) == [
                "gw/a249 changed (policy)", "gw/a249 updating (manual)",
            ])
        let rest = runSlice(&subject, "changed (policy)")
        #expect(count(rest, "changed (policy)") == 149)
        #expect(rest.last == "g: gw")
        #expect(names.allSatisfy { subject.record("gw/\($0)")?.policy.offlineAfter.description == "30s" })
    }
}
