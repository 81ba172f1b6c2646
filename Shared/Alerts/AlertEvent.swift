internal import API
public import Model
public import Wire

/// What a committed event says about whether an agent is to be worried about.
public struct AlertEvent: Sendable {
    enum Kind: Sendable {
        case offline
        case online
        /// It was paused or deleted: nobody waits for it.
        case silenced
        /// It is paused no more, and offline.
        case resumed
    }

    let kind: Kind
    /// Its position among all events.
    public let sequence: Int64
    /// `GATEWAY/AGENT#REVISION`.
    public let id: String
    public let agent: String
    let board: String?
    let role: String
    let cause: OfflineReason?
    let error: String?
    public let time: Timestamp

    /// - Returns: `nil` for events that change nothing in that.
    public init?(_ entry: EventPage.Entry) {
        guard ["offline", "online", "paused", "resumed", "deleted"].contains(entry.event),
            let document = try? JSON.read(entry.document), let record = document["record"],
            let id = document["id"]?.string, let time = document["time"]?.string.flatMap({ Timestamp($0) })
        else { return nil }
        let isOffline = record["status"]?.string == AgentStatus.offline.rawValue
        switch entry.event {
        case "offline": kind = record["paused"]?.bool == true ? .silenced : .offline
        case "online": kind = .online
        case "resumed" where isOffline && record["paused"]?.bool == false: kind = .resumed
        default: kind = .silenced
        }
        sequence = entry.sequence
        self.id = id
        agent = entry.agent
        board = record["board_id"]?.string
        role = record["role"]?.string ?? ""
        cause = record["offline_reason"]?.string.flatMap { OfflineReason(rawValue: $0) }
        error = record["last_provision_error"]?.string
        self.time = time
    }

    /// What the record of an agent that is offline says, when nothing is heard of how it came to it.
    init?(record: JSONValue) {
        guard let agent = record["agent"]?.string, record["status"]?.string == AgentStatus.offline.rawValue,
            record["paused"]?.bool == false, let time = record["updated_at"]?.string.flatMap({ Timestamp($0) })
        else { return nil }
        kind = .resumed
        sequence = 0
        id = "\(agent)#\(record["revision"]?.integer ?? 0)"
        self.agent = agent
        board = record["board_id"]?.string
        role = record["role"]?.string ?? ""
        cause = record["offline_reason"]?.string.flatMap { OfflineReason(rawValue: $0) }
        error = record["last_provision_error"]?.string
        self.time = time
    }

    var gateway: String { String(agent.prefix { $0 != "/" }) }

    /// Whether its gateway, as its record says, is why it is offline.
    var isExplained: Bool { error?.contains("gateway \(gateway) is lost") ?? false }
}

/// Something that a message tells.
enum AlertItem: Sendable {
    case offline(AlertEvent)
    case recovered(AlertEvent)
    /// It went offline too often to tell of each time.
    case flapping(AlertEvent)
    /// It was told as offline, and was paused or deleted.
    case silenced(AlertEvent)
    case gatewayLost
    case gatewayConnected
    case gatewayStopped

    /// Whether it is told by the loss of the gateway.
    var isExplained: Bool { if case .offline(let event) = self { event.isExplained } else { false } }

    /// `nil`: it is of no committed event of an agent.
    var event: AlertEvent? {
        switch self {
        case .offline(let event), .recovered(let event), .flapping(let event), .silenced(let event): event
        case .gatewayLost, .gatewayConnected, .gatewayStopped: nil
        }
    }
}

/// Which agents go offline again and again, by the times of their events.
struct FlapMeter: Sendable {
    static let window = TimeSpan.seconds(3_600)

    private var times: [String: [Timestamp]] = [:]

    /// How often an agent went offline within the window, this time included. What came later does not count: after a pause
    /// events are read again that were counted before.
    mutating func wentOffline(_ agent: String, at time: Timestamp) -> Int {
        var recent = times[agent, default: []].filter { time < $0 + FlapMeter.window }
        // An event that is read again counts once.
        if !recent.contains(time) { recent.append(time) }
        times[agent] = recent
        return recent.count { $0 <= time }
    }

    func isFlapping(_ agent: String, at time: Timestamp, limit: Int) -> Bool {
        limit > 0 && times[agent, default: []].count { $0 <= time && time < $0 + FlapMeter.window } > limit
    }

    mutating func forget(before time: Timestamp) {
        times = times.filter { $0.value.contains { time < $0 + FlapMeter.window } }
    }
}
