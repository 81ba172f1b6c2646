/// A message to publish.
public struct Publication: Sendable {
    public enum QualityOfService: Int32, Sendable {
        case atMostOnce = 0
        case atLeastOnce = 1
    }

    public var topic: String
    public var payload: [UInt8]
    public var qualityOfService = QualityOfService.atLeastOnce
    public var isRetained = false
    /// Message Expiry Interval in seconds (MQTT 5 §3.3.2.3.3).
    public var expirySeconds: UInt32?
    public var contentType: String?
    public var responseTopic: String?
    public var correlationData: [UInt8]?
    public var userProperties: [(String, String)] = []

    public init(topic: String, payload: [UInt8]) {
        self.topic = topic
        self.payload = payload
    }

    /// What it takes on the wire at most, without the payload.
    public var overhead: Int {
        let properties = userProperties.reduce(0) { $0 + $1.0.utf8.count + $1.1.utf8.count + 5 }
        return topic.utf8.count + properties + (responseTopic?.utf8.count ?? 0) + (correlationData?.count ?? 0)
            + (contentType?.utf8.count ?? 0) + 64
    }
}

/// A message that was received.
public struct Delivery: Sendable {
    public let topic: String
    public let payload: [UInt8]
    public let isRetained: Bool
    public var contentType: String?
    public var responseTopic: String?
    public var correlationData: [UInt8]?
    public var userProperties: [(name: String, value: String)] = []

    public init(topic: String, payload: [UInt8], isRetained: Bool) {
        self.topic = topic
        self.payload = payload
        self.isRetained = isRetained
    }

    /// The first user property of that name.
    public func userProperty(_ name: String) -> String? {
        userProperties.first { $0.name == name }?.value
    }
}

/// The reason codes of MQTT 5 (§2.4) that decide something here.
public enum ReasonCode {
    public static let success: UInt8 = 0x00
    public static let noMatchingSubscribers: UInt8 = 0x10
    public static let notAuthorized: UInt8 = 0x87
    public static let sessionTakenOver: UInt8 = 0x8E
    public static let administrativeAction: UInt8 = 0x98
    /// From here on a reason code is a failure.
    public static let failure: UInt8 = 0x80
}

/// Why a connection could not be made or was lost.
public struct BusError: Error, Hashable, Sendable, CustomStringConvertible {
    public let operation: String
    public let reason: String
    /// The broker refused who we are: trying again with the same credentials changes nothing by itself.
    public let isRefusal: Bool
    /// Another client connected with our client id; nothing is connected again (`ConnectionOptions.endsWhenTakenOver`).
    public let isTakenOver: Bool
    /// The message is larger than what may be published, on whatever connection.
    public let isTooLarge: Bool

    public init(
        operation: String, reason: String, isRefusal: Bool = false, isTakenOver: Bool = false, isTooLarge: Bool = false
    ) {
        self.operation = operation
        self.reason = reason
        self.isRefusal = isRefusal
        self.isTakenOver = isTakenOver
        self.isTooLarge = isTooLarge
    }

    public var description: String { "\(operation): \(reason)" }
}

extension BusError {
    /// What a CONNACK says that is not success (MQTT 5, §3.2.2.2): whether the broker refused who we are, or is busy or about to
    /// stop.
    init(connectingTo broker: BrokerAddress, answer: Int32) {
        let reason =
            switch answer {
            case 0x86: "bad user name or password"
            case 0x87: "not authorized: the user, its password or the client id was refused"
            case 0x85: "the client id is not valid"
            case 0x84: "the broker does not speak MQTT 5"
            case 0x88, 0x89: "the broker is not available"
            default: Handle.reasonText(answer)
            }
        self.init(
            operation: "connect to \(broker)", reason: reason,
            isRefusal: [0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C].contains(answer))
    }
}
