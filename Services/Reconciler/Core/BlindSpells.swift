public import Lifecycle

/// Counts the times in which nothing could be judged, from the start on, which is the first of them.
public struct BlindSpells: Sendable {
    /// Spells so far, the present one included; an interruption that is over at once is one too.
    public private(set) var count: Int64 = 1
    /// Why nothing is judged now; `nil` while all is well.
    public private(set) var reason: String?
    /// Since when, while nothing is judged.
    public private(set) var since: Timestamp?
    private var began: Instant
    private var ended = TimeSpan.zero

    public init(now: Instant, stamp: Timestamp) {
        reason = "starting"
        began = now
        since = stamp
    }

    public var isBlind: Bool { reason != nil }

    /// Takes what was evaluated; whether the reason is another than before.
    public mutating func evaluated(
        _ reason: String?, interrupted: Bool, now: Instant, stamp: Timestamp
    ) -> Bool {
        let before = self.reason
        if before == nil, reason != nil || interrupted { count += 1 }
        if before == nil, reason != nil {
            began = now
            since = stamp
        }
        if before != nil, reason == nil {
            ended = ended + TimeSpan(milliseconds: max(0, now.milliseconds(since: began)))
            since = nil
        }
        self.reason = reason
        return reason != before
    }

    /// How long nothing could be judged in all, the present spell included.
    public func total(now: Instant) -> TimeSpan {
        guard isBlind else { return ended }
        return ended + TimeSpan(milliseconds: max(0, now.milliseconds(since: began)))
    }
}

/// How long verdicts waited: a histogram by powers of the square root of two, from half a millisecond on.
public struct WaitHistogram: Sendable {
    private static let firstMicroseconds: Int64 = 500
    private var counts: [Int64] = Array(repeating: 0, count: 48)

    public init() {}

    public private(set) var count: Int64 = 0
    public private(set) var longest: Int64 = 0

    /// Adds a wait in microseconds.
    public mutating func add(microseconds: Int64) {
        count += 1
        longest = max(longest, microseconds)
        counts[(0..<counts.count - 1).first { microseconds <= WaitHistogram.bound($0) } ?? counts.count - 1] += 1
    }

    /// The upper bound, in microseconds, of the shortest waits that are this share of all; 0 without any.
    public func percentile(_ percent: Double) -> Int64 {
        var rest = Int64((Double(count) * percent / 100).rounded(.up))
        for index in counts.indices {
            rest -= counts[index]
            if rest <= 0 { return count == 0 ? 0 : min(longest, WaitHistogram.bound(index)) }
        }
        return longest
    }

    /// 500, 707, 1000, 1414, … µs.
    private static func bound(_ index: Int) -> Int64 {
        let doubled = firstMicroseconds << Int64(index / 2)
        return index.isMultiple(of: 2) ? doubled : doubled * 1_414 / 1_000
    }
}
