/// Which part of the outbox is published, acknowledged, or still to come.
///
/// Entries go out in order, many at once; what counts as published is everything below the first that is not
/// acknowledged. Behind an entry that bars, nothing goes out until it is acknowledged.
public struct OutboxWindow: Sendable {
    /// Entries under way at once.
    public static let sizeMax = 400

    private struct Item: Sendable {
        let sequence: Int64
        var unacknowledged: Int
    }

    /// Everything up to here was acknowledged.
    public private(set) var published: Int64
    /// Everything up to here was handed to the connection.
    public private(set) var sent: Int64
    private var items = Queue<Item>()
    private var tickets: [Int: Int64] = [:]
    private var bar: Int64?

    public init(published: Int64) {
        self.published = published
        sent = published
    }

    /// How many entries may go out now.
    public var room: Int { bar == nil ? max(0, OutboxWindow.sizeMax - items.count) : 0 }

    /// The entry was published, with one ticket for each of its messages.
    public mutating func published(_ sequence: Int64, tickets new: [Int], bars: Bool = false) {
        sent = sequence
        items.append(Item(sequence: sequence, unacknowledged: new.count))
        for ticket in new { tickets[ticket] = sequence }
        if bars { bar = sequence }
        advance()
    }

    /// Whether a ticket is one of the window's.
    public func has(ticket: Int) -> Bool { tickets[ticket] != nil }

    public mutating func acknowledged(_ ticket: Int) {
        guard let sequence = tickets.removeValue(forKey: ticket) else { return }
        // Acknowledgements come in order, nearly: the entry is found near the front.
        for index in 0..<items.count where items[index].sequence == sequence {
            items[index].unacknowledged -= 1
            break
        }
        advance()
    }

    /// The connection was lost, or a publication refused: all that was not acknowledged goes out again.
    public mutating func startAgain() {
        sent = published
        items = Queue()
        tickets = [:]
        bar = nil
    }

    private mutating func advance() {
        while let first = items.first, first.unacknowledged <= 0 {
            published = first.sequence
            _ = items.popFirst()
        }
        if let bar, published >= bar { self.bar = nil }
    }
}
