public import Model

/// The deadlines of a partition: a binary heap with at most a few entries an agent.
///
/// An entry may be early, never late: a heartbeat that moves a deadline later touches nothing here, and an entry that
/// comes up before its agent's deadline is put back with the new one. Cost: O(log n) for an entry, O(1) for a heartbeat.
public struct DeadlineQueue: Sendable {
    public struct Entry: Hashable, Sendable {
        public let due: Instant
        /// The agent's slot.
        public let slot: Int
        /// The slot's generation when the entry was made: slots are used again.
        public let generation: Int

        public init(due: Instant, slot: Int, generation: Int) {
            self.due = due
            self.slot = slot
            self.generation = generation
        }
    }

    private var heap: [Entry] = []

    public init() {}

    public var count: Int { heap.count }
    /// The earliest entry.
    public var next: Instant? { heap.first?.due }

    public mutating func push(_ entry: Entry) {
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].due < heap[parent].due else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes the earliest entry if it is due.
    public mutating func pop(dueAt now: Instant) -> Entry? {
        guard let first = heap.first, first.due <= now else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].due < heap[least].due
            {
                least = child
            }
            guard least != parent else { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
