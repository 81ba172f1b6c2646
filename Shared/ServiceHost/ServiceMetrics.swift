internal import API
internal import Lifecycle
internal import Model

/// What the counters of each service are called outside.
enum ServiceMetrics {
    private struct Row {
        let key: String
        let name: String
        let kind: Metric.Kind
        let help: String
        var labels = ""
        /// How many of the counter's units make one of the metric's.
        var divisor = 1.0

        init(
            _ key: String, _ name: String, _ kind: Metric.Kind, _ help: String, labels: String = "",
            divisor: Double = 1
        ) {
            (self.key, self.name, self.kind, self.help) = (key, name, kind, help)
            (self.labels, self.divisor) = (labels, divisor)
        }
    }

    static func metrics(
        of service: ServiceName, counters: [String: Int64], durations: [DurationMetric], presence: Presence
    ) -> [Metric] {
        var metrics: [Metric] = []
        for row in rows(of: service) {
            guard let count = counters[row.key] else { continue }
            if metrics.last?.name != row.name { metrics.append(Metric(row.name, row.kind, row.help, [])) }
            metrics[metrics.count - 1].add(row.labels, Double(count) / row.divisor)
        }
        if service == .controlAPI { metrics += sinks(counters) }
        return metrics + durations.map { Metric($0) } + states(of: service, presence)
    }

    /// Of sinks of alerts, which have names of their own: the counter `alerts_delivered/SINK` and the others.
    private static func sinks(_ counters: [String: Int64]) -> [Metric] {
        var deliveries = Metric("rollcall_webhook_deliveries", .counter, "Messages of alerts to sinks.", [])
        var oldest = Metric(
            "rollcall_webhook_oldest_seconds", .gauge, "How long the oldest message that a sink owes has been due.", [])
        for (key, value) in counters.sorted(by: { $0.key < $1.key }) {
            guard let slash = key.firstIndex(of: "/") else { continue }
            let sink = "sink=\"\(key[key.index(after: slash)...])\""
            switch key[..<slash] {
            case "alerts_delivered": deliveries.add("\(sink),result=\"delivered\"", Double(value))
            case "alerts_failed": deliveries.add("\(sink),result=\"failed\"", Double(value))
            case "alerts_oldest_ms": oldest.add(sink, Double(value) / 1_000)
            default: break
            }
        }
        return [deliveries, oldest]
    }

    private static func states(of service: ServiceName, _ presence: Presence) -> [Metric] {
        switch service {
        case .reconciler:
            [
                Metric("rollcall_blind", .gauge, "1 while nobody can be judged.", presence.suspended == nil ? 0 : 1),
                Metric(
                    "rollcall_partitions_owned", .gauge, "Partitions that this instance owns.",
                    Double(presence.partitions?.count ?? 0)),
            ]
        case .statusStore:
            [
                Metric(
                    "rollcall_dead_letters", .gauge, "Frames that were put aside and are kept.",
                    Double(presence.deadLetters?.kept ?? 0)),
                Metric(
                    "rollcall_store_trouble", .gauge, "1 while nothing can be committed.",
                    presence.trouble == nil ? 0 : 1),
                Metric(
                    "rollcall_partitions", .gauge, "Partitions that there are.", Double(presence.partitionCount ?? 0)),
            ]
        case .provisioner, .heartbeatIngest, .controlAPI: []
        }
    }

    private static let unacknowledged = Row(
        "kept", "rollcall_stream_unacknowledged", .gauge, "Frames whose receivers have not acknowledged them.")

    /// One row for each value of a label, whose counters have keys of one beginning.
    private static func rows(
        _ prefix: String, _ name: String, _ kind: Metric.Kind, _ help: String, _ label: String, _ values: [String],
        labels: String = ""
    ) -> [Row] {
        values.map { Row("\(prefix)_\($0)", name, kind, help, labels: "\(labels)\(label)=\"\($0)\"") }
    }

    private static func rows(of service: ServiceName) -> [Row] {
        switch service {
        case .heartbeatIngest: heartbeatIngest
        case .reconciler: reconciler
        case .provisioner: provisioner
        case .statusStore: statusStore
        case .controlAPI: controlAPI
        }
    }

    private static let heartbeatIngest: [Row] = [
        Row(
            "received", "rollcall_heartbeats", .counter,
            "Heartbeats received, those in gateways' messages included."),
        Row(
            "names", "rollcall_heartbeats_by_gateways", .counter, "Heartbeats that came in gateways' messages."),
        Row("rejected", "rollcall_heartbeats_rejected", .counter, "Heartbeats of a wrong form."),
        Row("messages", "rollcall_heartbeat_messages", .counter, "Messages with heartbeats."),
        Row("batches", "rollcall_heartbeat_batches", .counter, "Batches handed to owners of partitions."),
        unacknowledged,
    ]

    private static let reconciler: [Row] =
        [
            Row(
                "heartbeats", "rollcall_heartbeats_applied", .counter,
                "Heartbeats that moved an agent's last-seen time."),
            Row("orders", "rollcall_wakes", .counter, "Decisions to wake an agent."),
            Row("dropped_messages", "rollcall_messages_dropped", .counter, "Messages that could not be read."),
            Row("blind_spells", "rollcall_blind_spells", .counter, "How often nobody could be judged."),
            Row("blind_ms", "rollcall_blind_seconds", .counter, "How long nobody could be judged.", divisor: 1_000),
            Row("deferred_deadlines", "rollcall_deadlines_deferred", .counter, "Deadlines put off meanwhile."),
            Row("barriers", "rollcall_barriers", .counter, "Barriers before verdicts."),
        ]
        + rows(
            "rejected", "rollcall_rejections", .counter, "Heartbeats that were rejected.", "reason",
            RejectionReason.allCases.map(\.rawValue))
        + rows(
            "event", "rollcall_lifecycle_events", .counter, "Lifecycle events.", "event",
            LifecycleEvent.allCases.map(\.rawValue))
        + rows(
            "verdict", "rollcall_verdicts", .counter, "Agents that were declared offline.", "cause",
            OfflineReason.allCases.map(\.rawValue), labels: "verdict=\"offline\",")
        + rows(
            "agents", "rollcall_agents", .gauge, "Agents of the partitions that this instance owns.", "status",
            AgentStatus.allCases.map(\.rawValue))
        + rows(
            "offline", "rollcall_agents_offline", .gauge, "Those that are offline and not paused.", "cause",
            OfflineReason.allCases.map(\.rawValue))
        + rows(
            "gateways", "rollcall_gateways", .gauge, "Gateways of these partitions.", "state",
            GatewayState.Connection.allCases.map(\.rawValue))

    private static let provisioner: [Row] =
        [
            Row("commands", "rollcall_commands", .counter, "Commands received."),
            Row("pending", "rollcall_commands_pending", .gauge, "Commands that are not answered yet."),
            Row("answers", "rollcall_answers", .counter, "Answers to commands."),
            Row("orders", "rollcall_wake_orders", .counter, "Orders to wake that were received."),
            Row(
                "woken", "rollcall_wake_deliveries", .counter, "Ends of orders to wake.", labels: #"result="woken""#
            ),
            Row("expired", "rollcall_wake_deliveries", .counter, "", labels: #"result="expired""#),
            Row("failed", "rollcall_wake_deliveries", .counter, "", labels: #"result="failed""#),
            unacknowledged,
        ]

    private static let statusStore: [Row] = [
        Row("frames", "rollcall_frames_committed", .counter, "Frames committed."),
        Row(
            "published", "rollcall_outbox_published", .counter,
            "Entries of the outbox that the broker acknowledged."),
        Row(
            "orders", "rollcall_orders_published", .counter,
            "Orders to wake that were published, repetitions included."),
        Row("answers", "rollcall_lookups_answered", .counter, "Questions answered from the database."),
        Row(
            "outbox", "rollcall_outbox_entries", .gauge,
            "Entries of the outbox that the broker has not acknowledged."),
        Row(
            "outbox_age_ms", "rollcall_outbox_age_seconds", .gauge, "The age of the oldest of them.",
            divisor: 1_000),
    ]

    private static let controlAPI: [Row] = [
        Row("requests", "rollcall_http_requests", .counter, "Requests over HTTP."),
        Row("refused", "rollcall_http_requests_refused", .counter, "Requests that were answered 400 or above."),
        Row("heartbeats", "rollcall_http_heartbeats", .counter, "Heartbeats that came over HTTP."),
        Row(
            "waiting", "rollcall_http_requests_waiting", .gauge, "Requests that wait for an answer of the bus."),
        Row("streams", "rollcall_sse_streams", .gauge, "Open streams of events."),
        Row(
            "broker_dropped", "rollcall_broker_messages_dropped", .counter,
            "Messages that the broker has dropped, by its own count."),
    ]
}
