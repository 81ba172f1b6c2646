internal import Model

/// Makes one line a second of a flood of one kind of event.
///
/// Each kind may have `burst` lines at once and `perSecond` from then on. Beyond that its lines are left out and counted; one
/// line a second is written, and says how many were left out before it.
struct LogThrottle: Sendable {
    /// So many lines of a kind come through at once: as many as a person may want to read one by one.
    static let burst: Int64 = 400
    static let perSecond: Int64 = 20
    private static let tellEvery: Int64 = 1_000

    private struct Kind: Sendable {
        /// Thousandths of a line.
        var credit = LogThrottle.burst * 1_000
        var creditedAt: Instant
        var toldAt: Instant?
        var leftOut = 0
    }

    /// Names of events are constants of the program: they are few.
    private var kinds: [String: Kind] = [:]
    private var untold = 0

    /// Takes an event. How many of its kind were left out before it; `nil`: it is left out.
    mutating func admit(_ name: String, now: Instant) -> Int? {
        var kind = kinds[name] ?? Kind(creditedAt: now)
        defer { kinds[name] = kind }
        kind.credit += max(0, now.milliseconds(since: kind.creditedAt)) * LogThrottle.perSecond
        kind.credit = min(LogThrottle.burst * 1_000, kind.credit)
        kind.creditedAt = now
        if kind.leftOut == 0, kind.credit >= 1_000 {
            kind.credit -= 1_000
            return 0
        }
        kind.credit = 0
        if let toldAt = kind.toldAt, now.milliseconds(since: toldAt) < LogThrottle.tellEvery {
            kind.leftOut += 1
            untold += 1
            return nil
        }
        defer { (kind.leftOut, kind.toldAt) = (0, now) }
        untold -= kind.leftOut
        return kind.leftOut
    }

    /// What was left out and no later event of its kind has told of in good time; it counts as told.
    mutating func takeUntold(now: Instant) -> [(name: String, count: Int)] {
        guard untold > 0 else { return [] }
        let due = kinds.filter { _, kind in
            kind.leftOut > 0 && kind.toldAt.map { now.milliseconds(since: $0) >= 2 * LogThrottle.tellEvery } ?? true
        }
        return due.sorted { $0.key < $1.key }.map { name, kind in
            untold -= kind.leftOut
            kinds[name]?.leftOut = 0
            kinds[name]?.toldAt = now
            return (name, kind.leftOut)
        }
    }
}
