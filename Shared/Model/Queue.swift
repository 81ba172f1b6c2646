/// A queue that gives from its front in constant time.
public struct Queue<Element: Sendable>: Sendable {
    private var items: [Element]
    private var head = 0

    public init(_ items: [Element] = []) {
        self.items = items
    }

    public var count: Int { items.count - head }
    public var isEmpty: Bool { head == items.count }
    public var first: Element? { head < items.count ? items[head] : nil }

    public var last: Element? { head < items.count ? items[items.count - 1] : nil }

    /// At most so many elements at the front.
    public func prefix(_ count: Int) -> [Element] { Array(items[head...].prefix(count)) }

    public mutating func append(_ item: Element) {
        items.append(item)
    }

    public mutating func popFirst() -> Element? {
        guard head < items.count else { return nil }
        defer { removeFirst(1) }
        return items[head]
    }

    /// Forgets so many elements at the front, at most all.
    public mutating func removeFirst(_ count: Int) {
        head += min(count, items.count - head)
        guard head * 2 > items.count, head > 64 || head == items.count else { return }
        items.removeFirst(head)
        head = 0
    }

    /// The element at `index` from the front.
    public subscript(index: Int) -> Element {
        get { items[head + index] }
        set { items[head + index] = newValue }
    }
}
