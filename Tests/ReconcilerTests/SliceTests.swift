import API
import Model
import Testing
import Wire

@testable import ReconcilerCore

/// What concerns many agents at once is done in slices.
@Suite struct SliceTests {
    private let names = (0..<250).map { "a\($0)" }

    /// Online agents of one gateway with a deadline of their silence at one moment.
    private func silent() -> OwnerSubject {
        var subject = OwnerSubject([.onLapse: "offline", .offlineAfter: "60s"])
        _ = subject.addGateway()
        for name in names { _ = subject.provision("gw/\(name)", wake: false) }
        _ = subject.beat("gw", names)
        subject.now = subject.now + .seconds(61)
        subject.wallTime = subject.wallTime + .seconds(61)
        return subject
    }

    private func offline(_ lines: [String]) -> Int { lines.filter { $0.hasSuffix("offline (lapsed)") }.count }

    @Test func verdictsOfOneBarrierGoOnInTheNextSlices() {
        var subject = silent()
        let barrier = subject.now
        #expect(subject.handle(.barrierPassed(asOf: barrier), slices: 0) == [])
        #expect(subject.owner.nextVerdict == nil, "what is judged already needs no other barrier")
        #expect(offline(subject.handle(.roomCame, slices: 0)) == PartitionOwner.sliceMax)
        // Heartbeats are taken between two slices.
        let judged = names.filter { subject.record("gw/\($0)")?.status == .offline }
        let waiting = names.first { subject.record("gw/\($0)")?.status == .online }!
        #expect(subject.beat("gw", [waiting, judged[0]], slices: 0) == ["gw/\(judged[0]) online (heartbeat)"])
        #expect(offline(subject.handle(.roomCame)) == names.count - PartitionOwner.sliceMax - 1)
        #expect(subject.record("gw/\(waiting)")?.status == .online)
        #expect(subject.owner.nextWork.map { $0 <= subject.now } != true)
    }

    @Test func allAreJudgedInTheEnd() {
        var subject = silent()
        #expect(offline(subject.handle(.barrierPassed(asOf: subject.now))) == names.count)
        #expect(subject.owner.nextVerdict == nil)
    }

    @Test func whatIsLeftIsNotJudgedWhenObservabilityIsLost() {
        var subject = silent()
        _ = subject.handle(.barrierPassed(asOf: subject.now), slices: 1)
        #expect(subject.handle(.observabilityLost) == [])
        #expect(offline(subject.handle(.observabilityRestored)) == 0)
        #expect(offline(subject.handle(.barrierPassed(asOf: subject.now))) == 0, "silence is counted anew")
        #expect(names.filter { subject.record("gw/\($0)")?.status == .online }.count == 150)
    }

    @Test func sightIsRegainedOnceTheLastAgentWasTold() {
        var subject = silent()
        _ = subject.handle(.observabilityLost)
        _ = subject.handle(.observabilityRestored, slices: 2)
        #expect(subject.owner.isSuspended)
        #expect(subject.owner.nextVerdict == nil)
        #expect(subject.handle(.barrierPassed(asOf: subject.now), slices: 0) == [])
        _ = subject.handle(.roomCame, slices: 0)
        #expect(!subject.owner.isSuspended)
        #expect(subject.owner.nextVerdict != nil)
    }

    @Test func sightThatIsLostMeanwhileIsRegainedFromTheStart() {
        var subject = silent()
        _ = subject.handle(.observabilityLost)
        _ = subject.handle(.observabilityRestored, slices: 2)
        _ = subject.handle(.observabilityLost)
        #expect(subject.owner.nextWork == nil)
        _ = subject.handle(.observabilityRestored, slices: 2)
        #expect(subject.owner.isSuspended)
        _ = subject.handle(.roomCame)
        #expect(!subject.owner.isSuspended)
    }

    // MARK: A gateway's return

    /// All went offline because their gateway was lost.
    private func lost() -> OwnerSubject {
        var subject = OwnerSubject([.onLapse: "offline", .offlineAfter: "60s", .wakeRate: "0"])
        _ = subject.addGateway()
        for name in names { _ = subject.provision("gw/\(name)", wake: false) }
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = subject.beat("gw", names)
        _ = subject.pass(1_000)
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        _ = subject.pass(61_000)
        return subject
    }

    /// In one slice: each takes part in it twice, told of the return and given its wake's turn at once.
    private let told = PartitionOwner.sliceMax / 2

    private func recovering(_ lines: [String]) -> Int { lines.filter { $0.hasSuffix("updating (recover)") }.count }

    @Test func aReturnIsToldOnceAndRecoversInSlices() {
        var subject = lost()
        let status = PartitionEvent.gatewayStatusReceived(gateway: "gw", .connected)
        #expect(subject.handle(status, slices: 0) == ["gw gateway_connected 250", "gw is connected"])
        #expect(subject.handle(status, slices: 0) == [])
        var count = 0
        while let due = subject.owner.nextWork, due <= subject.now {
            let lines = subject.handle(.roomCame, slices: 0)
            #expect(recovering(lines) <= PartitionOwner.sliceMax)
            count += recovering(lines)
        }
        #expect(count == names.count)
    }

    @Test func aSuccessorRecoversThoseThatWereLeft() {
        var subject = lost()
        let first = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected), slices: 1)
        #expect(recovering(first) == told)
        _ = subject.replaceOwner([.wakeRate: "0"])
        let status = PartitionEvent.gatewayStatusReceived(gateway: "gw", .connected)
        #expect(subject.handle(status) == [], "it was told before")
        #expect(recovering(subject.handle(.observabilityRestored)) == names.count - told)
    }

    @Test func aGatewayThatIsLostAgainRecoversNobody() {
        var subject = lost()
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected), slices: 1)
        subject.now = subject.now + .seconds(2)
        let lines = subject.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(lines.first == "gw gateway_lost 250")
        #expect(recovering(lines) == 0)
        #expect(
            recovering(subject.handle(.gatewayStatusReceived(gateway: "gw", .connected)))
                == names.count - told)
    }

    @Test func aSuccessorTellsOfNoLossOrReturnThatWasTold() {
        for state in [GatewayStatusMessage.State.connected, .lost] {
            var subject = OwnerSubject.online(["a", "b"])
            _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
            _ = subject.handle(.gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state)))
            _ = subject.replaceOwner()
            // The broker's retained copy comes to each owner.
            _ = subject.handle(.gatewayStatusReceived(gateway: "gw", GatewayStatusMessage(state: state)))
            #expect(subject.handle(.observabilityRestored) == [])
        }
    }

    @Test func aSuccessorTellsWithACountWhatHappenedInBetween() {
        var subject = OwnerSubject.online(["a", "b"])
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        _ = subject.replaceOwner()
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .lost))
        #expect(subject.handle(.observabilityRestored) == ["gw gateway_lost 2", "gw is lost"])
    }

    // MARK: Wakes and last-seen updates

    @Test func wakesOfManyGatewaysTakeTurnsInSlices() {
        var subject = OwnerSubject([.wakeRate: "0"], isObservable: true)
        for gateway in ["g1", "g2", "g3"] {
            _ = subject.addGateway(gateway)
            for number in 0..<120 {
                _ = subject.handle(
                    .requestReceived(
                        PartitionRequest(
                            id: "\(gateway)-\(number)", digest: "", isKeyed: true,
                            command: .provision(
                                OwnerSubject.change("\(gateway)/a\(number)", .worker, "b1", [:], [:], false)),
                            minted: MintedToken(digest: "d", id: "i"),
                            rendered: RenderedTemplates(
                                inputs: RenderInputs(role: .worker, board: "b1", variables: [:]), digest: "t"),
                            traceparent: nil, provisioner: "p1")))
            }
        }
        // All at once: a board's pause holds their wakes, and its end lets them go.
        _ = subject.ask(.pause(.board("b1"), until: nil))
        for gateway in ["g1", "g2", "g3"] {
            for number in 0..<120 { _ = subject.ask(.wake(AgentAddress("\(gateway)/a\(number)")!)) }
        }
        var ordered: [String] = subject.handle(
            .requestReceived(
                PartitionRequest(
                    id: "resume", digest: "", isKeyed: true, command: .resume(.board("b1")), minted: nil,
                    rendered: nil, traceparent: nil, provisioner: "p1")), slices: 0)
        #expect(ordered.filter { $0.contains(" order ") }.count <= PartitionOwner.sliceMax)
        while let due = subject.owner.nextWork, due <= subject.now {
            let lines = subject.handle(.roomCame, slices: 0)
            #expect(lines.filter { $0.contains(" order ") }.count <= PartitionOwner.sliceMax)
            ordered += lines
        }
        #expect(ordered.filter { $0.contains(" order ") }.count == 360)
    }

    @Test func lastSeenUpdatesGoOutInBoundedEntries() {
        let many = (0..<12_000).map { "a\($0)" }
        var subject = OwnerSubject()
        _ = subject.addGateway()
        for name in many { _ = subject.provision("gw/\(name)", wake: false) }
        _ = subject.beat("gw", many)
        subject.now = subject.now + .seconds(3)
        subject.wallTime = subject.wallTime + .seconds(3)
        _ = subject.beat("gw", many)
        subject.now = subject.now + .seconds(3)
        let first = subject.handle(.roomCame, slices: 0)
        #expect(first.count == LastSeenBuffer.entriesMax)
        #expect(subject.owner.nextWork.map { $0 <= subject.now } == true, "the rest is due")
        #expect(subject.handle(.roomCame, slices: 0).count == 4)
        #expect(subject.owner.nextWork.map { $0 <= subject.now } != true)
    }

    /// A store that is behind would be given the same agents again and again: the newest last-seen update of each waits for room.
    @Test func lastSeenUpdatesWaitForRoom() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a", wake: false)
        _ = subject.beat("gw", ["a"])
        for _ in 0..<10 {
            subject.now = subject.now + .seconds(3)
            subject.wallTime = subject.wallTime + .seconds(3)
            #expect(subject.handle(.timePassed, slices: 0) == [])
            _ = subject.beat("gw", ["a"], slices: 0)
        }
        #expect(subject.handle(.roomCame, slices: 0).count == 1)
    }

    // MARK: Room

    @Test func roomEndsWithALagOrManyFrames() {
        let room = Backpressure()
        let now = Instant(nanoseconds: 10_000_000_000)
        #expect(room.isThere(now: now, oldestUncommitted: nil, frames: 0))
        #expect(room.isThere(now: now, oldestUncommitted: now, frames: Backpressure.framesMax - 1))
        #expect(!room.isThere(now: now, oldestUncommitted: now, frames: Backpressure.framesMax))
        let lag = Backpressure.lagMax
        #expect(room.isThere(now: now + lag, oldestUncommitted: now, frames: 1))
        #expect(!room.isThere(now: now + lag + TimeSpan(milliseconds: 1), oldestUncommitted: now, frames: 1))
    }
}
