public import Model

/// Counts the times in which nothing could be judged, from the start on, which is the first of them.
public struct Suspensions: Sendable {
    /// Suspensions so far, the present one included; an interruption that is over at once is one too.
    public private(set) var count: Int64 = 1
    /// Why nothing is judged now; `nil` while all is well.
    public private(set) var reason: String?
    /// Since when, while nothing is judged.
    public private(set) var since: Timestamp?
    private var began: Instant
    private var ended = TimeSpan.zero

    public init(now: Instant, wallTime: Timestamp) {
        reason = "starting"
        began = now
        since = wallTime
    }

    public var isSuspended: Bool { reason != nil }

    /// Takes what was evaluated; whether the reason is another than before.
    public mutating func evaluated(
        _ reason: String?, interrupted: Bool, now: Instant, wallTime: Timestamp
    ) -> Bool {
        let before = self.reason
        if before == nil, reason != nil || interrupted { count += 1 }
        if before == nil, reason != nil {
            began = now
            since = wallTime
        }
        if before != nil, reason == nil {
            ended = ended + TimeSpan(milliseconds: max(0, now.milliseconds(since: began)))
            since = nil
        }
        self.reason = reason
        return reason != before
    }

    /// How long nothing could be judged in all, the present suspension included.
    public func total(now: Instant) -> TimeSpan {
        guard isSuspended else { return ended }
        return ended + TimeSpan(milliseconds: max(0, now.milliseconds(since: began)))
    }
}
