public import API
public import Model
internal import Wire

/// What a provisioner counted since its start.
public struct ProvisionerTally: Sendable {
    /// What became of an order to wake.
    public enum Delivery: String, CaseIterable, Sendable {
        /// Somebody was subscribed, or nobody.
        case accepted
        case noSubscriber = "no_subscriber"
        /// It was too old to be published, or could not be.
        case expired, failed

        init(_ outcome: WakeReport.Outcome) {
            switch outcome {
            case .woken(_, _, .accepted): self = .accepted
            case .woken(_, _, .noSubscriber): self = .noSubscriber
            case .expired: self = .expired
            case .failed: self = .failed
            }
        }
    }

    public internal(set) var commands: Int64 = 0
    public internal(set) var answers: Int64 = 0
    public internal(set) var orders: Int64 = 0
    public internal(set) var wakes: [WakeReason: Int64] = [:]
    public private(set) var deliveries: [Delivery: Int64] = [:]
    /// Commands that are not answered yet.
    public internal(set) var pending: Int64 = 0
    public internal(set) var unacknowledged: Int64 = 0

    mutating func note(_ outcome: WakeReport.Outcome) { deliveries[Delivery(outcome), default: 0] += 1 }

    public var metrics: [Metric] {
        [
            Metric("rollcall_commands", .counter, "Commands received.", Double(commands)),
            Metric("rollcall_commands_pending", .gauge, "Commands that are not answered yet.", Double(pending)),
            Metric("rollcall_answers", .counter, "Answers to commands.", Double(answers)),
            Metric("rollcall_wake_orders", .counter, "Orders to wake that were received.", Double(orders)),
            Metric("rollcall_wakes", .counter, "Wakes that were published.", by: "reason") {
                (reason: WakeReason) in wakes[reason] ?? 0
            },
            Metric("rollcall_wake_deliveries", .counter, "What became of orders to wake.", by: "result") {
                (delivery: Delivery) in deliveries[delivery] ?? 0
            },
            .unacknowledged([("requests", unacknowledged)]),
        ]
    }
}
