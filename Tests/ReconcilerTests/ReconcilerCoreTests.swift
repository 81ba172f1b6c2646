import API
import Model
import Streams
import Testing
import Wire

@testable import ReconcilerCore

/// What a reconciler does about its partitions, its streams, its verdicts and its end: inputs in, actions out.
struct ReconcilerCoreTests {
    /// A reconciler with what it has asked for.
    private struct Subject {
        var core: ReconcilerCore<PartitionOwner>
        var now = Instant(nanoseconds: 1_000_000_000_000)
        let wallTime = Timestamp(millisecondsSince1970: 1_700_000_000_000)
        /// Frames to the store that have no acknowledgement yet.
        var sent: [StreamFrame<StoreFrame>] = []
        private var grantSeq = 0
        private var requestSeq = 0
        private var batchSeq = 0

        init() {
            core = ReconcilerCore(
                instance: "1", incarnation: "r", room: Backpressure(framesMax: 2), now: now, wallTime: wallTime
            ) { PartitionOwner(partition: $0, epoch: $1, instance: "1", systemPolicy: Policy()) }
        }

        /// Hands an input in; what is wanted, in words. What operators are told about agents is left out.
        @discardableResult
        mutating func handle(_ input: ReconcilerInput) -> [String] {
            var actions: [ReconcilerAction] = []
            core.handle(input, now: now, wallTime: wallTime, into: &actions)
            return actions.compactMap { words($0) }
        }

        private mutating func words(_ action: ReconcilerAction) -> String? {
            switch action {
            case .subscribe(let partitions): return "subscribe \(partitions)"
            case .subscribePartition(let number): return "subscribe \(number)"
            case .unsubscribePartition(let number): return "unsubscribe \(number)"
            case .send(let outgoing):
                sent.append(outgoing.frame)
                return "frame \(outgoing.frame.id.stream) \(outgoing.frame.seq)"
            case .acknowledgement(let acknowledgement):
                return "acknowledge \(acknowledgement.id.stream) \(acknowledgement.upTo)"
            case .ask(let question, let ingest): return "ask \(ingest) \(question.number)"
            case .answer(let answer): return "answer \(answer.asker.number): \(answer.rejected?.rawValue ?? "taken")"
            case .announce: return "announce"
            case .log(let log): return words(log)
            }
        }

        private func words(_ log: ReconcilerLog) -> String? {
            switch log {
            case .lifecycle, .missingAgent: nil
            case .messageDropped(let unread): "dropped a \(unread.frame.body?.kind ?? "")"
            case .takenOver(let partition, let epoch, _): "owns \(partition) under \(epoch)"
            case .dropped(let partition, let epoch): "forgets \(partition) of \(epoch)"
            case .suspended(let reason): "blind: \(reason)"
            case .observable: "observable"
            }
        }

        mutating func pass(_ milliseconds: Int64) { now = now + TimeSpan(milliseconds: milliseconds) }

        mutating func endTurn() -> [String] {
            var words = handle(.turnEnded)
            while core.hasWork(now: now) { words += handle(.sliceBegan) }
            return words
        }

        mutating func commitAll() -> [String] {
            defer { sent = [] }
            return sent.flatMap {
                handle(.acknowledgementReceived(StreamAcknowledgement(id: $0.id, upTo: $0.seq, resendFrom: nil)))
            }
        }

        mutating func grant(_ partition: Int, epoch: Int, index: Int = 0, isLast: Bool = true) -> [String] {
            give(.grant(GrantChunk(partition: partition, epoch: epoch, incarnation: "r", index: index, isLast: isLast)))
        }

        mutating func give(_ message: ReconcilerMessage) -> [String] {
            grantSeq += 1
            let id = StreamID(service: "status-store", instance: "1", incarnation: "s", stream: "grants-1")
            return handle(.grantReceived(StreamFrame(id: id, seq: grantSeq, lowWaterMark: 1, age: 0, body: message)))
        }

        mutating func ask(_ command: Command) -> [String] {
            requestSeq += 1
            let id = StreamID(service: "provisioner", instance: "1", incarnation: "p", stream: "requests/0")
            let request = PartitionRequest(
                id: "q\(requestSeq)", digest: "d\(requestSeq)", isKeyed: true, command: command,
                minted: MintedToken(digest: "token", id: "t"), rendered: nil, traceparent: nil, provisioner: "1")
            let frame = StreamFrame(
                id: id, seq: requestSeq, lowWaterMark: 1, age: 0, body: PartitionMessage.request(request))
            return handle(.frameReceived(frame, partition: 0))
        }

        static let batches = StreamID(
            service: "heartbeat-ingest", instance: "1", incarnation: "i", stream: "batches/0")

        mutating func handUnread(_ kind: String) -> [String] {
            batchSeq += 1
            let frame = StreamFrame(
                id: Subject.batches, seq: batchSeq, lowWaterMark: batchSeq, age: 0, body: UnreadBody(kind: kind))
            return handle(.unreadFrameReceived(UnreadFrame(frame, partition: 0, error: "no number")))
        }

        mutating func hearOfAnIngest() -> [String] {
            var presence = Presence(
                service: .heartbeatIngest, instance: "1", state: .running, startedAt: wallTime, configDigest: "",
                incarnation: "i")
            presence.heartbeatSession = 1
            return handle(.presenceReceived(presence, isRetained: false))
        }
    }

    private let gateway = Command.addGateway("gw", policy: PolicyPatch([:]))

    /// Owns partition 0, and may judge.
    private func owning() -> Subject {
        var subject = Subject()
        subject.handle(.connected)
        subject.handle(.subscribed)
        _ = subject.hearOfAnIngest()
        _ = subject.grant(0, epoch: 1)
        _ = subject.endTurn()
        return subject
    }

    @Test func itTakesAPartitionOnceItsSnapshotIsComplete() {
        var subject = Subject()
        #expect(subject.handle(.connected) == ["subscribe []"])
        #expect(subject.grant(0, epoch: 1, isLast: false) == [])
        #expect(subject.ask(gateway) == [], "it does not own it yet")
        #expect(subject.grant(0, epoch: 1, index: 2) == [], "a chunk is missing")
        #expect(subject.grant(0, epoch: 1, index: 1) == ["owns 0 under 1", "subscribe 0", "announce"])
        #expect(subject.endTurn() == ["acknowledge grants-1 3"])
        #expect(subject.handle(.connected) == ["subscribe [0]"])
    }

    @Test func aLaterGrantTakesThePlaceOfAnEarlierOne() {
        var subject = owning()
        #expect(subject.grant(0, epoch: 1, index: 3) == [])
        let words = subject.grant(0, epoch: 2)
        #expect(
            words == [
                "forgets 0 of 1", "unsubscribe 0", "announce", "owns 0 under 2", "subscribe 0", "announce",
            ])
        #expect(subject.grant(0, epoch: 1) == [], "it comes late")
        #expect(subject.give(.revoke(partition: 0, epoch: 1)) == [], "another epoch is revoked")
        #expect(
            subject.give(.revoke(partition: 0, epoch: 2)) == ["forgets 0 of 2", "unsubscribe 0", "announce"])
    }

    @Test func whatItReadsIsAcknowledgedOnceWhatItCausedIsCommitted() {
        var subject = owning()
        #expect(subject.ask(gateway) == [])
        #expect(subject.endTurn() == ["frame events/0/1 1"])
        #expect(subject.endTurn() == [])
        #expect(subject.commitAll() == ["acknowledge requests/0 1"])
    }

    @Test func withoutAConnectionFramesWaitForTheNext() {
        var subject = owning()
        subject.handle(.disconnected)
        #expect(subject.ask(gateway) == [])
        #expect(subject.endTurn() == [])
        #expect(subject.handle(.connected) == ["subscribe [0]", "frame events/0/1 1"])
    }

    @Test func itStopsByHandingOverWhatItHasDecided() {
        var subject = owning()
        _ = subject.ask(gateway)
        #expect(subject.handle(.stopRequested) == ["unsubscribe 0"])
        #expect(subject.handle(.stopRequested) == [])
        #expect(subject.endTurn() == ["frame events/0/1 1"])
        #expect(!subject.core.isDrained)
        #expect(subject.ask(gateway) == [], "it takes nothing more")
        #expect(subject.grant(1, epoch: 1) == [], "nor partitions")
        #expect(subject.commitAll() == ["acknowledge requests/0 1"])
        #expect(subject.core.isDrained)
        #expect(subject.core.wakeAt(now: subject.now) == nil)
    }

    @Test func whatCannotBeReadIsLeftOut() {
        var subject = owning()
        #expect(subject.core.counters(now: subject.now).suspensions == 1, "the start")
        #expect(subject.handUnread("batch") == ["dropped a batch"])
        #expect(subject.core.counters(now: subject.now).suspensions == 2, "who is silent may have been heard")
        #expect(subject.endTurn() == ["acknowledge batches/0 1"])
        #expect(subject.handUnread("report") == ["dropped a report"])
        #expect(subject.core.counters(now: subject.now).suspensions == 2)
        #expect(subject.endTurn() == ["acknowledge batches/0 2"])
        #expect(subject.handUnread("introduction") == [], "its acknowledgement would say that the ingest is asked")
        #expect(subject.endTurn() == [])
    }

    @Test func whileNothingIsCommittedNothingIsJudgedOrBegun() {
        var subject = owning()
        _ = subject.ask(gateway)
        _ = subject.endTurn()
        subject.pass(1_001)
        #expect(subject.handle(.ticked).contains("blind: the status store does not commit"))
        #expect(!subject.core.hasWork(now: subject.now), "the store has no room")
        #expect(subject.commitAll().contains("acknowledge requests/0 1"))
        #expect(subject.handle(.ticked) == ["observable", "announce"])
    }

    @Test func withoutAnIngestItIsBlind() {
        var subject = Subject()
        subject.handle(.connected)
        #expect(subject.handle(.subscribed) == [])
        #expect(subject.handle(.ticked) == ["blind: no heartbeat-ingest receives heartbeats", "announce"])
        #expect(subject.hearOfAnIngest() == ["observable", "announce"])
        #expect(
            subject.handle(
                .subscriptionEnded(
                    HeartbeatSubscriptionEnded(ingest: "1", incarnation: "i", subscription: 1), isRetained: false))
                == ["blind: no heartbeat-ingest receives heartbeats", "announce"])
    }
}
