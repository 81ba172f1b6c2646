internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Publishes outstanding wake orders to whichever provisioner takes them, again until each is settled.
final class OrderDelivery {
    private static let pageSize = 10_000
    /// Seconds after which the broker drops an order that nobody has taken.
    private static let expirySeconds = UInt32(WakeOrder.lifetime.milliseconds / 1_000)

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var provisioners = Membership(of: .provisioner)
    private var book = OrderBook()
    private(set) var publishedOrders: Int64 = 0

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase) throws(StorageError) {
        self.runtime = runtime
        self.database = database
        var position: Int64 = 0
        while true {
            let page = try database.orders(after: position, limit: OrderDelivery.pageSize)
            for order in page { book.issued(order.agent, position: order.position) }
            guard let last = page.last else { break }
            position = last.position
        }
    }

    func connected(now: Instant) {
        provisioners.connected(now: now)
        book.publishAllAgain()
    }

    func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        guard provisioners.heard(presence, isRetained: isRetained, now: now) else { return }
        // What an earlier life had taken may have died with it.
        book.publishAllAgain()
    }

    func committed(_ changes: [OrderChange]) {
        for change in changes {
            switch change {
            case .issued(let agent, let position): book.issued(agent, position: position)
            case .settled(let agent): book.settled(agent)
            }
        }
    }

    func pump(on connection: Connection, now: Instant) throws(StorageError) {
        guard connection.isConnected, book.count > 0, provisioners.isAnyLive(now: now) else { return }
        for agent in book.take(now: now) {
            guard let order = try database.order(of: agent) else {
                book.settled(agent)
                continue
            }
            var publication = Publication(
                topic: runtime.topics.orders,
                payload: Array("{\"age\":0,\"order\":".utf8) + order.bytes + Array("}".utf8))
            publication.expirySeconds = OrderDelivery.expirySeconds
            // Lost with the connection: the next one publishes everything again.
            _ = try? connection.publish(publication)
            publishedOrders += 1
        }
    }
}
