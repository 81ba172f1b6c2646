import Model
import Testing
import Wire

@testable import ControlAPICore

/// Streams of Server-Sent Events, without a gap and without a repeat.
struct EventStreamTests {
    private static let look = ["authorization": "Bearer look"]
    private var handler = ControlAPICoreTests.Subject()

    private static let opened = "open text/event-stream no-store"

    private func page(oldest: Int64 = 1, last: Int64, _ events: (Int64, String, String)...) -> EventPage {
        EventPage(
            oldest: oldest, last: last,
            events.map {
                .init(sequence: $0.0, agent: $0.1, event: $0.2, document: Array("{\"n\":\($0.0)}".utf8))
            })
    }

    /// Opens a stream whose client has read the beginning; what is asked then.
    private mutating func open(_ target: String, _ headers: [String: String] = [:], as id: Int = 1) -> [String] {
        let all = Self.look.merging(headers) { $1 }
        #expect(handler.ask("GET", "/api/v1/events" + target, all) == ["\(id): \(Self.opened)", "\(id): :||"])
        return handler.handle(.streamDrained(id: id))
    }

    private mutating func tick(after time: TimeSpan = TimeSpan(milliseconds: 200)) -> [String] {
        handler.now = handler.now + time
        return handler.handle(.ticked)
    }

    private mutating func answer(_ number: Int, _ page: EventPage) -> [String] {
        handler.handle(.eventsAnswered(number: number, page))
    }

    @Test mutating func aGatewaysEventsAreAmongThoseOfItsAgents() {
        #expect(open("?after=1&gateway=gw&event=online,gateway_lost") == ["ask 1 after 1"])
        let page = page(last: 5, (2, "gw/a", "online"), (3, "gw/", "gateway_lost"), (4, "gw-2/", "gateway_lost"))
        #expect(
            answer(1, page) == [
                #"1: id: 2|event: online|data: {"n":2}||id: 3|event: gateway_lost|data: {"n":3}||"#
            ])
    }

    @Test mutating func beginsNow() {
        #expect(open("") == ["ask 1 after now"])
        #expect(answer(1, page(last: 7)) == ["1: id: 7||"])
        #expect(tick() == [])
        #expect(handler.handle(.streamDrained(id: 1)) == ["ask 2 after 7"])
        #expect(answer(2, page(last: 9, (8, "g/a", "online"))) == [#"1: id: 8|event: online|data: {"n":8}||"#])
        #expect(handler.handle(.streamDrained(id: 1)) == [])
        #expect(tick() == ["ask 3 after 9"])
        #expect(answer(3, page(last: 9)) == [])
        // An answer of before is none.
        #expect(answer(2, page(last: 12, (10, "g/a", "online"))) == [])
    }

    @Test mutating func saysThatNobodyAnswers() {
        #expect(open("") == ["ask 1 after now"])
        #expect(answer(1, page(last: 7)) == ["1: id: 7||"])
        #expect(handler.handle(.streamDrained(id: 1)) == ["ask 2 after 7"])
        #expect(tick(after: TimeSpan(milliseconds: 4_900)) == [])
        #expect(tick(after: TimeSpan(milliseconds: 100)) == ["ask 3 after 7", "1: : silent 5||"])
        #expect(handler.handle(.streamDrained(id: 1)) == [])
        #expect(tick() == [])
        // Until it has an answer again.
        #expect(answer(3, page(last: 7)) == [])
        #expect(tick() == ["ask 4 after 7", "1: :||"])
        _ = handler.handle(.streamDrained(id: 1))
        #expect(answer(4, page(last: 7)) == [])
        // The broker answers for nobody, either.
        _ = handler.handle(.disconnected)
        #expect(tick(after: .seconds(6)).contains("1: : silent 6||"))
        // Whoever comes when nobody was here is told of what is now.
        _ = handler.handle(.requestCancelled(id: 1))
        _ = handler.handle(.connected)
        _ = handler.handle(.subscribed)
        #expect(handler.ask("GET", "/api/v1/events", Self.look) == ["2: \(Self.opened)", "2: :||"])
    }

    @Test mutating func goesOnWhereItWas() {
        #expect(open("?after=3", ["last-event-id": "5"]) == ["ask 1 after 5"])
        var large = page(last: 20, (6, "g/a", "online"))
        large = EventPage(
            oldest: 1, last: 20,
            [
                large.entries[0],
                .init(sequence: 8, agent: "g/b", event: "woken", document: Array(repeating: 48, count: 60_000)),
            ])
        #expect(answer(1, large) == [#"1: id: 6|event: online|data: {"n":6}||"#])
        // There is more: at once, when the client has read that.
        #expect(handler.handle(.streamDrained(id: 1)) == ["ask 2 after 6"])
    }

    @Test mutating func aTokenHasSoManyStreams() {
        for id in 1...100 { _ = open("?after=3", as: id) }
        #expect(
            handler.ask("GET", "/api/v1/events", ["authorization": "Bearer look"]).first?.contains(": 429 ") == true)
        _ = handler.handle(.requestCancelled(id: 7))
        #expect(open("", as: 102) == [])
    }

    @Test mutating func filters() {
        #expect(open("?after=0&gateway=g&event=online,offline") == ["ask 1 after 0"])
        let events = page(
            last: 9, (2, "g/a", "online"), (3, "g-2/a", "online"), (4, "g/a", "woken"), (5, "g/b", "offline"))
        #expect(
            answer(1, events)
                == [#"1: id: 2|event: online|data: {"n":2}||id: 5|event: offline|data: {"n":5}||"#])
        #expect(open("?after=0&agent=g/b", as: 2) == ["ask 2 after 0"])
        #expect(answer(2, events) == [#"2: id: 5|event: offline|data: {"n":5}||"#])
    }

    @Test mutating func saysThatAPositionIsTooOld() {
        #expect(open("?after=3") == ["ask 1 after 3"])
        #expect(
            answer(1, page(oldest: 6, last: 9, (6, "g/a", "online"))) == [
                #"1: event: reset|id: 5|data: {"oldest":6}||"#
            ])
        #expect(handler.handle(.streamDrained(id: 1)) == ["ask 2 after 5"])
        #expect(answer(2, page(oldest: 8, last: 9, (8, "g/a", "online"))).count == 1)
        // Of a database that is ahead of this one.
        #expect(open("?after=50", as: 2) == ["ask 3 after 50"])
        #expect(answer(3, page(last: 9)) == [#"2: event: reset|id: 9|data: {"oldest":1}||"#])
        // From the beginning, wherever that is.
        #expect(open("?after=0", as: 3) == ["ask 4 after 0"])
        #expect(
            answer(4, page(oldest: 6, last: 9, (6, "g/a", "online"))) == [#"3: id: 6|event: online|data: {"n":6}||"#])
    }

    @Test mutating func eachPositionHasItsTurn() {
        #expect(open("?after=100") == ["ask 1 after 100"])
        #expect(open("?after=5", as: 2) == [])
        #expect(answer(1, page(last: 100)) == ["ask 2 after 5"])
        #expect(tick() == [])
        let many = EventPage(
            oldest: 1, last: 100,
            (6...600).map { .init(sequence: $0, agent: "g/a", event: "online", document: [48]) })
        #expect(answer(2, many).last == "ask 3 after 100")
        #expect(answer(3, page(last: 700)) == [])
        #expect(handler.handle(.streamDrained(id: 2)) == ["ask 4 after 55"])
        #expect(tick() == [])
        #expect(answer(4, many).last == "ask 5 after 700")
    }

    @Test mutating func anAnswerThatIsLostIsAskedForAgain() {
        #expect(open("?after=1") == ["ask 1 after 1"])
        #expect(tick(after: .seconds(4)) == [])
        #expect(tick(after: .seconds(1)) == ["ask 2 after 1", "1: : silent 5||"])
        _ = handler.handle(.disconnected)
        #expect(handler.handle(.streamDrained(id: 1)) == ["ask 3 after 1"])
    }

    @Test mutating func aSilentStreamHasAComment() {
        _ = open("?after=1")
        _ = answer(1, page(last: 1))
        #expect(tick(after: .seconds(14)) == ["ask 2 after 1"])
        _ = answer(2, page(last: 1))
        #expect(tick(after: .seconds(1)) == ["ask 3 after 1", "1: :||"])
        // Who reads nothing is told nothing more, and is sent away.
        #expect(tick(after: .seconds(59)) == [])
        #expect(tick(after: .seconds(1)) == ["1: end"])
        #expect(tick() == [])
    }

    @Test mutating func endsWithItsClientOrItsToken() {
        _ = open("?after=1")
        _ = open("?after=1", as: 2)
        #expect(handler.core.streamCount == 2)
        _ = handler.handle(.requestCancelled(id: 1))
        #expect(handler.core.streamCount == 1)
        _ = handler.handle(.tokensRead([]))
        #expect(tick() == ["2: end"])
    }

    @Test(arguments: ["?after=x", "?after=-1", "?gateway=g/a", "?agent=g", "?event=sung", "?colour=red"])
    mutating func whatIsWrongIsSaid(target: String) {
        #expect(handler.ask("GET", "/api/v1/events" + target, Self.look) == ["1: 422 invalid-request"])
    }

    @Test mutating func isForReaders() {
        #expect(handler.ask("GET", "/api/v1/events")[0].hasPrefix("1: 401"))
        #expect(handler.ask("HEAD", "/api/v1/events", Self.look) == ["2: 200 Cache-Control=no-store "])
        #expect(handler.core.streamCount == 0)
        handler = ControlAPICoreTests.Subject(isConnected: false)
        #expect(handler.ask("GET", "/api/v1/events", Self.look)[0].hasPrefix("1: 503"))
    }
}
