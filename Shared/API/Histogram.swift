/// How often something took how long, in classes with fixed bounds.
public struct Histogram: Sendable {
    /// What an operator is promised of deadlines, 20 ms, is one of them.
    public static let latenessBounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
    /// A half millisecond, doubled 13 times.
    public static let commitBounds = (0..<14).map { 0.0005 * Double(1 << $0) }

    /// In seconds, ascending, each included in its class.
    public let bounds: [Double]
    /// One for each bound, and one for what took longer than the last.
    public private(set) var counts: [Int64]
    /// In seconds.
    public private(set) var sum = 0.0

    public init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    public mutating func add(seconds: Double) {
        counts[bounds.firstIndex { seconds <= $0 } ?? bounds.count] += 1
        sum += seconds
    }

    /// Adds what another one with the same bounds has counted.
    public mutating func add(_ other: Histogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        sum += other.sum
    }
}
