internal import Contract

/// One series of numbers that a service tells its administrator, as Prometheus and OpenMetrics have it.
struct Metric {
    enum Kind: String { case counter, gauge }

    /// Of a counter without its `_total`.
    let name: String
    let kind: Kind
    let help: String
    /// Each with what stands between the braces, `result="woken"`.
    var samples: [(labels: String, value: Double)]

    init(_ name: String, _ kind: Kind, _ help: String, _ samples: [(labels: String, value: Double)]) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    init(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        self.init(name, kind, help, [("", value)])
    }

    enum Format {
        /// Prometheus' text format 0.0.4.
        case text
        /// OpenMetrics 1.0.
        case openMetrics

        /// The one that a client accepts; the text format unless it names the other.
        init(accepting accept: String?) {
            self = accept?.contains("application/openmetrics-text") == true ? .openMetrics : .text
        }

        var contentType: String {
            switch self {
            case .text: "text/plain; version=0.0.4; charset=utf-8"
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }

    static func text(_ metrics: [Metric], _ format: Format) -> String {
        var text = ""
        for metric in metrics where !metric.samples.isEmpty {
            let sampleName = metric.kind == .counter ? metric.name + "_total" : metric.name
            // OpenMetrics names the family without the suffix, the older format knows samples alone.
            let family = format == .openMetrics ? metric.name : sampleName
            text += "# HELP \(family) \(metric.help)\n# TYPE \(family) \(metric.kind.rawValue)\n"
            for (labels, value) in metric.samples {
                let number = Int64(exactly: value).map { String($0) } ?? String(value)
                text += "\(sampleName)\(labels.isEmpty ? "" : "{\(labels)}") \(number)\n"
            }
        }
        return format == .openMetrics ? text + "# EOF\n" : text
    }
}

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

    static func metrics(of service: ServiceName, counters: [String: Int64], presence: Presence) -> [Metric] {
        var metrics: [Metric] = []
        for row in rows(of: service) {
            guard let count = counters[row.key] else { continue }
            let sample = (row.labels, Double(count) / row.divisor)
            if metrics.last?.name == row.name {
                metrics[metrics.count - 1].samples.append(sample)
            } else {
                metrics.append(Metric(row.name, row.kind, row.help, [sample]))
            }
        }
        return metrics + states(of: service, presence)
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
            ]
        case .provisioner, .heartbeatIngest, .controlAPI: []
        }
    }

    private static let unacknowledged = Row(
        "kept", "rollcall_stream_unacknowledged", .gauge, "Frames whose receivers have not acknowledged them.")

    private static func rows(of service: ServiceName) -> [Row] {
        switch service {
        case .heartbeatIngest:
            [
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
        case .reconciler:
            [
                Row(
                    "heartbeats", "rollcall_heartbeats_applied", .counter,
                    "Heartbeats that moved an agent's last-seen time."),
                Row("rejections", "rollcall_rejections", .counter, "Rejections noted on agents' records."),
                Row("events", "rollcall_lifecycle_events", .counter, "Lifecycle events."),
                Row("orders", "rollcall_wakes", .counter, "Decisions to wake an agent."),
                Row("agents", "rollcall_agents", .gauge, "Agents of the partitions that this instance owns."),
                Row("dropped_messages", "rollcall_messages_dropped", .counter, "Messages that could not be read."),
                Row("blind_spells", "rollcall_blind_spells", .counter, "How often nobody could be judged."),
                Row("blind_ms", "rollcall_blind_seconds", .counter, "How long nobody could be judged.", divisor: 1_000),
                Row("deferred_deadlines", "rollcall_deadlines_deferred", .counter, "Deadlines put off meanwhile."),
                Row("barriers", "rollcall_barriers", .counter, "Barriers before verdicts."),
            ]
        case .provisioner:
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
        case .statusStore:
            [
                Row("frames", "rollcall_frames_committed", .counter, "Frames committed."),
                Row(
                    "published", "rollcall_outbox_published", .counter,
                    "Entries of the outbox that the broker acknowledged."),
                Row(
                    "orders", "rollcall_orders_published", .counter,
                    "Orders to wake that were published, repetitions included."),
                Row("answers", "rollcall_lookups_answered", .counter, "Questions answered from the database."),
            ]
        case .controlAPI: []
        }
    }
}
