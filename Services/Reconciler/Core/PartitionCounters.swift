public import API
internal import Lifecycle
public import Model

/// What an owner counted since it began.
public struct PartitionCounters: Sendable {
    /// Accepted heartbeats that moved a last-seen time.
    public var heartbeats: Int64 = 0
    public var orders: Int64 = 0
    /// Numbers of heartbeats that never came, and those that came again or late.
    public private(set) var lost: Int64 = 0
    public private(set) var repeated: Int64 = 0
    public var rejectionsByReason: [RejectionReason: Int64] = [:]
    public private(set) var eventsByKind: [LifecycleEvent: Int64] = [:]
    public private(set) var offlinesByReason: [OfflineReason: Int64] = [:]
    /// From a deadline to its verdict.
    public var lateness = Histogram(bounds: Histogram.latenessBounds)
    /// From the last sign of life, or from the request when there was none since, to the verdict.
    public private(set) var detection = Histogram(bounds: Histogram.detectionBounds)

    public init() {}

    public var rejections: Int64 { rejectionsByReason.values.reduce(0, +) }

    mutating func note(_ event: LifecycleEvent, _ record: AgentRecord) {
        eventsByKind[event, default: 0] += 1
        let cause = event == .offline ? record.offlineReason : nil
        if let cause { offlinesByReason[cause, default: 0] += 1 }
        guard event == .lapsed || cause == .checkinMissed,
            let silentSince = [record.lastSeenAt, record.provisionRequestedAt].compactMap({ $0 }).max()
        else { return }
        let silence = record.updatedAt.millisecondsSince1970 - silentSince.millisecondsSince1970
        detection.add(nanoseconds: silence * 1_000_000)
    }

    mutating func noteSequence(lost: Int64, isRepeated: Bool) {
        self.lost = self.lost.plus(lost)
        if isRepeated { repeated += 1 }
    }

    mutating func count(rejected reason: RejectionReason) { rejectionsByReason[reason, default: 0] += 1 }

    mutating func countJudged(due: Instant, now: Instant) {
        lateness.add(nanoseconds: now.nanoseconds(since: due))
    }

    mutating func add(_ other: PartitionCounters) {
        heartbeats += other.heartbeats
        orders += other.orders
        lost = lost.plus(other.lost)
        repeated += other.repeated
        rejectionsByReason.merge(other.rejectionsByReason, uniquingKeysWith: +)
        eventsByKind.merge(other.eventsByKind, uniquingKeysWith: +)
        offlinesByReason.merge(other.offlinesByReason, uniquingKeysWith: +)
        lateness.add(other.lateness)
        detection.add(other.detection)
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
    /// Entries of the queue of deadlines: one or a few of each agent that has one.
    var deadlines: Int64 = 0

    mutating func moved(from old: Place?, to new: Place?) {
        if let old { agents[old, default: 0] -= 1 }
        if let new { agents[new, default: 0] += 1 }
    }

    mutating func add(gateway connection: GatewayState.Connection) { gateways[connection, default: 0] += 1 }

    mutating func add(_ other: FleetTally) {
        agents.merge(other.agents, uniquingKeysWith: +)
        gateways.merge(other.gateways, uniquingKeysWith: +)
        deadlines += other.deadlines
    }

    var metrics: [Metric] {
        [
            Metric("rollcall_agents", .gauge, "Agents of the partitions that this instance owns.", by: "status") {
                (status: AgentStatus) in agents.reduce(0) { $0 + ($1.key.status == status ? $1.value : 0) }
            },
            Metric("rollcall_agents_offline", .gauge, "Those that are offline and not paused.", by: "cause") {
                (cause: OfflineReason) in agents.reduce(0) { $0 + ($1.key.offline == cause ? $1.value : 0) }
            },
            Metric("rollcall_gateways", .gauge, "Gateways of these partitions.", by: "state") {
                (state: GatewayState.Connection) in gateways[state] ?? 0
            },
            Metric("rollcall_deadlines_pending", .gauge, "Deadlines that are armed.", Double(deadlines)),
        ]
    }
}
