public import API
public import Lifecycle
public import Model

/// What a reconciler tells its administrator: what it counted since its start, and where its agents are.
public struct ReconcilerCounters: Sendable {
    public var owners: PartitionCounters
    public var fleet = FleetTally()
    public var partitions: Int64 = 0
    /// From a decision that has an event to the store's acknowledgement.
    public let commits: Histogram
    /// From a deadline to the barrier that let it be judged.
    public let barrierWaits: Histogram
    public let deferrals: [LifecycleLog.Deferral: Int64]
    public let droppedMessages: Int64
    public let takeovers: Int64
    public let suspensions: Int64
    public let suspended: TimeSpan
    public let isSuspended: Bool
    public let unacknowledged: Int64

    public var metrics: [Metric] {
        [
            Metric(
                "rollcall_heartbeats_applied", .counter, "Heartbeats that moved an agent's last-seen time.",
                Double(owners.heartbeats)),
            Metric("rollcall_heartbeats_rejected", .counter, "Heartbeats that were rejected.", by: "reason") {
                (reason: RejectionReason) in owners.rejectionsByReason[reason] ?? 0
            },
            Metric(
                "rollcall_heartbeats_lost", .counter, "Gaps in the numbers that agents give their heartbeats.",
                Double(owners.lost)),
            Metric(
                "rollcall_heartbeats_repeated", .counter, "Heartbeats that came again or out of order.",
                Double(owners.repeated)),
            Metric("rollcall_wake_decisions", .counter, "Decisions to wake an agent.", Double(owners.orders)),
            Metric(
                "rollcall_checkins", .counter, "Agents that came online.", Double(owners.eventsByKind[.online] ?? 0)),
            Metric("rollcall_lifecycle_events", .counter, "Lifecycle events.", by: "event") {
                (event: LifecycleEvent) in owners.eventsByKind[event] ?? 0
            },
            verdicts,
            Metric("rollcall_deadlines_deferred", .counter, "Deadlines that were put off.", by: "reason") {
                (reason: LifecycleLog.Deferral) in deferrals[reason] ?? 0
            },
            Metric("rollcall_deadline_lateness_seconds", "From a deadline to its verdict.", owners.lateness),
            Metric(
                "rollcall_decision_commit_seconds", "From a decision to the store's word that it is committed.",
                commits),
            Metric(
                "rollcall_detection_latency_seconds",
                "From an agent's last sign of life to the verdict that it is silent.", owners.detection),
            Metric(
                "rollcall_barrier_wait_seconds", "From a deadline to the barrier that let it be judged.", barrierWaits),
            Metric("rollcall_blind", .gauge, "1 while nobody can be judged.", isSuspended ? 1 : 0),
            Metric("rollcall_blind_spells", .counter, "How often nobody could be judged.", Double(suspensions)),
            Metric(
                "rollcall_blind_seconds", .counter, "How long nobody could be judged.",
                Double(suspended.milliseconds) / 1_000),
            Metric(
                "rollcall_partitions_owned", .gauge, "Partitions that this instance owns.", Double(partitions)),
            Metric(
                "rollcall_epoch_changes", .counter, "Partitions that this instance has taken over.", Double(takeovers)),
            Metric(
                "rollcall_messages_dropped", .counter, "Messages that could not be read.", Double(droppedMessages)),
            .unacknowledged([("events", unacknowledged)]),
        ] + fleet.metrics
    }

    private var verdicts: Metric {
        var samples = OfflineReason.allCases.map { cause in
            (
                labels: [(name: "verdict", value: "offline"), (name: "cause", value: cause.rawValue)],
                value: Double(owners.offlinesByReason[cause] ?? 0)
            )
        }
        let others: [(LifecycleEvent, OfflineReason)] = [(.retriggered, .checkinMissed), (.lapsed, .lapsed)]
        for (event, cause) in others {
            samples.append(
                (
                    labels: [("verdict", event.rawValue), ("cause", cause.rawValue)],
                    value: Double(owners.eventsByKind[event] ?? 0)
                ))
        }
        return Metric("rollcall_verdicts", .counter, "Verdicts on agents that were silent or have ended.", samples)
    }
}
