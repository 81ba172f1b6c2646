public import Model

/// Whether the store keeps up with what a reconciler commits, so that more may be begun.
///
/// What time brings waits while the store is behind; what others ask for does not. So a hundred thousand deadlines do not
/// hold up the commit of anything else: it never waits for much longer than `lagMax`.
public struct Backpressure: Sendable {
    /// A frame that has waited for so long shows that the store is behind.
    public static let lagMax = TimeSpan(milliseconds: 200)
    /// Frames without an acknowledgement, of all partitions together.
    public static let framesMax = 64

    private let framesMax: Int

    public init(framesMax: Int = Backpressure.framesMax) {
        self.framesMax = framesMax
    }

    public func isThere(now: Instant, oldestUncommitted: Instant?, frames: Int) -> Bool {
        guard let oldestUncommitted else { return true }
        return frames < framesMax && now <= oldestUncommitted + Backpressure.lagMax
    }
}
