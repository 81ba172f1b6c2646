import API
import Model
import Testing

@testable import StatusStoreCore

struct OutboxAgeTests {
    @Test func isThatOfTheOldestEntry() {
        var age = OutboxAge()
        let start = Instant(nanoseconds: 0)
        func note(last: Int64, published: Int64, at seconds: Int64) -> String {
            let now = start + .seconds(seconds)
            if last > published { age.committed(upTo: last, now: now) }
            age.published(upTo: published, now: now)
            return
                "\(age.entries(published: published)) \(age.age(published: published, now: now).milliseconds / 1_000)"
        }
        #expect(note(last: 0, published: 0, at: 0) == "0 0")
        #expect(note(last: 5, published: 0, at: 1) == "5 0")
        #expect(note(last: 9, published: 0, at: 4) == "9 3")
        #expect(note(last: 9, published: 4, at: 6) == "5 5")
        #expect(note(last: 9, published: 5, at: 7) == "4 3", "what came in the second before is gone")
        #expect(note(last: 9, published: 9, at: 8) == "0 0")
        #expect(note(last: 9, published: 9, at: 9) == "0 0")
        #expect(age.waits.count == 2 && age.waits.sum == 10, "6 s and 4 s")
    }
}
