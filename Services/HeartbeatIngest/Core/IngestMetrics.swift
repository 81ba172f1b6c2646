public import API

extension HeartbeatIntake.Counters {
    /// What an administrator is told of them.
    public var metrics: [Metric] {
        let paths = [("agent", received - names - overHTTP), ("gateway", names), ("http", overHTTP)]
        return [
            Metric(
                "rollcall_heartbeats", .counter, "Heartbeats received, by the way on which they came.",
                paths.map { path, count in ([("path", path)], Double(count)) }),
            Metric("rollcall_heartbeats_malformed", .counter, "Heartbeats of a wrong form.", Double(rejected)),
            Metric("rollcall_heartbeat_messages", .counter, "Messages with heartbeats.", Double(messages)),
            Metric(
                "rollcall_heartbeat_batches", .counter, "Batches handed to owners of partitions.", Double(batches)),
            Metric("rollcall_batch_size", "Heartbeats in a batch.", batchSizes),
        ]
    }
}
