import API
import Lifecycle
import MemoryStorage
import Model
import Storage
import Testing
import Wire

@testable import StatusStoreCore

/// Lookups take turns with commits, and askers with each other.
@Suite struct LookupTests {
    /// A connected store with so many agents.
    private func subject(agents count: Int) throws -> StoreSubject {
        let database = MemoryDatabase(partitionCount: 1, identity: "d")
        _ = try database.grant(0, instance: "r1", incarnation: "i1", above: 0)
        var entries: [StoreEntry] = []
        for number in 0..<count {
            var record = AgentRecord(
                address: AgentAddress("gw/a\(1_000 + number)")!, board: nil, role: .main, status: .online,
                policy: Policy(), createdAt: Timestamp(millisecondsSince1970: 0))
            record.revision = 1
            entries.append(StoreEntry(.agent(Carried(AgentState(record: record)), nil)))
        }
        let frame = StoreFrame(partition: 0, epoch: 1, entries: entries)
        _ = try database.commit(
            [ReceivedFrame(stream: StoreSubject.stream, seq: 1, frame: frame)], published: 0,
            now: Timestamp(millisecondsSince1970: 0))
        var subject = try StoreSubject(FailingDatabase(database), access: .none)
        subject.handle(.connected)
        subject.handle(.subscribed)
        subject.pass(1.1)
        subject.turn()
        _ = subject.acknowledge()
        return subject
    }

    private func list(_ asker: String, limit: Int = 100) -> StoreInput {
        .lookupReceived(
            LookupRequest(
                verb: .list, payload: Array("{\"limit\":\(limit)}".utf8),
                replyTo: ReplyAddress(topic: "rollcall/v1/replies/\(asker)/x", correlationData: nil),
                answerBytesMax: 1_000_000))
    }

    private func replies(_ asker: String) -> String { "reply to rollcall/v1/replies/\(asker)/x" }

    /// No step reads more than a few records: what is to be committed comes in between.
    @Test func aLongListIsReadInSteps() throws {
        var subject = try subject(agents: 300)
        subject.handle(list("op:a", limit: 250))
        var steps = 0
        while steps < 100 {
            steps += 1
            let words = subject.handle(.turnEnded(.answer))
            if words == [replies("op:a")] { break }
            #expect(words.isEmpty)
            subject.pass(0.01)  // the time of this turn is over
        }
        #expect((10...12).contains(steps))
        #expect(subject.core.counters.lookups == 1)
    }

    @Test func askersAreServedInTurn() throws {
        var subject = try subject(agents: 1)
        for _ in 0..<5 { subject.handle(list("op:a")) }
        subject.handle(list("op:b"))
        #expect(subject.turn(.answer).prefix(3) == [replies("op:a"), replies("op:b"), replies("op:a")][...])
    }

    @Test func oneAskerHasAThousandUnderWay() throws {
        var subject = try subject(agents: 1)
        var words: [String] = []
        for _ in 0..<(3 * Limits.requestsUnderWayMax) { words += subject.handle(list("op:a")) }
        #expect(Set(words) == ["problem too-many-requests"])
        #expect(words.count == Limits.requestsUnderWayMax, "then there is silence")
        #expect(subject.core.counters.lookupsRefused == Int64(2 * Limits.requestsUnderWayMax))
        #expect(subject.handle(list("op:b")) == [])
        #expect(subject.turn(.answer).contains(replies("op:b")))
        // Once the broker has the answers there is room again.
        while !subject.underWay.isEmpty || subject.core.wakeAt == subject.now {
            _ = subject.turn(.answer)
            _ = subject.acknowledge()
        }
        #expect(subject.handle(list("op:a")) == [])
        #expect(subject.turn(.answer) == [replies("op:a")])
    }

    /// The broker does not take them: no more are made.
    @Test func theAnswersOfOneAskerUnderWayAreBounded() {
        var askers = LookupAskers()
        let request = LookupRequest(
            verb: .list, payload: [], replyTo: ReplyAddress(topic: "t", correlationData: nil), answerBytesMax: 1)
        for _ in 0..<100 { _ = askers.take(request, of: "a") }
        var ticket = 0
        while askers.next() != nil {
            ticket += 1
            askers.sent(ticket, to: "a", bytes: 1_000_000, wasTaken: true)
        }
        #expect(ticket == 17)
        _ = askers.take(request, of: "b")
        var next = askers.next()?.asker
        #expect(next == "b")
        #expect(!askers.hasNext)
        _ = askers.settled(1)
        next = askers.next()?.asker
        #expect(next == "a")
    }
}
