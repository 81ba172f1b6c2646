/// How often something was how large, in classes with fixed bounds.
public struct Histogram: Sendable {
    /// What an operator is promised of deadlines, 20 ms, is one of them. In seconds.
    public static let latenessBounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
    /// A half millisecond, doubled 13 times. In seconds.
    public static let commitBounds = (0..<14).map { 0.0005 * Double(1 << $0) }
    /// From the last sign of life to the verdict: what policies make of it. In seconds.
    public static let detectionBounds = [1.0, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600]
    /// Powers of 4.
    public static let sizeBounds = (0..<7).map { Double(1 << (2 * $0)) }

    /// Ascending, each included in its class.
    public let bounds: [Double]
    /// One for each bound, and one for what was larger than the last.
    public private(set) var counts: [Int64]
    public private(set) var sum = 0.0

    public init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    public var count: Int64 { counts.reduce(0, +) }

    public mutating func add(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }

    public mutating func add(nanoseconds: Int64) { add(Double(max(0, nanoseconds)) / 1e9) }

    /// Adds what another one with the same bounds has counted.
    public mutating func add(_ other: Histogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        sum += other.sum
    }
}
