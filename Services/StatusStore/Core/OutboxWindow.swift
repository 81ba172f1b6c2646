internal import Model

/// Which part of the outbox is published, acknowledged, or still to come.
///
/// Entries go out in order, many at once; what counts as published is everything below the first that is not
/// acknowledged. Credentials go ahead of the others, all those of a page in one message: nothing behind a credential goes
/// out before the broker has it in force, since an answer may hand out what it is for.
public struct OutboxWindow: Sendable {
    /// Entries under way at once.
    public static let sizeMax = 400
    /// With less room nothing is read from the outbox: a page is worth its reading, and its credentials their message.
    public static let roomMin = 100

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
    /// Credentials up to this entry are in force at the broker; those of `credentials` are under way.
    private var inForce: Int64
    private var credentials: (ticket: Int, upTo: Int64)?

    public init(published: Int64) {
        self.published = published
        sent = published
        inForce = published
    }

    /// How many entries may go out now; 0 when too few to begin with.
    public var room: Int {
        let room = OutboxWindow.sizeMax - items.count
        return room >= OutboxWindow.roomMin ? room : 0
    }

    /// Whether the credential of this entry is in force at the broker.
    public func isInForce(_ sequence: Int64) -> Bool { sequence <= inForce }

    /// Whether the credentials before them have been acknowledged, so that more may go out.
    public var mayPublishCredentials: Bool { credentials == nil }

    /// All credentials up to this entry went out in one message.
    public mutating func publishedCredentials(upTo sequence: Int64, ticket: Int) {
        credentials = (ticket, sequence)
    }

    /// They did not go out: the next may.
    public mutating func credentialsFailed() {
        credentials = nil
    }

    /// The entry was published, with one ticket for each of its messages.
    public mutating func published(_ sequence: Int64, tickets new: [Int]) {
        sent = sequence
        items.append(Item(sequence: sequence, unacknowledged: new.count))
        for ticket in new { tickets[ticket] = sequence }
        advance()
    }

    /// Whether a ticket is one of the window's.
    public func has(ticket: Int) -> Bool { tickets[ticket] != nil || isOfCredentials(ticket) }

    public func isOfCredentials(_ ticket: Int) -> Bool { credentials?.ticket == ticket }

    public mutating func acknowledged(_ ticket: Int) {
        if let credentials, credentials.ticket == ticket {
            inForce = max(inForce, credentials.upTo)
            self.credentials = nil
            return
        }
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
        inForce = published
        credentials = nil
    }

    private mutating func advance() {
        while let first = items.first, first.unacknowledged <= 0 {
            published = first.sequence
            _ = items.popFirst()
        }
    }
}
