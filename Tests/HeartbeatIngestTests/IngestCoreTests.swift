import API
import HeartbeatIngestCore
import Model
import Streams
import Testing
import Wire

/// What an ingest does about its connections, its subscription and its end: inputs in, actions out.
struct IngestCoreTests {
    private static let agent = "rollcall/v1/agents/gw/a/heartbeat"

    /// A core with what it has asked for.
    private struct Subject {
        var core = IngestCore(topics: Topics(), instance: "1", incarnation: "i", backlogBytesMax: 2_000)
        var now = Instant(nanoseconds: 1_000_000_000)
        let wallTime = Timestamp(millisecondsSince1970: 1_700_000_000_000)
        /// Frames that have no acknowledgement yet.
        var sent: [StreamFrame<PartitionMessage>] = []

        /// Hands an input in; what is wanted, in words.
        @discardableResult
        mutating func handle(_ input: IngestInput) -> [String] {
            var actions: [IngestAction] = []
            core.handle(input, now: now, wallTime: wallTime, into: &actions)
            return actions.map { words($0) }
        }

        private mutating func words(_ action: IngestAction) -> String {
            switch action {
            case .subscribe: return "subscribe"
            case .send(let outgoing):
                sent.append(outgoing.frame)
                switch outgoing.frame.body {
                case .batch: return "batch \(outgoing.frame.seq)"
                case .introduction(let subscription): return "introduce \(subscription)"
                case .request, .report, nil: return "frame"
                }
            case .answer(let answer, let reconciler):
                return "answer \(answer.number) to \(reconciler): \(answer.batches.sorted { $0.key < $1.key })"
            case .announce: return "announce"
            case .askForNotes: return "ask for notes"
            case .note(let ends): return ends.isRunning ? "note an incarnation" : "note a clean end"
            case .openSubscription(let end): return "open subscription \(end.subscription)"
            case .subscribeToHeartbeats: return "subscribe to heartbeats"
            case .unsubscribeFromHeartbeats: return "unsubscribe from heartbeats"
            case .sendCanary(.barrier(let number)): return "canary \(number)"
            case .sendCanary(.last): return "last canary"
            case .pauseSubscription(let isPaused): return isPaused ? "pause" : "resume"
            case .abandonSubscription: return "abandon subscription"
            case .closeSubscription: return "close subscription"
            case .log: return "log"
            case .fail: return "fail"
            case .drained: return "drained"
            }
        }

        mutating func pass(_ seconds: Double) { now = now + TimeSpan(milliseconds: Int64(seconds * 1_000)) }

        mutating func takeAcknowledgements() {
            for frame in sent {
                handle(.acknowledgementReceived(StreamAcknowledgement(id: frame.id, upTo: frame.seq, resendFrom: nil)))
            }
            sent = []
        }

        mutating func acknowledgePresence() { handle(.presenceAcknowledged(announcedAt: now)) }

        mutating func beat(_ count: Int = 1) {
            for _ in 0..<count {
                handle(
                    .heartbeatsReceived(
                        .bytes(topic: IngestCoreTests.agent, payload: [], tokenDigest: nil), at: now))
            }
        }

        mutating func hearOfTheStore() {
            var presence = Presence(
                service: .statusStore, instance: "1", state: .running, startedAt: wallTime, configDigest: "",
                incarnation: "s")
            presence.partitionCount = 1
            handle(.presenceReceived(presence))
        }
    }

    /// Connected to the owners, and nothing more.
    private func connected() -> Subject {
        var subject = Subject()
        subject.handle(.connected)
        subject.handle(.notesEnded)
        subject.hearOfTheStore()
        return subject
    }

    /// With a subscription whose subscription stands.
    private func receiving() -> Subject {
        var subject = connected()
        subject.acknowledgePresence()
        subject.handle(.turnEnded)
        subject.takeAcknowledgements()
        subject.handle(.turnEnded)
        subject.handle(.subscriptionConnected)
        subject.handle(.subscriptionAnswered(refused: []))
        return subject
    }

    @Test func itSubscribesOnceTheOwnersKnowIt() {
        var subject = Subject()
        #expect(subject.handle(.connected) == ["subscribe", "ask for notes"])
        #expect(subject.handle(.notesEnded) == ["note an incarnation"])
        subject.hearOfTheStore()
        #expect(subject.handle(.turnEnded) == [], "nobody has acknowledged its presence")
        subject.acknowledgePresence()
        #expect(subject.handle(.turnEnded) == ["introduce 1"])
        #expect(subject.handle(.turnEnded) == [])
        subject.takeAcknowledgements()
        #expect(subject.handle(.turnEnded) == ["open subscription 1"])
        #expect(subject.handle(.subscriptionConnected) == ["subscribe to heartbeats"])
        #expect(subject.handle(.subscriptionAnswered(refused: [])) == ["announce"])
        #expect(subject.core.heartbeatSession == 1)
    }

    @Test func aRefusedSubscriptionIsNone() {
        var subject = connected()
        subject.acknowledgePresence()
        subject.handle(.turnEnded)
        subject.takeAcknowledgements()
        subject.handle(.turnEnded)
        subject.handle(.subscriptionConnected)
        #expect(subject.handle(.subscriptionAnswered(refused: ["#"])) == [])
        #expect(subject.core.heartbeatSession == nil)
    }

    @Test func aBarrierIsAnsweredBehindItsCanaryAndItsBatches() {
        var subject = receiving()
        subject.beat()
        #expect(subject.handle(.questionReceived(BarrierQuestion(number: 7, reconciler: "r"))) == ["canary 1"])
        #expect(
            subject.handle(.canaryReceived(.barrier(1))) == ["batch 2", "answer 7 to r: [(key: \"0\", value: 2)]"])
        #expect(subject.handle(.canaryReceived(.barrier(1))) == [], "once")
    }

    @Test func withoutALineABarrierIsAnsweredAtOnce() {
        var subject = connected()
        #expect(
            subject.handle(.questionReceived(BarrierQuestion(number: 7, reconciler: "r"))) == ["answer 7 to r: []"])
    }

    @Test func aLineWhosePresenceNobodyAcknowledgesEnds() {
        var subject = receiving()
        subject.pass(4.9)
        #expect(subject.handle(.ticked) == [])
        subject.pass(0.2)
        #expect(subject.handle(.ticked) == ["abandon subscription", "announce"])
        subject.pass(1)
        #expect(subject.handle(.turnEnded) == [], "and no other begins")
        subject.acknowledgePresence()
        #expect(subject.handle(.turnEnded) == ["introduce 2"])
    }

    @Test func itStopsReadingWhenTooMuchWaits() {
        var subject = receiving()
        for _ in 0..<6 {
            subject.beat()
            subject.pass(0.03)
            subject.handle(.turnEnded)
        }
        #expect(subject.core.backlogBytes > 2_000)
        #expect(
            subject.handle(.questionReceived(BarrierQuestion(number: 7, reconciler: "r"))) == [], "it reads no canary")
        subject.acknowledgePresence()
        subject.pass(0.5)
        #expect(!subject.handle(.ticked).contains("abandon subscription"))
        subject.pass(0.6)
        #expect(subject.handle(.ticked).contains("abandon subscription"))
        subject.acknowledgePresence()
        #expect(!subject.handle(.turnEnded).contains("introduce 2"), "none is opened that would not be read")
        subject.takeAcknowledgements()
        let actions = subject.handle(.turnEnded)
        #expect(actions.starts(with: ["resume", "log"]))
    }

    @Test func aCleanEndHandsOverFirst() {
        var subject = receiving()
        subject.takeAcknowledgements()
        subject.beat()
        subject.handle(.stopRequested)
        #expect(subject.handle(.turnEnded) == ["unsubscribe from heartbeats", "last canary"])
        subject.pass(0.03)
        #expect(subject.handle(.turnEnded) == ["batch 2"])
        #expect(subject.handle(.canaryReceived(.last)) == [])
        #expect(subject.handle(.turnEnded) == [], "its batch has no acknowledgement")
        subject.takeAcknowledgements()
        #expect(subject.handle(.turnEnded) == ["close subscription", "note a clean end", "drained"])
        #expect(subject.handle(.turnEnded) == [])
    }

    @Test func itsFirstBatchIsHandedOverToo() {
        var subject = receiving()
        subject.takeAcknowledgements()
        subject.beat()
        subject.handle(.stopRequested)
        subject.handle(.turnEnded)
        subject.handle(.canaryReceived(.last))
        #expect(subject.handle(.turnEnded) == ["batch 2"], "it has no acknowledgement")
        subject.takeAcknowledgements()
        #expect(subject.handle(.turnEnded) == ["close subscription", "note a clean end", "drained"])
    }

    @Test func aLineThatBreaksWhileItDrainsIsNoCleanEnd() {
        var subject = receiving()
        subject.handle(.stopRequested)
        subject.handle(.turnEnded)
        #expect(subject.handle(.subscriptionLost) == ["announce"])
        subject.takeAcknowledgements()
        subject.pass(3)
        #expect(!subject.handle(.turnEnded).contains("drained"))
    }

    @Test func withoutOwnersItReceivesNothing() {
        var subject = receiving()
        #expect(subject.handle(.disconnected) == ["abandon subscription", "announce"])
        #expect(subject.handle(.subscriptionLost) == [])
        subject.pass(5)
        #expect(subject.handle(.turnEnded) == [])
    }
}
