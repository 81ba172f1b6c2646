import API
import Model
import Testing
import Wire

@testable import StatusStoreCore

@Suite struct OrderBookTests {
    private func agent(_ name: String) -> AgentAddress { AgentAddress(gateway: "gw", agent: name)! }

    @Test func publishesOldestFirstAndAgainWhenNotSettled() {
        var book = OrderBook()
        book.issued(agent("a"), position: 1)
        book.issued(agent("b"), position: 2)
        #expect(book.take(now: at(0)) == [agent("a"), agent("b")])
        #expect(book.take(now: at(5.9)).isEmpty)
        book.settled(agent("a"))
        #expect(book.take(now: at(6)) == [agent("b")])
        #expect(book.take(now: at(7)).isEmpty)
        book.settled(agent("b"))
        #expect(book.take(now: at(20)).isEmpty)
        #expect(book.count == 0)
    }

    @Test func aNewOrderReplacesTheOneBefore() {
        var book = OrderBook()
        book.issued(agent("a"), position: 1)
        #expect(book.take(now: at(0)) == [agent("a")])
        book.issued(agent("a"), position: 2)
        #expect(book.take(now: at(1)) == [agent("a")])
        #expect(book.take(now: at(6)).isEmpty, "the one before does not count")
        #expect(book.take(now: at(7)) == [agent("a")])
    }

    @Test func publishesAllAgainInTheirOrder() {
        var book = OrderBook()
        for number in 1...5 { book.issued(agent("a\(number)"), position: Int64(number)) }
        _ = book.take(now: at(0))
        book.settled(agent("a2"))
        book.publishAllAgain()
        #expect(book.take(now: at(1)).map(\.agent) == ["a1", "a3", "a4", "a5"])
    }

    @Test func isPaced() {
        var book = OrderBook()
        for number in 1...(OrderBook.underWayMax + 10) { book.issued(agent("a\(number)"), position: Int64(number)) }
        #expect(book.take(now: at(0)).count == OrderBook.underWayMax)
        #expect(book.take(now: at(1)).isEmpty)
        for number in 1...5 { book.settled(agent("a\(number)")) }
        #expect(book.take(now: at(1)).map(\.agent) == (1...5).map { "a\(OrderBook.underWayMax + $0)" })
        // What has expired waits behind those that were never published.
        #expect(book.take(now: at(6)).prefix(5).map(\.agent) == (6...10).map { "a\(OrderBook.underWayMax + $0)" })
    }
}

@Suite struct OutboxWindowTests {
    @Test func countsOnlyWhatIsAcknowledgedWithoutAGap() {
        var window = OutboxWindow(published: 10)
        window.published(11, tickets: [1, 2])
        window.published(12, tickets: [3])
        window.acknowledged(3)
        #expect(window.published == 10)
        window.acknowledged(1)
        #expect(window.published == 10)
        window.acknowledged(2)
        #expect(window.published == 12)
        #expect(window.sent == 12)
    }

    @Test func credentialsAreInForceOnceTheyAreAcknowledged() {
        var window = OutboxWindow(published: 4)
        #expect(window.isInForce(4))
        window.publishedCredentials(upTo: 9, ticket: 7)
        #expect(!window.mayPublishCredentials, "one message of them at a time")
        #expect(!window.isInForce(5))
        #expect(window.isOfCredentials(7) && window.has(ticket: 7))
        window.acknowledged(7)
        #expect(window.mayPublishCredentials)
        #expect(window.isInForce(9) && !window.isInForce(10))
        window.published(5, tickets: [])
        #expect(window.published == 5, "a credential in force has nothing to wait for")
    }

    @Test func credentialsGoOutAgainAfterALoss() {
        var window = OutboxWindow(published: 4)
        window.publishedCredentials(upTo: 9, ticket: 7)
        window.acknowledged(7)
        window.published(5, tickets: [8])
        window.publishedCredentials(upTo: 12, ticket: 9)
        window.startAgain()
        #expect(window.mayPublishCredentials)
        #expect(!window.isInForce(5), "the broker may have forgotten what it took")
        window.acknowledged(9)
        #expect(!window.isInForce(5))
    }

    @Test func startsAgainAtTheLowestThatIsNotAcknowledged() {
        var window = OutboxWindow(published: 0)
        window.published(1, tickets: [1])
        window.published(2, tickets: [2])
        window.published(3, tickets: [3])
        window.acknowledged(1)
        window.startAgain()
        #expect(window.sent == 1)
        #expect(window.room == OutboxWindow.sizeMax)
        #expect(!window.has(ticket: 2))
        window.acknowledged(2)
        #expect(window.published == 1)
    }

    @Test func isBounded() {
        var window = OutboxWindow(published: 0)
        for number in 1...OutboxWindow.sizeMax { window.published(Int64(number), tickets: [number]) }
        #expect(window.room == 0)
    }
}

@Suite struct MessageTests {
    @Test func aFrameIsPutAsideAfterFiveAttempts() {
        var attempts = FrameAttempts()
        let stream = StreamID(service: "s", instance: "i", incarnation: "n", stream: "x")
        for _ in 1...4 { #expect(attempts.failed(stream, seq: 1) == false) }
        #expect(attempts.failed(stream, seq: 2) == false, "another frame has attempts of its own")
        for _ in 1...3 { _ = attempts.failed(stream, seq: 2) }
        #expect(attempts.failed(stream, seq: 2) == true)
    }

    @Test func aFullTableIsOneOrMoreMessages() {
        var table = AccessControl.Table()
        #expect(String(decoding: table.finish(), as: UTF8.self) == "begin\ncommit\n")
        var messages: [[UInt8]] = []
        let digest = String(repeating: "a", count: 64)
        let at = Timestamp("2026-01-31T12:00:00Z")!
        for number in 0..<30_000 {
            let message = table.add(username: "gw/agent-\(number)", digest: digest, now: at)
            if let message { messages.append(message) }
        }
        messages.append(table.finish())
        #expect(messages.count > 2)
        #expect(messages.allSatisfy { $0.count <= AccessControl.messageBytesMax + 8 })
        let lines = messages.flatMap { $0.split(separator: UInt8(ascii: "\n")) }.map {
            String(decoding: $0, as: UTF8.self)
        }
        #expect(lines.first == "begin")
        #expect(lines.last == "commit")
        #expect(lines.count == 30_002)
    }

    @Test(arguments: [
        (599_001, ["set gw/a d1", "overlap gw/a d2 600", "overlap gw/a d3 600"]),
        (1, ["set gw/a d1", "overlap gw/a d2 1", "overlap gw/a d3 1"]),
        (0, ["set gw/a d3"]), (-5_000, ["set gw/a d3"]),
        (86_400_000, ["set gw/a d1", "overlap gw/a d2 600", "overlap gw/a d3 600"]),
    ])
    func aTableTellsOfOverlapsThatLast(_ left: Int, _ lines: [String]) {
        var table = AccessControl.Table()
        let now = Timestamp("2026-01-31T12:00:00Z")!
        let until = now + TimeSpan(milliseconds: Int64(left))
        #expect(table.add(username: "gw/a", digest: "d3", superseded: ["d1", "d2"], until: until, now: now) == nil)
        #expect(
            String(decoding: table.finish(), as: UTF8.self)
                == (["begin"] + lines + ["commit", ""]).joined(separator: "\n"))
    }

    @Test func whatThePluginTellsOfUsedTokensIsRead() {
        let used = AccessControl.used(Array("gw/a d1\nnonsense\n\ngw d2\n".utf8))
        #expect(used.map { "\($0.username)=\($0.digest)" } == ["gw/a=d1", "gw=d2"])
    }

    @Test func aPageTellsWhereTheNextBegins() {
        let items = ["1", "2", "3"].map { Array($0.utf8) }
        func page(_ member: String, _ limit: Int) -> String {
            String(decoding: LookupAnswer.page(member, items, limit: limit) { "c\($0)" }, as: UTF8.self)
        }
        #expect(page("records", 3) == #"{"next":null,"records":[1,2,3]}"#)
        #expect(page("records", 2) == #"{"next":"c1","records":[1,2]}"#)
        #expect(page("events", 1) == #"{"events":[1],"next":"c0"}"#)
        let large = [UInt8](repeating: 0x31, count: 400_000)
        let shortened = LookupAnswer.page("records", [large, large, large], limit: 3) { "c\($0)" }
        #expect(shortened.count <= Limits.messageBytesMax)
        #expect(String(decoding: shortened.prefix(13), as: UTF8.self) == #"{"next":"c1","#)
        #expect(
            String(decoding: LookupAnswer.page("records", [], limit: 3) { "c\($0)" }, as: UTF8.self)
                == #"{"next":null,"records":[]}"#)
    }

    @Test func anAnswerThatNoMessageHoldsIsAProblemThatSaysWhatToDo() {
        let answer = [UInt8](repeating: 0x31, count: 100)
        func refused(_ lookup: Lookup) -> Problem? {
            let fitting = LookupAnswer.fitting(answer, to: lookup, bytesMax: 99)
            if case .failure(let problem) = fitting { return problem }
            return nil
        }
        #expect(LookupAnswer.fitting(answer, to: .listGateways, bytesMax: 100) == .success(answer))
        let problem = refused(.summary(gateway: nil))
        #expect(problem?.type == .tooLarge && problem?.status == 413)
        let detail = "the answer has 100 bytes or more, a message holds 99; ask for one gateway at a time, by 'gateway'"
        #expect(problem?.detail == detail)
        #expect(refused(.listGateways)?.detail.contains("'summary' with 'gateway'") == true)
        #expect(refused(.list(.init(), after: nil, limit: 1))?.detail.contains("'limit'") == true)
    }

    @Test func theSummaryNamesEveryStatus() {
        var summary = LookupAnswer.Summary()
        let none = #""by_status":{"deleting":0,"offline":0,"online":0,"provisioning":0,"updating":0},"total":0"#
        #expect(String(decoding: summary.bytes, as: UTF8.self) == "{\"by_gateway\":{},\(none)}")
        summary.add([:], gateway: "empty")
        summary.add([.online: 2, .offline: 1], gateway: "gw")
        let some = #""by_status":{"deleting":0,"offline":1,"online":2,"provisioning":0,"updating":0},"total":3"#
        let text = "{\"by_gateway\":{\"empty\":{\(none)},\"gw\":{\(some)}},\(some)}"
        #expect(String(decoding: summary.bytes, as: UTF8.self) == text)
    }

    @Test(
        arguments: [
            (nil, 0, nil), (nil, 5, 0), (CursorMessage(published: 5, database: "d"), 5, nil),
            (CursorMessage(published: 3, database: "d"), 5, 3), (CursorMessage(published: 8, database: "d"), 5, nil),
            (CursorMessage(published: 10, database: "d"), 5, 0), (CursorMessage(published: 5, database: "other"), 5, 0),
        ] as [(CursorMessage?, Int64, Int64?)])
    func statusesAreRepublishedWhereTheBrokerKnowsLess(_ found: CursorMessage?, _ published: Int64, _ from: Int64?) {
        #expect(CursorMessage.republishing(found: found, published: published, last: 9, database: "d") == from)
    }
}
