public import Model

/// Since when nothing can be committed, why, and when to say so again: a full disk is met every second for hours.
public struct CommitTrouble: Sendable {
    /// The same reason is logged again after this.
    public static let logAgainAfter = TimeSpan.seconds(60)

    public private(set) var reason: String?
    private var since = Instant(nanoseconds: 0)
    private var loggedAt = Instant(nanoseconds: 0)

    public init() {}

    /// A commit failed. Whether that is to be logged.
    public mutating func failed(_ reason: String, now: Instant) -> Bool {
        if self.reason == nil { since = now }
        guard self.reason != reason || now.milliseconds(since: loggedAt) >= CommitTrouble.logAgainAfter.milliseconds
        else { return false }
        self.reason = reason
        loggedAt = now
        return true
    }

    /// A commit worked. How long none did before it; `nil` when the one before worked too.
    public mutating func worked(now: Instant) -> TimeSpan? {
        guard reason != nil else { return nil }
        reason = nil
        return TimeSpan(milliseconds: now.milliseconds(since: since))
    }
}
