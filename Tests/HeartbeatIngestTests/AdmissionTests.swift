import Contract
import Lifecycle
import Testing

@testable import HeartbeatIngestCore

/// When an ingest may subscribe to heartbeats.
struct AdmissionTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let stamp = Timestamp(millisecondsSince1970: 1_700_000_000_000)

    private func admission(after note: UncleanEnds? = nil) -> Admission {
        var admission = Admission()
        admission.found(note, now: start, stamp: stamp)
        return admission
    }

    /// What a life notes that began after this many unclean ends, one each second.
    private func note(ends count: Int) -> UncleanEnds {
        var note = UncleanEnds(after: nil, now: stamp)
        for number in 0..<count {
            note = UncleanEnds(after: note, now: stamp - .seconds(Int64(count - number)))
        }
        return note
    }

    private func other(_ state: Presence.State = .running, session: Int? = 1) -> Presence {
        var presence = Presence(
            service: .heartbeatIngest, instance: "2", state: state, startedAt: stamp, configDigest: "",
            incarnation: "o")
        presence.heartbeatSession = session
        return presence
    }

    @Test func itOpensALineOnceEveryOwnerHasAcknowledgedIt() {
        var admission = admission()
        #expect(admission.begin(now: start) == 1)
        for partition in 0..<3 { admission.introduced(to: partition, seq: 7) }
        admission.receipted(0, upTo: 7)
        admission.receipted(1, upTo: 9)
        #expect(!admission.isAcknowledged)
        admission.receipted(2, upTo: 6)
        #expect(!admission.isAcknowledged, "a receipt of what came before it")
        #expect(admission.begin(now: start) == nil, "one at a time")
        admission.receipted(2, upTo: 7)
        #expect(admission.isAcknowledged)
        admission.opened()
        #expect(!admission.isAcknowledged)
        #expect(admission.begin(now: start + .seconds(9)) == nil)
    }

    @Test func nothingBeginsBeforeEarlierLivesAreKnown() {
        var admission = Admission()
        #expect(admission.begin(now: start) == nil)
    }

    @Test func everyLineIsIntroducedAnew() {
        var admission = admission()
        _ = admission.begin(now: start)
        admission.introduced(to: 0, seq: 1)
        admission.closed(now: start)
        admission.receipted(0, upTo: 1)
        #expect(!admission.isAcknowledged, "of a connection that is gone")
        #expect(admission.begin(now: start) == 2)
        admission.introduced(to: 0, seq: 2)
        admission.receipted(0, upTo: 2)
        admission.opened()
        admission.closed(now: start)
        #expect(admission.begin(now: start) == nil, "a line that ended is not followed at once")
        #expect(admission.begin(now: start + Admission.retryMin) == 3)
    }

    @Test func linesThatNeverStandFollowMoreAndMoreSlowly() {
        var admission = admission()
        var now = start
        var pauses: [Int64] = []
        for _ in 0..<8 {
            let ended = now
            while admission.begin(now: now) == nil { now = now + TimeSpan(milliseconds: 10) }
            pauses.append(now.milliseconds(since: ended))
            admission.opened()
            admission.closed(now: now)
        }
        #expect(pauses == [0, 50, 100, 200, 400, 800, 1_600, 2_000])
    }

    @Test(arguments: [(0, 0), (2, 0), (3, 10), (4, 20), (5, 40), (6, 80), (7, 160), (8, 300), (30, 300)])
    func whoKeepsEndingUncleanlyWaits(ends: Int, seconds: Int64) {
        var admission = admission(after: ends == 0 ? nil : note(ends: ends - 1))
        admission.heard(other(), now: start)
        if seconds > 0 {
            #expect(admission.wait(now: start) == .seconds(seconds))
            let early = start + TimeSpan(milliseconds: seconds * 1_000 - 1)
            admission.heard(other(), now: early)
            #expect(admission.begin(now: early) == nil)
        }
        #expect(admission.begin(now: start + .seconds(seconds)) == 1)
    }

    @Test func itDoesNotWaitAlone() {
        var nobody = admission(after: note(ends: 9))
        #expect(nobody.wait(now: start) == nil)
        #expect(nobody.begin(now: start) == 1)
        for end in [other(.lost), other(.stopped), other(session: nil)] {
            var left = admission(after: note(ends: 9))
            left.heard(other(), now: start)
            #expect(left.begin(now: start) == nil)
            left.heard(end, now: start)
            #expect(left.begin(now: start) == 1)
        }
        var silent = admission(after: note(ends: 9))
        silent.heard(other(), now: start)
        #expect(silent.begin(now: start + .seconds(10)) == nil)
        #expect(silent.begin(now: start + TimeSpan(milliseconds: 10_001)) == 1, "the other one is not heard any more")
    }

    @Test func aStallIsAsGoodAsAnEnd() {
        var admission = admission(after: note(ends: 1))
        admission.heard(other(), now: start)
        #expect(admission.wait(now: start) == nil)
        admission.stalled(now: start, stamp: stamp)
        #expect(admission.wait(now: start) == .seconds(10))
    }

    @Test func cleanEndsAndOldOnesCountForNothing() {
        let clean = UncleanEnds(after: note(ends: 2).ended(), now: stamp)
        #expect(clean.ends.count == 2, "its own end was a clean one")
        #expect(clean.wait(now: stamp) == .zero)
        let unclean = UncleanEnds(after: note(ends: 2), now: stamp)
        #expect(unclean.wait(now: stamp) == .seconds(10))
        #expect(unclean.wait(now: stamp + .seconds(300)) == .zero)
        #expect(UncleanEnds(after: note(ends: 9), now: stamp + .seconds(1_000)).ends.count == 1)
        #expect(
            UncleanEnds(after: note(ends: 9), now: stamp - .seconds(1_000)).ends.count == 1, "noted by a wrong clock")
    }

    @Test func aNoteSurvivesItsJourney() throws {
        let note = note(ends: 4)
        #expect(try JSON.decode(UncleanEnds.self, from: JSON.bytes(note)) == note)
    }
}
