import API
import Model
import Testing
import Wire

@testable import HeartbeatIngestCore

/// When an ingest may subscribe to heartbeats.
struct SubscriptionGateTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let wallTime = Timestamp(millisecondsSince1970: 1_700_000_000_000)

    private func gate(after note: CrashLoopBackoff? = nil) -> SubscriptionGate {
        var gate = SubscriptionGate()
        gate.found(note, now: start, wallTime: wallTime)
        return gate
    }

    /// What an incarnation notes that began after this many unclean ends, one each second.
    private func note(ends count: Int) -> CrashLoopBackoff {
        var note = CrashLoopBackoff(after: nil, now: wallTime)
        for number in 0..<count {
            note = CrashLoopBackoff(after: note, now: wallTime - .seconds(Int64(count - number)))
        }
        return note
    }

    private func other(_ state: Presence.State = .running, session: Int? = 1) -> Presence {
        var presence = Presence(
            service: .heartbeatIngest, instance: "2", state: state, startedAt: wallTime, configDigest: "",
            incarnation: "o")
        presence.heartbeatSession = session
        return presence
    }

    @Test func itOpensALineOnceEveryOwnerHasAcknowledgedIt() {
        var gate = gate()
        #expect(gate.begin(now: start) == 1)
        for partition in 0..<3 { gate.introduced(to: partition, seq: 7) }
        gate.acknowledged(0, upTo: 7)
        gate.acknowledged(1, upTo: 9)
        #expect(!gate.isAcknowledged)
        gate.acknowledged(2, upTo: 6)
        #expect(!gate.isAcknowledged, "an acknowledgement of what came before it")
        #expect(gate.begin(now: start) == nil, "one at a time")
        gate.acknowledged(2, upTo: 7)
        #expect(gate.isAcknowledged)
        gate.opened()
        #expect(!gate.isAcknowledged)
        #expect(gate.begin(now: start + .seconds(9)) == nil)
    }

    @Test func nothingBeginsBeforeEarlierLivesAreKnown() {
        var gate = SubscriptionGate()
        #expect(gate.begin(now: start) == nil)
    }

    @Test func everyLineIsIntroducedAnew() {
        var gate = gate()
        _ = gate.begin(now: start)
        gate.introduced(to: 0, seq: 1)
        gate.closed(now: start)
        gate.acknowledged(0, upTo: 1)
        #expect(!gate.isAcknowledged, "of a connection that is gone")
        #expect(gate.begin(now: start) == 2)
        gate.introduced(to: 0, seq: 2)
        gate.acknowledged(0, upTo: 2)
        gate.opened()
        gate.closed(now: start)
        #expect(gate.begin(now: start) == nil, "a subscription that ended is not followed at once")
        #expect(gate.begin(now: start + SubscriptionGate.retryMin) == 3)
    }

    @Test func linesThatNeverStandFollowMoreAndMoreSlowly() {
        var gate = gate()
        var now = start
        var pauses: [Int64] = []
        for _ in 0..<8 {
            let ended = now
            while gate.begin(now: now) == nil { now = now + TimeSpan(milliseconds: 10) }
            pauses.append(now.milliseconds(since: ended))
            gate.opened()
            gate.closed(now: now)
        }
        #expect(pauses == [0, 50, 100, 200, 400, 800, 1_600, 2_000])
    }

    @Test(arguments: [(0, 0), (2, 0), (3, 10), (4, 20), (5, 40), (6, 80), (7, 160), (8, 300), (30, 300)])
    func whoKeepsEndingUncleanlyWaits(ends: Int, seconds: Int64) {
        var gate = gate(after: ends == 0 ? nil : note(ends: ends - 1))
        gate.heard(other(), now: start)
        if seconds > 0 {
            #expect(gate.wait(now: start) == .seconds(seconds))
            let early = start + TimeSpan(milliseconds: seconds * 1_000 - 1)
            gate.heard(other(), now: early)
            #expect(gate.begin(now: early) == nil)
        }
        #expect(gate.begin(now: start + .seconds(seconds)) == 1)
    }

    @Test func itDoesNotWaitAlone() {
        var nobody = gate(after: note(ends: 9))
        #expect(nobody.wait(now: start) == nil)
        #expect(nobody.begin(now: start) == 1)
        for end in [other(.lost), other(.stopped), other(session: nil)] {
            var left = gate(after: note(ends: 9))
            left.heard(other(), now: start)
            #expect(left.begin(now: start) == nil)
            left.heard(end, now: start)
            #expect(left.begin(now: start) == 1)
        }
        var silent = gate(after: note(ends: 9))
        silent.heard(other(), now: start)
        #expect(silent.begin(now: start + .seconds(10)) == nil)
        #expect(silent.begin(now: start + TimeSpan(milliseconds: 10_001)) == 1, "the other one is not heard any more")
    }

    @Test func aStallIsAsGoodAsAnEnd() {
        var gate = gate(after: note(ends: 1))
        gate.heard(other(), now: start)
        #expect(gate.wait(now: start) == nil)
        gate.stalled(now: start, wallTime: wallTime)
        #expect(gate.wait(now: start) == .seconds(10))
    }

    @Test func cleanEndsAndOldOnesCountForNothing() {
        let clean = CrashLoopBackoff(after: note(ends: 2).ended(), now: wallTime)
        #expect(clean.ends.count == 2, "its own end was a clean one")
        #expect(clean.wait(now: wallTime) == .zero)
        let unclean = CrashLoopBackoff(after: note(ends: 2), now: wallTime)
        #expect(unclean.wait(now: wallTime) == .seconds(10))
        #expect(unclean.wait(now: wallTime + .seconds(300)) == .zero)
        #expect(CrashLoopBackoff(after: note(ends: 9), now: wallTime + .seconds(1_000)).ends.count == 1)
        #expect(
            CrashLoopBackoff(after: note(ends: 9), now: wallTime - .seconds(1_000)).ends.count == 1,
            "noted by a wrong clock")
    }

    @Test func aNoteSurvivesItsJourney() throws {
        let note = note(ends: 4)
        #expect(try WireFormat.decode(CrashLoopBackoff.self, from: JSON.bytes(note)) == note)
    }
}
