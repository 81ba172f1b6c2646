/// How long verdicts waited, sorted into bounds of which eight make a doubling.
public struct WaitHistogram: Sendable {
    /// In microseconds: from a half millisecond to two seconds.
    private static let bounds: [Int64] = (0..<97).map { index in
        var bound = 500.0
        for _ in 0..<index { bound *= 1.090_507_732_665_257_7 }
        return Int64(bound)
    }

    private var counts: [Int64] = Array(repeating: 0, count: bounds.count + 1)
    public private(set) var count: Int64 = 0
    /// In microseconds.
    public private(set) var longest: Int64 = 0

    public init() {}

    /// Adds a wait in microseconds.
    public mutating func add(microseconds: Int64) {
        count += 1
        longest = max(longest, microseconds)
        counts[WaitHistogram.bounds.firstIndex { microseconds <= $0 } ?? WaitHistogram.bounds.count] += 1
    }

    /// The upper bound, in microseconds, of the shortest waits that are this share of all; 0 without any.
    public func percentile(_ percent: Double) -> Int64 {
        var rest = Int64((Double(count) * percent / 100).rounded(.up))
        for (bound, count) in zip(WaitHistogram.bounds, counts) {
            rest -= count
            if rest <= 0 { return min(longest, bound) }
        }
        return longest
    }
}
