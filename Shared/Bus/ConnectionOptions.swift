public import Model
public import Secrets

/// How to connect, and as whom.
public struct ConnectionOptions: Sendable {
    public var broker: BrokerAddress
    /// Empty: the broker assigns one.
    public var clientID: String
    /// Silence after which the client sends a ping; at least `keepaliveSecondsMin`, which libmosquitto sets.
    public var keepaliveSeconds: Int32 = 15 {
        didSet {
            precondition(keepaliveSeconds >= ConnectionOptions.keepaliveSecondsMin, "keepalive \(keepaliveSeconds) s")
        }
    }
    public static let keepaliveSecondsMin: Int32 = 5
    /// How many QoS 1 messages the broker may have under way to us (MQTT 5 §3.1.2.11.3).
    public var receiveMaximum: Int32 = 500
    public var will: Publication?
    /// For `mqtts`; read anew by each attempt to connect.
    public var tls = TLSFiles()
    /// Whether a lost connection is made again; a command line that asks once does not.
    public var reconnects = true
    /// Whether a connection that another client of the same client id has taken over ends for good: two that take it back from
    /// each other would never end.
    ///
    /// The broker says `Session taken over` (MQTT 5 §3.14.2.1). mosquitto before 2.1 does not; there the access plugin closes the
    /// older connection as an `Administrative action`, which the end of its identity is, too. Whether it is the one or the other,
    /// the connection asks by connecting once under a client id of the broker's choice. An attempt of its own that arrives late
    /// is no other client (`LateAttempts`).
    public var endsWhenTakenOver = false
    /// How long the kernel tries to deliver what was written, and how long the broker's machine may be silent, before the
    /// connection ends; `nil` leaves it to the kernel, which repeats for minutes. What cannot be delivered in time is
    /// forgotten instead of being delivered late. For TCP; the kernel rounds up (see `Handle.limitDelivery`).
    public var deliveryLimit: TimeSpan?

    public init(broker: BrokerAddress, clientID: String) {
        self.broker = broker
        self.clientID = clientID
    }
}

/// What a connection tells whoever uses it. All calls come on the loop's thread, between reads, never
/// inside one another (nor inside `init`), and none after `close`.
public protocol ConnectionDelegate: AnyObject {
    /// A new session began, nothing is subscribed: subscribe now. Comes again after each loss.
    func connected(_ connection: Connection)
    func received(_ delivery: Delivery, on connection: Connection)
    /// The broker acknowledged a QoS 1 publication with this MQTT 5 reason code.
    func published(_ ticket: Int, reason: UInt8, on connection: Connection)
    /// Every SUBSCRIBE of this session was answered; `refused` names the filters that were not granted.
    func subscribed(refused: [String], on connection: Connection)
    /// The session is over. What was not acknowledged has an unknown fate; nothing of it is sent again by the connection.
    func disconnected(_ error: BusError, on connection: Connection)
}

extension ConnectionDelegate {
    public func published(_ ticket: Int, reason: UInt8, on connection: Connection) {}
    public func subscribed(refused: [String], on connection: Connection) {}
}
