import Bus
import Model
import Testing

/// Everything that goes to a real broker: one test after the other, since they kill brokers and measure time.
@Suite(.serialized) enum RealBroker {}

/// A connection that writes down what it is told.
final class Client: ConnectionDelegate {
    let loop: EventLoop
    private(set) var connection: Connection!
    private(set) var sessions = 0
    private(set) var losses: [BusError] = []
    private(set) var deliveries: [Delivery] = []
    private(set) var acknowledged: [(ticket: Int, reason: UInt8)] = []
    private(set) var subscriptions: [[String]] = []
    /// Calls that came while another one was not over: never.
    private(set) var nestedCalls = 0
    private var isInCall = false
    var onConnected: (Connection) -> Void = { _ in }
    var onReceived: (Delivery) -> Void = { _ in }
    var onPublished: (Int) -> Void = { _ in }
    var onDisconnected: (BusError) -> Void = { _ in }

    init(
        _ address: BrokerAddress, id: String = "", on loop: EventLoop = EventLoop(),
        _ configure: (inout ConnectionOptions) -> Void = { _ in }
    ) {
        self.loop = loop
        var options = ConnectionOptions(broker: address, clientID: id)
        configure(&options)
        connection = Connection(options, loop: loop, delegate: self)
    }

    /// Connected and subscribed to `filters`, again after each loss.
    convenience init(
        subscribing filters: [String], to address: BrokerAddress, id: String = "", on loop: EventLoop = EventLoop()
    ) throws {
        self.init(address, id: id, on: loop)
        onConnected = { $0.subscribe(filters) }
        try wait { self.subscriptions.count == 1 }
    }

    convenience init(connectedTo address: BrokerAddress, id: String = "", on loop: EventLoop = EventLoop()) throws {
        self.init(address, id: id, on: loop)
        try wait { self.sessions == 1 }
    }

    struct TimedOut: Error {}

    /// Runs the loop until `condition` holds.
    func wait(_ seconds: Int64 = 10, until condition: () -> Bool, location: SourceLocation = #_sourceLocation) throws {
        guard loop.run(until: condition, for: .seconds(seconds)) else {
            Issue.record(
                "not within \(seconds) s; losses: \(losses.map(\.description)), deliveries: \(deliveries.count)",
                sourceLocation: location)
            throw TimedOut()
        }
    }

    var payloads: [String] { deliveries.map { String(decoding: $0.payload, as: UTF8.self) } }

    func forget() {
        deliveries = []
        acknowledged = []
    }

    private func call(_ body: () -> Void) {
        if isInCall { nestedCalls += 1 }
        let outer = isInCall
        isInCall = true
        body()
        isInCall = outer
    }

    func connected(_ connection: Connection) {
        call {
            sessions += 1
            onConnected(connection)
        }
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        call {
            deliveries.append(delivery)
            onReceived(delivery)
        }
    }

    func published(_ ticket: Int, reason: UInt8, on connection: Connection) {
        call {
            acknowledged.append((ticket, reason))
            onPublished(ticket)
        }
    }

    func subscribed(refused: [String], on connection: Connection) {
        call { subscriptions.append(refused) }
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        call {
            losses.append(error)
            onDisconnected(error)
        }
    }
}

extension Publication {
    init(_ topic: String, _ text: String) {
        self.init(topic: topic, payload: Array(text.utf8))
    }
}
