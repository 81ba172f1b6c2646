/// Time, chance and what is to happen next: everything in one run hangs on it.
///
/// Time is in microseconds. What is due at the same time happens in the order in which it was scheduled, so a run is
/// its seed and nothing else.
final class World {
    private struct Item {
        let at: Int64
        let order: Int
        let action: () -> Void
    }

    var random: SeededRandom
    let plan: Plan
    let broken: Rule?
    /// Messages go through the real codecs.
    let sendsBytes: Bool
    private(set) var time: Int64 = 0
    private var heap: [Item] = []
    private var scheduled = 0
    private(set) var steps = 0
    /// Faults still happen.
    var isChaotic = true
    private(set) var violations: [String] = []
    /// FNV-1a over everything that happened: two runs with the same digest were the same.
    private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325
    var trace: ((String) -> Void)?

    init(seed: UInt64, broken: Rule?, focus: Rule?) {
        random = SeededRandom(seed: seed)
        plan = Plan(&random, focus: focus)
        self.broken = broken
        sendsBytes = seed.isMultiple(of: RealBytes.seedsEvery)
    }

    func isBroken(_ rule: Rule) -> Bool { broken == rule }

    func violate(_ text: @autoclosure () -> String) {
        let text = "\(time / 1_000) ms: \(text())"
        violations.append(text)
        note("VIOLATION \(text)")
    }

    /// Part of the run's digest, and of its trace when there is one.
    func note(_ text: @autoclosure () -> String) {
        guard let trace else { return }
        trace("\(time / 1_000).\(time % 1_000) \(text())")
    }

    func mix(_ number: Int) {
        digest = (digest ^ UInt64(truncatingIfNeeded: number)) &* 0x100_0000_01b3
    }

    func after(_ delay: Int64, _ action: @escaping () -> Void) {
        at(time + max(0, delay), action)
    }

    func at(_ when: Int64, _ action: @escaping () -> Void) {
        scheduled += 1
        push(Item(at: when, order: scheduled, action: action))
    }

    /// Runs what is due until `end`, or until `isOver` says so.
    func run(until end: Int64, isOver: () -> Bool = { false }) {
        while let next = heap.first, next.at <= end {
            _ = pop()
            time = max(time, next.at)
            steps += 1
            mix(Int(time))
            next.action()
            if !violations.isEmpty || isOver() { return }
        }
        time = max(time, end)
    }

    // MARK: The heap

    private func isBefore(_ left: Item, _ right: Item) -> Bool {
        left.at != right.at ? left.at < right.at : left.order < right.order
    }

    private func push(_ item: Item) {
        heap.append(item)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard isBefore(heap[child], heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private func pop() -> Item {
        let first = heap[0]
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && isBefore(heap[child], heap[least]) { least = child }
            guard least != parent else { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
