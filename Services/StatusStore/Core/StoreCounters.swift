public import API
public import Model

/// What the store tells its administrator: what it counted since its start, and what waits.
public struct StoreCounters: Sendable {
    public let frames: Int64
    public let published: Int64
    public let orders: Int64
    public let lookups: Int64
    public let lookupsRefused: Int64
    public let outboxEntries: Int64
    public let outboxAge: TimeSpan
    public let outboxWaits: Histogram
    public let grantsUnacknowledged: Int64
    public let deadLetters: Int64
    public let isInTrouble: Bool
    public let partitions: Int64

    public var metrics: [Metric] {
        [
            Metric("rollcall_frames_committed", .counter, "Frames committed.", Double(frames)),
            Metric(
                "rollcall_outbox_published", .counter, "Entries of the outbox that were published.", Double(published)),
            Metric(
                "rollcall_outbox_entries", .gauge, "Entries of the outbox that the broker has not acknowledged.",
                Double(outboxEntries)),
            Metric(
                "rollcall_outbox_age_seconds", .gauge, "The age of the oldest of them.",
                Double(outboxAge.milliseconds) / 1_000),
            Metric(
                "rollcall_event_publish_seconds",
                "From a commit to the broker's acknowledgement of all that it published.", outboxWaits),
            Metric(
                "rollcall_orders_published", .counter,
                "Orders to wake that were published, repetitions included.", Double(orders)),
            Metric("rollcall_lookups_answered", .counter, "Questions answered from the database.", Double(lookups)),
            Metric(
                "rollcall_lookups_refused", .counter, "Questions refused since too many waited.",
                Double(lookupsRefused)),
            Metric("rollcall_dead_letters", .gauge, "Frames that were put aside and are kept.", Double(deadLetters)),
            Metric("rollcall_store_trouble", .gauge, "1 while nothing can be committed.", isInTrouble ? 1 : 0),
            Metric("rollcall_partitions", .gauge, "Partitions that there are.", Double(partitions)),
            .unacknowledged([("grants", grantsUnacknowledged)]),
        ]
    }
}
