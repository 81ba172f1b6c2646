/// A queue that gives from its front in constant time.
struct PublicationQueue {
    private var items: [(Int, Publication)?] = []
    private var head = 0

    var count: Int { items.count - head }

    mutating func append(_ item: (Int, Publication)) {
        items.append(item)
    }

    mutating func popFirst() -> (Int, Publication)? {
        guard head < items.count else { return nil }
        defer {
            items[head] = nil
            head += 1
            if head == items.count {
                items.removeAll(keepingCapacity: head <= 4_096)
                head = 0
            } else if head > 4_096, head * 2 > items.count {
                items.removeFirst(head)
                head = 0
            }
        }
        return items[head]
    }
}
