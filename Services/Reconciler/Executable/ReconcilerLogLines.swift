internal import Lifecycle
import Model
internal import ReconcilerCore
internal import ServiceHost
import Wire

extension ReconcilerLog {
    /// The name that operators know, its level and its members.
    var subscription: (name: String, level: LogLevel, members: [(key: String, value: LogValue)]) {
        switch self {
        case .lifecycle(let log, let agent, let generation):
            let (name, level, members) = log.subscription
            return (name, level, [("agent", LogValue(agent)), ("generation", LogValue(generation))] + members)
        case .missingAgent(let agent):
            return ("lifecycle.reconcile.skip_missing_agent", .info, [("agent", LogValue(agent))])
        case .messageDropped(let unread):
            let id = unread.frame.id
            return (
                "service.message_dropped", .error,
                [
                    ("partition", LogValue(unread.partition)), ("kind", LogValue(unread.frame.body?.kind ?? "")),
                    ("sender", LogValue("\(id.service)/\(id.instance)")), ("seq", LogValue(unread.frame.seq)),
                    ("error", LogValue(unread.error)),
                ]
            )
        case .takenOver(let partition, let epoch, let agents):
            return (
                "partition.taken_over", .info,
                [("partition", LogValue(partition)), ("epoch", LogValue(epoch)), ("agents", LogValue(agents))]
            )
        case .dropped(let partition, let epoch):
            return (
                "partition.dropped", .warning, [("partition", LogValue(partition)), ("epoch", LogValue(epoch))]
            )
        case .suspended(let reason): return ("reconciler.blind", .warning, [("reason", LogValue(reason))])
        case .observable(let suspensions, let length, let deferred):
            return (
                "reconciler.sighted", .info,
                [
                    ("spells", LogValue(Int(suspensions))), ("blind_seconds", LogValue(length.seconds)),
                    ("deferred", LogValue(Int(deferred))),
                ]
            )
        }
    }
}

extension LifecycleLog {
    private static let taskType: (key: String, value: LogValue) = ("task_type", "agent_lifecycle_reconcile")

    /// The name that operators know, its level and its own members.
    var subscription: (name: String, level: LogLevel, members: [(key: String, value: LogValue)]) {
        switch self {
        case .deadlineArmed(let attempt, let delay):
            (
                "lifecycle.queue.enqueued", .info,
                [("attempt", LogValue(attempt)), ("delay_seconds", LogValue(delay.seconds))]
            )
        case .deadlineHandled(let attempt):
            ("queue.worker.success", .info, [("attempt", LogValue(attempt)), LifecycleLog.taskType])
        case .wakeFailed(let attempt, let error):
            (
                "queue.worker.failed", .error,
                [("attempt", LogValue(attempt)), LifecycleLog.taskType, ("error", LogValue(error))]
            )
        case .checkedInBeforeDeadline(let attempt):
            ("lifecycle.reconcile.skip_not_stuck", .info, [("attempt", LogValue(attempt))])
        case .deadlineDeferred(let attempt, let delay, let reason):
            (
                "lifecycle.reconcile.deferred", .info,
                [
                    ("attempt", LogValue(attempt)), ("delay_seconds", LogValue(delay.seconds)),
                    ("reason", LogValue(reason.rawValue)),
                ]
            )
        case .retriggered(let attempt): ("lifecycle.reconcile.retriggered", .info, [("attempt", LogValue(attempt))])
        case .attemptsExhausted(let wakeAttempts, let maxAttempts):
            (
                "lifecycle.reconcile.max_attempts_reached", .warning,
                [
                    ("attempt", LogValue(wakeAttempts)), ("wake_attempts", LogValue(wakeAttempts)),
                    ("max_attempts", LogValue(maxAttempts)),
                ]
            )
        case .skippedStaleGeneration(let attempt):
            ("lifecycle.reconcile.skip_stale_generation", .info, [("attempt", LogValue(attempt))])
        case .skippedDeleting: ("lifecycle.reconcile.skip_deleting", .info, [])
        case .rejected(let reason, let detail):
            (
                "heartbeat.rejected", .warning,
                [("reason", LogValue(reason.rawValue))] + (detail.map { [("detail", LogValue($0))] } ?? [])
            )
        }
    }
}
