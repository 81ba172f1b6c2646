import Lifecycle
import Model
import Testing

@Suite struct DeadlineQueueTests {
    private func entry(_ due: Int64, slot: Int = 0) -> DeadlineQueue.Entry {
        .init(due: Instant(nanoseconds: due), slot: slot, generation: 1)
    }

    @Test func entriesComeInTheirOrderAndNotBeforeTheyAreDue() {
        var queue = DeadlineQueue()
        #expect(queue.pop(dueAt: Instant(nanoseconds: 1)) == nil)
        for due in [30, 10, 20] as [Int64] { queue.push(entry(due)) }
        #expect(queue.next == Instant(nanoseconds: 10))
        #expect(queue.pop(dueAt: Instant(nanoseconds: 9)) == nil)
        #expect(queue.pop(dueAt: Instant(nanoseconds: 25)) == entry(10))
        #expect(queue.pop(dueAt: Instant(nanoseconds: 25)) == entry(20))
        #expect(queue.pop(dueAt: Instant(nanoseconds: 25)) == nil)
        #expect(queue.count == 1)
        #expect(queue.pop(dueAt: Instant(nanoseconds: 30)) == entry(30))
        #expect(queue.next == nil)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func whateverIsPushedComesOutSorted(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var queue = DeadlineQueue()
        var expected: [DeadlineQueue.Entry] = []
        for slot in 0..<Int.random(in: 1...300, using: &random) {
            let new = entry(Int64.random(in: 0..<100, using: &random), slot: slot)
            queue.push(new)
            expected.append(new)
            if slot % 5 == 4, let popped = queue.pop(dueAt: Instant(nanoseconds: 50)) {
                #expect(popped.due == expected.map(\.due).min())
                expected.removeAll { $0 == popped }
            }
        }
        var popped: [DeadlineQueue.Entry] = []
        while let next = queue.pop(dueAt: Instant(nanoseconds: 1_000)) { popped.append(next) }
        #expect(popped.map(\.due) == expected.map(\.due).sorted())
        #expect(Set(popped) == Set(expected))
    }
}
