import Testing
import Wire

@Suite struct EventPageTests {
    private func entry(_ sequence: Int64, bytes: Int = 2) -> EventPage.Entry {
        EventPage.Entry(
            sequence: sequence, agent: "gw/a", event: "online",
            document: Array("\"\(String(repeating: " ", count: bytes - 2))\"".utf8))
    }

    @Test func crossesTheBusUnchanged() throws {
        let page = EventPage(oldest: 3, last: 9, [entry(4, bytes: 20), entry(7)])
        let text = "3 9 0\n4 gw/a online \"                  \"\n7 gw/a online \"\""
        #expect(String(decoding: page.bytes, as: UTF8.self) == text)
        let read = try #require(EventPage(page.bytes))
        #expect(read.bytes == page.bytes)
        #expect((read.oldest, read.last, read.hasMore, read.position) == (3, 9, false, 9))
        #expect(EventPage(Array("3 9".utf8)) == nil)
        #expect(EventPage(Array("3 9 0\n4 gw/a online".utf8)) == nil)
    }

    @Test func holdsSoMuchAndSaysThatThereIsMore() {
        let large = EventPage.bytesMax - 100
        let byBytes = EventPage(oldest: 1, last: 9, [entry(2, bytes: large), entry(4, bytes: 100), entry(5)])
        #expect(byBytes.entries.map(\.sequence) == [2])
        #expect((byBytes.hasMore, byBytes.position) == (true, 2))
        // One that is larger goes alone.
        #expect(EventPage(oldest: 1, last: 9, [entry(2, bytes: 2 * large)]).entries.count == 1)
        let many = (1...EventPage.countMax + 1).map { entry(Int64($0)) }
        let byCount = EventPage(oldest: 1, last: 999, many)
        #expect((byCount.entries.count, byCount.hasMore, byCount.position) == (50, true, 50))
        #expect(!EventPage(oldest: 1, last: 999, Array(many.prefix(EventPage.countMax))).hasMore)
    }
}
