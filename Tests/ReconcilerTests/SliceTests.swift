import Contract
import Lifecycle
import Testing

@testable import ReconcilerCore

/// What concerns many agents at once is done in slices.
@Suite struct SliceTests {
    private let names = (0..<250).map { "a\($0)" }

    /// Online agents of one gateway with a deadline of their silence at one moment.
    private func silent() -> Desk {
        var desk = Desk([.onLapse: "offline", .offlineAfter: "60s"])
        _ = desk.addGateway()
        for name in names { _ = desk.provision("gw/\(name)", wake: false) }
        _ = desk.beat("gw", names)
        desk.now = desk.now + .seconds(61)
        desk.stamp = desk.stamp + .seconds(61)
        return desk
    }

    private func offline(_ lines: [String]) -> Int { lines.filter { $0.hasSuffix("offline (lapsed)") }.count }

    @Test func verdictsOfOneBarrierGoOnInTheNextSlices() {
        var desk = silent()
        let barrier = desk.now
        #expect(desk.handle(.barrierPassed(asOf: barrier), slices: 0) == [])
        #expect(desk.owner.nextVerdict == nil, "what is judged already needs no other barrier")
        #expect(offline(desk.handle(.roomCame, slices: 0)) == PartitionOwner.sliceMax)
        // Heartbeats are taken between two slices.
        let judged = names.filter { desk.record("gw/\($0)")?.status == .offline }
        let waiting = names.first { desk.record("gw/\($0)")?.status == .online }!
        #expect(desk.beat("gw", [waiting, judged[0]], slices: 0) == ["gw/\(judged[0]) online (heartbeat)"])
        #expect(offline(desk.handle(.roomCame)) == names.count - PartitionOwner.sliceMax - 1)
        #expect(desk.record("gw/\(waiting)")?.status == .online)
        #expect(desk.owner.nextWork.map { $0 <= desk.now } != true)
    }

    @Test func allAreJudgedInTheEnd() {
        var desk = silent()
        #expect(offline(desk.handle(.barrierPassed(asOf: desk.now))) == names.count)
        #expect(desk.owner.nextVerdict == nil)
    }

    @Test func whatIsLeftIsNotJudgedWhenSightIsLost() {
        var desk = silent()
        _ = desk.handle(.barrierPassed(asOf: desk.now), slices: 1)
        #expect(desk.handle(.sightLost) == [])
        #expect(offline(desk.handle(.sightRegained)) == 0)
        #expect(offline(desk.handle(.barrierPassed(asOf: desk.now))) == 0, "silence is counted anew")
        #expect(names.filter { desk.record("gw/\($0)")?.status == .online }.count == 150)
    }

    @Test func sightIsRegainedOnceTheLastAgentWasTold() {
        var desk = silent()
        _ = desk.handle(.sightLost)
        _ = desk.handle(.sightRegained, slices: 2)
        #expect(desk.owner.isBlind)
        #expect(desk.owner.nextVerdict == nil)
        #expect(desk.handle(.barrierPassed(asOf: desk.now), slices: 0) == [])
        _ = desk.handle(.roomCame, slices: 0)
        #expect(!desk.owner.isBlind)
        #expect(desk.owner.nextVerdict != nil)
    }

    @Test func sightThatIsLostMeanwhileIsRegainedFromTheStart() {
        var desk = silent()
        _ = desk.handle(.sightLost)
        _ = desk.handle(.sightRegained, slices: 2)
        _ = desk.handle(.sightLost)
        #expect(desk.owner.nextWork == nil)
        _ = desk.handle(.sightRegained, slices: 2)
        #expect(desk.owner.isBlind)
        _ = desk.handle(.roomCame)
        #expect(!desk.owner.isBlind)
    }

    // MARK: A gateway's return

    /// All went offline because their gateway was lost.
    private func lost() -> Desk {
        var desk = Desk([.onLapse: "offline", .offlineAfter: "60s", .wakeRate: "0"])
        _ = desk.addGateway()
        for name in names { _ = desk.provision("gw/\(name)", wake: false) }
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = desk.beat("gw", names)
        _ = desk.pass(1_000)
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        _ = desk.pass(61_000)
        return desk
    }

    /// In one slice: each takes part in it twice, told of the return and given its wake's turn at once.
    private let told = PartitionOwner.sliceMax / 2

    private func recovering(_ lines: [String]) -> Int { lines.filter { $0.hasSuffix("updating (recover)") }.count }

    @Test func aReturnIsToldOnceAndRecoversInSlices() {
        var desk = lost()
        let status = PartitionEvent.gatewayStatusReceived(gateway: "gw", .connected)
        #expect(desk.handle(status, slices: 0) == ["gw gateway_connected 250", "gw is connected"])
        #expect(desk.handle(status, slices: 0) == [])
        var count = 0
        while let due = desk.owner.nextWork, due <= desk.now {
            let lines = desk.handle(.roomCame, slices: 0)
            #expect(recovering(lines) <= PartitionOwner.sliceMax)
            count += recovering(lines)
        }
        #expect(count == names.count)
    }

    @Test func aSuccessorRecoversThoseThatWereLeft() {
        var desk = lost()
        let first = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected), slices: 1)
        #expect(recovering(first) == told)
        _ = desk.replaceOwner([.wakeRate: "0"])
        let status = PartitionEvent.gatewayStatusReceived(gateway: "gw", .connected)
        #expect(desk.handle(status) == [], "it was told before")
        #expect(recovering(desk.handle(.sightRegained)) == names.count - told)
    }

    @Test func aGatewayThatIsLostAgainRecoversNobody() {
        var desk = lost()
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected), slices: 1)
        desk.now = desk.now + .seconds(2)
        let lines = desk.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(lines.first == "gw gateway_lost 250")
        #expect(recovering(lines) == 0)
        #expect(
            recovering(desk.handle(.gatewayStatusReceived(gateway: "gw", .connected)))
                == names.count - told)
    }

    @Test func aSuccessorTellsOfNoLossOrReturnThatWasTold() {
        for state in [GatewayStatusMessage.State.connected, .lost] {
            var desk = Desk.online(["a", "b"])
            _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
            _ = desk.handle(.gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state)))
            _ = desk.replaceOwner()
            // The broker's retained copy comes to each owner.
            _ = desk.handle(.gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state)))
            #expect(desk.handle(.sightRegained) == [])
        }
    }

    @Test func aSuccessorTellsWithACountWhatHappenedInBetween() {
        var desk = Desk.online(["a", "b"])
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = desk.replaceOwner()
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(desk.handle(.sightRegained) == ["gw gateway_lost 2", "gw is lost"])
    }

    // MARK: Wakes and sightings

    @Test func wakesOfManyGatewaysTakeTurnsInSlices() {
        var desk = Desk([.wakeRate: "0"], isSighted: true)
        for gateway in ["g1", "g2", "g3"] {
            _ = desk.addGateway(gateway)
            for number in 0..<120 {
                _ = desk.handle(
                    .requestReceived(
                        PartitionRequest(
                            id: "\(gateway)-\(number)", digest: "", isKeyed: true,
                            command: .provision(
                                Desk.change("\(gateway)/a\(number)", .worker, "b1", [:], [:], false)),
                            minted: MintedToken(digest: "d", id: "i"),
                            rendered: RenderedTemplates(
                                inputs: RenderInputs(role: .worker, board: "b1", variables: [:]), digest: "t"),
                            traceparent: nil, provisioner: "p1")))
            }
        }
        // All at once: a board's pause holds their wakes, and its end lets them go.
        _ = desk.ask(.pause(.board("b1"), until: nil))
        for gateway in ["g1", "g2", "g3"] {
            for number in 0..<120 { _ = desk.ask(.wake(AgentAddress("\(gateway)/a\(number)")!)) }
        }
        var ordered: [String] = desk.handle(
            .requestReceived(
                PartitionRequest(
                    id: "resume", digest: "", isKeyed: true, command: .resume(.board("b1")), minted: nil,
                    rendered: nil, traceparent: nil, provisioner: "p1")), slices: 0)
        #expect(ordered.filter { $0.contains(" order ") }.count <= PartitionOwner.sliceMax)
        while let due = desk.owner.nextWork, due <= desk.now {
            let lines = desk.handle(.roomCame, slices: 0)
            #expect(lines.filter { $0.contains(" order ") }.count <= PartitionOwner.sliceMax)
            ordered += lines
        }
        #expect(ordered.filter { $0.contains(" order ") }.count == 360)
    }

    @Test func sightingsGoOutInBoundedEntries() {
        let many = (0..<12_000).map { "a\($0)" }
        var desk = Desk()
        _ = desk.addGateway()
        for name in many { _ = desk.provision("gw/\(name)", wake: false) }
        _ = desk.beat("gw", many)
        desk.now = desk.now + .seconds(3)
        desk.stamp = desk.stamp + .seconds(3)
        _ = desk.beat("gw", many)
        desk.now = desk.now + .seconds(3)
        let first = desk.handle(.roomCame, slices: 0)
        #expect(first.count == PartitionOwner.sightingEntriesMax)
        #expect(desk.owner.nextWork.map { $0 <= desk.now } == true, "the rest is due")
        #expect(desk.handle(.roomCame, slices: 0).count == 4)
        #expect(desk.owner.nextWork.map { $0 <= desk.now } != true)
    }

    /// A store that is behind would be given the same agents again and again: the newest sighting of each waits for room.
    @Test func sightingsWaitForRoom() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a", wake: false)
        _ = desk.beat("gw", ["a"])
        for _ in 0..<10 {
            desk.now = desk.now + .seconds(3)
            desk.stamp = desk.stamp + .seconds(3)
            #expect(desk.handle(.timePassed, slices: 0) == [])
            _ = desk.beat("gw", ["a"], slices: 0)
        }
        #expect(desk.handle(.roomCame, slices: 0).count == 1)
    }

    // MARK: Room

    @Test func roomEndsWithALagOrManyFrames() {
        let room = CommitRoom()
        let now = Instant(nanoseconds: 10_000_000_000)
        #expect(room.isThere(now: now, oldestUncommitted: nil, frames: 0))
        #expect(room.isThere(now: now, oldestUncommitted: now, frames: CommitRoom.framesMax - 1))
        #expect(!room.isThere(now: now, oldestUncommitted: now, frames: CommitRoom.framesMax))
        let lag = CommitRoom.lagMax
        #expect(room.isThere(now: now + lag, oldestUncommitted: now, frames: 1))
        #expect(!room.isThere(now: now + lag + TimeSpan(milliseconds: 1), oldestUncommitted: now, frames: 1))
    }
}
