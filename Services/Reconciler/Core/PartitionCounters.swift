public import API
internal import Lifecycle
public import Model

/// What an owner counted since it began.
public struct PartitionCounters: Sendable {
    public var heartbeats: Int64 = 0
    public var orders: Int64 = 0
    public var rejectionsByReason: [RejectionReason: Int64] = [:]
    public var eventsByKind: [LifecycleEvent: Int64] = [:]
    public var offlinesByReason: [OfflineReason: Int64] = [:]
    /// From a deadline to its verdict.
    public var lateness = Histogram(bounds: Histogram.latenessBounds)

    public init() {}

    public var rejections: Int64 { rejectionsByReason.values.reduce(0, +) }
    public var events: Int64 { eventsByKind.values.reduce(0, +) }

    mutating func count(rejected reason: RejectionReason) { rejectionsByReason[reason, default: 0] += 1 }

    mutating func countJudged(due: Instant, now: Instant) {
        lateness.add(seconds: Double(now.nanoseconds(since: due)) / 1e9)
    }

    mutating func add(_ other: PartitionCounters) {
        heartbeats += other.heartbeats
        orders += other.orders
        rejectionsByReason.merge(other.rejectionsByReason, uniquingKeysWith: +)
        eventsByKind.merge(other.eventsByKind, uniquingKeysWith: +)
        offlinesByReason.merge(other.offlinesByReason, uniquingKeysWith: +)
        lateness.add(other.lateness)
    }

    /// By the keys that its host tells them under.
    var counts: [String: Int64] {
        var counts = ["heartbeats": heartbeats, "rejections": rejections, "events": events, "orders": orders]
        for reason in RejectionReason.allCases {
            counts["rejected_\(reason.rawValue)"] = rejectionsByReason[reason] ?? 0
        }
        for event in LifecycleEvent.allCases { counts["event_\(event.rawValue)"] = eventsByKind[event] ?? 0 }
        for reason in OfflineReason.allCases { counts["verdict_\(reason.rawValue)"] = offlinesByReason[reason] ?? 0 }
        return counts
    }
}

/// How many agents and gateways of a partition are where.
public struct FleetTally: Sendable {
    /// What counts of an agent.
    struct Place: Hashable, Sendable {
        let status: AgentStatus
        /// Why it is offline; `nil` also while it is paused: nobody waits for it.
        let offline: OfflineReason?

        init(_ record: AgentRecord) {
            status = record.status
            offline = record.isPaused ? nil : record.offlineReason
        }
    }

    private var agents: [Place: Int64] = [:]
    private var gateways: [GatewayState.Connection: Int64] = [:]

    mutating func moved(from old: Place?, to new: Place?) {
        if let old { agents[old, default: 0] -= 1 }
        if let new { agents[new, default: 0] += 1 }
    }

    mutating func add(gateway connection: GatewayState.Connection) { gateways[connection, default: 0] += 1 }

    mutating func add(_ other: FleetTally) {
        agents.merge(other.agents, uniquingKeysWith: +)
        gateways.merge(other.gateways, uniquingKeysWith: +)
    }

    /// By the keys that its host tells them under.
    var counts: [String: Int64] {
        var counts = ["agents": agents.values.reduce(0, +)]
        for status in AgentStatus.allCases {
            counts["agents_\(status.rawValue)"] = agents.reduce(0) { $0 + ($1.key.status == status ? $1.value : 0) }
        }
        for reason in OfflineReason.allCases {
            counts["offline_\(reason.rawValue)"] = agents.reduce(0) { $0 + ($1.key.offline == reason ? $1.value : 0) }
        }
        for connection in GatewayState.Connection.allCases {
            counts["gateways_\(connection.rawValue)"] = gateways[connection] ?? 0
        }
        return counts
    }
}
