internal import API
internal import Model
internal import Storage

/// Publishes outstanding wake orders to whichever provisioner takes them, again until each is settled: a pure value.
struct OrderDelivery {
    private static let pageSize = 10_000

    private var provisioners = Membership(of: .provisioner)
    private var book = OrderBook()
    private(set) var publishedOrders: Int64 = 0

    init(_ database: any StatusDatabase) throws(StorageError) {
        try readAll(database)
    }

    /// Reads what is outstanding: at the start, and when a commit may have worked whose report is lost.
    mutating func readAll(_ database: any StatusDatabase) throws(StorageError) {
        var position: Int64 = 0
        while true {
            let page = try database.orders(after: position, limit: OrderDelivery.pageSize)
            for order in page { book.issued(order.agent, position: order.position) }
            guard let last = page.last else { break }
            position = last.position
        }
    }

    mutating func connected(now: Instant) {
        provisioners.connected(now: now)
        book.publishAllAgain()
    }

    mutating func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        guard provisioners.heard(presence, isRetained: isRetained, now: now) else { return }
        // What an earlier incarnation had taken may have died with it.
        book.publishAllAgain()
    }

    mutating func committed(_ changes: [OrderChange]) {
        for change in changes {
            switch change {
            case .issued(let agent, let position): book.issued(agent, position: position)
            case .settled(let agent): book.settled(agent)
            }
        }
    }

    mutating func pump(
        _ database: any StatusDatabase, now: Instant, _ output: inout StoreOutput
    ) throws(StorageError) {
        guard book.count > 0, provisioners.isAnyLive(now: now) else { return }
        for agent in book.take(now: now) {
            guard let order = try database.order(of: agent) else {
                book.settled(agent)
                continue
            }
            // Lost with the connection: the next one publishes everything again.
            output.publish(.order(order))
            publishedOrders += 1
        }
    }
}
