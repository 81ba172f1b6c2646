public import API

/// Where services speak to each other: nobody else may.
extension Topics {
    public func stream(to destination: StreamDestination) -> String {
        "\(root)/internal/streams/\(destination.topicLevels)"
    }
    public func acknowledgements(service: String, instance: String) -> String {
        "\(root)/internal/acknowledgements/\(service)/\(instance)"
    }
    /// Wake orders: level-triggered, from the store to any provisioner.
    public var orders: String { "\(root)/internal/orders" }
    /// Answers from the store to the provisioner that forwarded the request.
    public func answers(instance: String) -> String { "\(root)/internal/answers/\(instance)" }
    /// Answers from the owners of agents to the control-api that handed a heartbeat in (`HeartbeatAnswer`).
    public func heartbeatAnswers(asker: String) -> String { "\(root)/internal/heartbeat-answers/\(asker)" }
    /// Questions from a provisioner to the store, answered on `answers`.
    public var lookups: String { "\(root)/internal/lookups" }
    /// Questions from control-api to the store (`EventQuestion`), answered where they say (`EventPage`).
    public var eventQuestions: String { "\(root)/internal/event-questions" }
    /// Claims of idempotency keys, from a provisioner to the store, answered on `answers` (`KeyClaim`).
    public var claims: String { "\(root)/internal/claims" }
    /// Where an instance is asked whether all that it received is handed over (`BarrierQuestion`), or is told
    /// (`BarrierAnswer`).
    public func barriers(service: String, instance: String) -> String {
        "\(root)/internal/barriers/\(service)/\(instance)"
    }
    /// Where an ingest's connection for heartbeats leaves its Last Will (`HeartbeatSubscriptionEnded`).
    public func heartbeatSubscription(instance: String) -> String { "\(root)/internal/subscriptions/\(instance)" }
    /// What an ingest notes, retained, of how its incarnations have ended.
    public func endings(service: String, instance: String) -> String {
        "\(root)/internal/endings/\(service)/\(instance)"
    }
    /// The store's retained note of what it has published.
    public var cursor: String { "\(root)/internal/cursor" }
    /// What an instance sends to itself, to know that all that was queued for it before has reached it.
    public func canary(service: String, instance: String) -> String { "\(root)/internal/canary/\(service)/\(instance)" }
    /// Counters of a service, once a second, not retained.
    public func counters(service: String, instance: String) -> String {
        "\(root)/internal/counters/\(service)/\(instance)"
    }
    public var allHeartbeatSubscriptions: String { "\(root)/internal/subscriptions/+" }
    /// What the broker's access plugin listens to.
    public static let accessControl = "$CONTROL/rollcall/v1"
    /// Where the plugin answers the store's `answer WORD` with the word: it is there, and has applied what came before.
    public var accessAnswers: String { "\(root)/internal/access" }
    /// Where the plugin tells which new tokens were used: `USERNAME SHA256HEX`, one a line.
    public var usedSecrets: String { "\(root)/internal/used-secrets" }
    /// Where the plugin names agents that it refused, each at most once a second: `GW/AGENT bad_token`, or
    /// `GW/AGENT rate_limited COUNT`, one a line.
    public var refusals: String { "\(root)/internal/refusals" }
}

/// Where a stream goes: to whoever owns a partition, to the store, or to one reconciler.
public enum StreamDestination: Hashable, Sendable {
    case partition(Int)
    case store
    case reconciler(String)

    var topicLevels: String {
        switch self {
        case .partition(let number): "partition/\(number)"
        case .store: "store"
        case .reconciler(let instance): "reconciler/\(instance)"
        }
    }
}
