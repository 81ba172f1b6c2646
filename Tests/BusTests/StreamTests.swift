import API
import Bus
import Model
import Streams
import Testing
import Wire

private let id = StreamID(service: "s", instance: "1", incarnation: "a", stream: "x")

private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

/// The sending end of a stream.
@Suite struct StreamSenderTests {
    @Test func framesAreNumberedAndKeptUntilTheirAcknowledgement() {
        var sender = StreamSender<String>(id)
        #expect(sender.advertisement() == nil)
        let frames = ["a", "b", "c"].compactMap { sender.send($0, now: at(0)) }
        #expect(frames.map(\.seq) == [1, 2, 3])
        #expect(frames.map(\.lowWaterMark) == [1, 1, 1])
        #expect(frames.map(\.body) == ["a", "b", "c"])
        #expect(sender.unacknowledgedCount == 3)
        #expect(sender.acknowledgedSeq == 0)

        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil), now: at(10)).isEmpty)
        #expect(sender.unacknowledgedCount == 1)
        #expect(sender.acknowledgedSeq == 2)
        #expect(sender.send("d", now: at(11))?.lowWaterMark == 3)
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 4, resendFrom: nil), now: at(12)).isEmpty)
        #expect(sender.unacknowledgedCount == 0)
        #expect(sender.acknowledgedSeq == 4)
        #expect(sender.advertisement() == nil)
        #expect(sender.highWaterMark == 4)
    }

    @Test func acknowledgementsOfAnotherIncarnationSayNothing() {
        var sender = StreamSender<String>(id)
        _ = sender.send("a", now: at(0))
        let other = StreamID(service: "s", instance: "1", incarnation: "b", stream: "x")
        #expect(sender.receive(StreamAcknowledgement(id: other, upTo: 1, resendFrom: nil), now: at(1)).isEmpty)
        #expect(sender.unacknowledgedCount == 1)
    }

    @Test func lateAndRepeatedAcknowledgementsChangeNothing() {
        var sender = StreamSender<String>(id)
        for _ in 1...3 { _ = sender.send("a", now: at(0)) }
        _ = sender.receive(StreamAcknowledgement(id: id, upTo: 3, resendFrom: nil), now: at(1))
        _ = sender.send("b", now: at(2))
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil), now: at(3)).isEmpty)
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 3, resendFrom: nil), now: at(3)).isEmpty)
        #expect(sender.unacknowledgedCount == 1)
        #expect(sender.acknowledgedSeq == 3)
    }

    @Test func whatWaitsTooLongIsRepeatedWithItsAge() {
        var sender = StreamSender<String>(id)
        _ = sender.send("a", now: at(0))
        #expect(sender.due(now: at(999)).isEmpty)
        let repeated = sender.due(now: at(1_000))
        #expect(repeated.map(\.seq) == [1])
        #expect(repeated.map(\.age) == [1_000])
        #expect(sender.due(now: at(1_999)).isEmpty)
        #expect(sender.due(now: at(2_000)).map(\.age) == [2_000])
        #expect(sender.oldestUnacknowledged == at(0))
    }

    @Test func whatIsAskedForIsRepeated() {
        var sender = StreamSender<String>(id)
        for text in ["a", "b", "c"] { _ = sender.send(text, now: at(0)) }
        let frames = sender.receive(StreamAcknowledgement(id: id, upTo: 1, resendFrom: 3), now: at(5))
        #expect(frames.map(\.body) == ["c"])
        #expect(frames.map(\.lowWaterMark) == [2])
        // Asked for something that was acknowledged: from the low-water mark that is unacknowledged.
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 1, resendFrom: 1), now: at(6)).map(\.seq) == [2, 3])
    }

    /// A new connection gets everything that is unacknowledged, 64 at a time, the rest with the acknowledgements.
    @Test func aNewConnectionGetsAllThatIsKept() {
        var sender = StreamSender<Int>(id)
        for number in 1...200 { _ = sender.send(number, now: at(0)) }
        var arrived = sender.resendAll(now: at(10)).map(\.seq)
        #expect(arrived == Array(1...64))
        while let last = arrived.last, last < 200 {
            let more = sender.receive(StreamAcknowledgement(id: id, upTo: last, resendFrom: nil), now: at(20))
            #expect(!more.isEmpty)
            guard !more.isEmpty else { return }
            arrived += more.map(\.seq)
        }
        #expect(arrived == Array(1...200))
    }

    /// What a slow receiver has not acknowledged bounds what is under way; the rest waits here and ages.
    @Test func onlyAWindowIsUnderWay() {
        var sender = StreamSender<Int>(id, windowMax: 3)
        let frames = (1...5).compactMap { sender.send($0, now: at(0)) }
        #expect(frames.map(\.seq) == [1, 2, 3])
        #expect(sender.highWaterMark == 5 && sender.unacknowledgedCount == 5)
        #expect(sender.advertisement()?.seq == 3, "nobody is to ask for what was not sent")
        let repeated = sender.due(now: at(1_000))
        #expect(repeated.map(\.seq) == [1, 3])
        #expect(repeated.map(\.body) == [1, nil], "of all but the oldest only how far they go")
        #expect(
            sender.receive(StreamAcknowledgement(id: id, upTo: 0, resendFrom: 2), now: at(1_001)).map(\.seq) == [2, 3])
        let more = sender.receive(StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil), now: at(1_500))
        #expect(more.map(\.seq) == [4, 5])
        #expect(more.map(\.age) == [1_500, 1_500])
        #expect(sender.send(6, now: at(1_501)) == nil)
        #expect(
            sender.receive(StreamAcknowledgement(id: id, upTo: 5, resendFrom: nil), now: at(1_600)).map(\.seq) == [6])
    }

    /// A window that was made smaller, or larger, holds for what is sent next.
    @Test func aWindowMayChange() {
        var sender = StreamSender<Int>(id, windowMax: 4)
        for number in 1...9 { _ = sender.send(number, now: at(0)) }
        sender.windowMax = 2
        #expect(sender.advertisement()?.seq == 4)
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 1, resendFrom: nil), now: at(1)).isEmpty)
        #expect(sender.receive(StreamAcknowledgement(id: id, upTo: 3, resendFrom: nil), now: at(1)).map(\.seq) == [5])
        #expect(sender.resendAll(now: at(2)).map(\.seq) == [4, 5])
        sender.windowMax = 5
        #expect(
            sender.receive(StreamAcknowledgement(id: id, upTo: 4, resendFrom: nil), now: at(3)).map(\.seq) == [
                6, 7, 8, 9,
            ])
    }

    @Test func aFullSenderSaysSo() {
        var sender = StreamSender<Int>(id)
        for number in 1...StreamSender<Int>.unacknowledgedMax { _ = sender.send(number, now: at(0)) }
        #expect(sender.isFull)
        _ = sender.receive(StreamAcknowledgement(id: id, upTo: 1, resendFrom: nil), now: at(1))
        #expect(!sender.isFull)
    }
}

/// What a service keeps of its streams while a receiver is behind.
@Suite struct StreamBacklogTests {
    private struct Body: Codable, Sendable {
        let texts = (0..<8).map { "text \($0)" }

        enum CodingKeys: CodingKey {}
    }

    /// A provisioner whose owner was behind took longer for each report the more of them waited, stalled, and came further
    /// behind.
    @Test func aBacklogMakesSendingNoSlower() {
        let topics = Topics(root: "test/v1")
        let outlet = StreamOutlet<Body>(topics: topics, service: .provisioner, instance: "1", incarnation: "a")
        let stream = "requests/0"
        for _ in 0..<100_000 { outlet.send(Body(), to: .partition(0), stream: stream, now: at(0)) }
        let id = StreamID(service: "provisioner", instance: "1", incarnation: "a", stream: stream)
        for seq in 1...100_000 {
            _ = outlet.receive(StreamAcknowledgement(id: id, upTo: seq, resendFrom: nil), now: at(1))
        }
        #expect(outlet.unacknowledgedCount == 0)
    }
}

/// Numbers that no sender gives.
@Suite struct ImpossibleFrameTests {
    @Test(arguments: [(Int.min, 1), (Int.max, 1), (1, Int.min), (1, 0), (-1, 1)])
    func whatNoSenderCountsToIsNothing(seq: Int, lowWaterMark: Int) {
        var receiver = StreamReceiver()
        let id = StreamID(service: "s", instance: "1", incarnation: "a", stream: "x")
        #expect(
            receiver.judge(id, seq: seq, lowWaterMark: lowWaterMark, hasBody: true, now: at(0)) == .gap(askFrom: nil))
    }

    @Test func aAcknowledgementOfAnyNumberHarmsNoSender() {
        let id = StreamID(service: "s", instance: "1", incarnation: "a", stream: "x")
        for upTo in [Int.min, 0, Int.max] {
            for from in [Int.min, 0, Int.max, nil] {
                var sender = StreamSender<Int>(id)
                for body in 1...3 { _ = sender.send(body, now: at(0)) }
                _ = sender.receive(StreamAcknowledgement(id: id, upTo: 1, resendFrom: nil), now: at(0))
                _ = sender.receive(StreamAcknowledgement(id: id, upTo: upTo, resendFrom: from), now: at(0))
                #expect(sender.unacknowledgedCount == (upTo == .max ? 0 : 2))
            }
        }
    }
}

/// The receiving end of streams.
@Suite struct StreamReceiverTests {
    @Test func eachFrameIsAppliedOnceAndInOrder() {
        var receiver = StreamReceiver()
        #expect(judge(&receiver, 1) == .apply)
        #expect(judge(&receiver, 1) == .duplicate)
        #expect(judge(&receiver, 2) == .apply)
        #expect(judge(&receiver, 1) == .duplicate)
        #expect(judge(&receiver, 3) == .apply)
    }

    @Test func aAcknowledgementComesOnlyAfterTheCommit() {
        var receiver = StreamReceiver()
        _ = judge(&receiver, 1)
        _ = judge(&receiver, 2)
        _ = judge(&receiver, 2)
        #expect(receiver.takeAcknowledgements().isEmpty)
        receiver.committed(id, upTo: 1)
        #expect(receiver.takeAcknowledgements() == [StreamAcknowledgement(id: id, upTo: 1, resendFrom: nil)])
        #expect(receiver.takeAcknowledgements().isEmpty)
        receiver.committed(id, upTo: 2)
        receiver.committed(id, upTo: 2)
        #expect(receiver.takeAcknowledgements() == [StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil)])
        // A repeat of what is committed means that the acknowledgement was lost.
        #expect(judge(&receiver, 2) == .duplicate)
        #expect(receiver.takeAcknowledgements() == [StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil)])
    }

    @Test func aCommitOfWhatWasNotAppliedIsCut() {
        var receiver = StreamReceiver()
        _ = judge(&receiver, 1)
        receiver.committed(id, upTo: 5)
        #expect(receiver.takeAcknowledgements() == [StreamAcknowledgement(id: id, upTo: 1, resendFrom: nil)])
        #expect(judge(&receiver, 2) == .apply)
    }

    @Test func aGapIsAskedForFiveTimesASecond() {
        var receiver = StreamReceiver()
        _ = judge(&receiver, 1, now: 1_000)
        #expect(judge(&receiver, 3, now: 1_001) == .gap(askFrom: 2))
        #expect(judge(&receiver, 4, now: 1_100) == .gap(askFrom: nil))
        #expect(judge(&receiver, 5, now: 1_201) == .gap(askFrom: 2))
        #expect(receiver.ask(id, from: 2) == StreamAcknowledgement(id: id, upTo: 0, resendFrom: 2))
        #expect(judge(&receiver, 2, now: 1_202) == .apply)
        #expect(judge(&receiver, 3, now: 1_203) == .apply)
    }

    @Test func anAnnouncementShowsAGapAtTheTail() {
        var receiver = StreamReceiver()
        _ = judge(&receiver, 1, now: 1_000)
        #expect(judge(&receiver, 3, hasBody: false, now: 1_001) == .gap(askFrom: 2))
        #expect(judge(&receiver, 2, now: 1_002) == .apply)
        #expect(judge(&receiver, 3, now: 1_003) == .apply)
        #expect(judge(&receiver, 3, hasBody: false, now: 1_004) == .duplicate)
        // An advertisement alone is never applied.
        #expect(judge(&receiver, 4, hasBody: false, now: 2_000) == .gap(askFrom: 4))
    }

    @Test func aReceiverWithoutStateBeginsAtTheLowest() {
        var receiver = StreamReceiver()
        #expect(judge(&receiver, 9, lowWaterMark: 7, now: 1_000) == .gap(askFrom: 7))
        #expect(judge(&receiver, 7, lowWaterMark: 7, now: 1_001) == .apply)
        #expect(judge(&receiver, 8, lowWaterMark: 7, now: 1_002) == .apply)
        // What others committed meanwhile is not waited for.
        #expect(judge(&receiver, 12, lowWaterMark: 12, now: 1_003) == .apply)
    }

    @Test func aRestoredReceiverGoesOnWhereItWas() {
        var receiver = StreamReceiver()
        receiver.restore(id, committed: 5, now: at(0))
        #expect(judge(&receiver, 5, lowWaterMark: 4) == .duplicate)
        #expect(receiver.takeAcknowledgements() == [StreamAcknowledgement(id: id, upTo: 5, resendFrom: nil)])
        #expect(judge(&receiver, 6, lowWaterMark: 4) == .apply)
    }

    @Test func aForgottenStreamBeginsAnew() {
        var receiver = StreamReceiver()
        _ = judge(&receiver, 1)
        receiver.committed(id, upTo: 1)
        receiver.forget { $0.instance == "1" }
        #expect(receiver.takeAcknowledgements().isEmpty)
        #expect(judge(&receiver, 1) == .apply)
    }

    @Test func theStreamUnheardOfForLongestIsForgottenFirst() {
        var receiver = StreamReceiver()
        func stream(_ number: Int) -> StreamID {
            StreamID(service: "s", instance: "1", incarnation: "\(number)", stream: "x")
        }
        for number in 0...StreamReceiver.streamsMax {
            _ = receiver.judge(stream(number), seq: 1, lowWaterMark: 1, hasBody: true, now: at(Int64(number)))
        }
        #expect(receiver.judge(stream(1), seq: 1, lowWaterMark: 1, hasBody: true, now: at(9_000)) == .duplicate)
        #expect(receiver.judge(stream(0), seq: 1, lowWaterMark: 1, hasBody: true, now: at(9_001)) == .apply)
    }

    private func judge(
        _ receiver: inout StreamReceiver, _ seq: Int, lowWaterMark: Int = 1, hasBody: Bool = true, now: Int64 = 0
    ) -> StreamReceiver.Verdict {
        receiver.judge(id, seq: seq, lowWaterMark: lowWaterMark, hasBody: hasBody, now: at(now))
    }
}
