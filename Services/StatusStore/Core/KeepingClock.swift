internal import Contract
public import Lifecycle

/// The clock of what the store keeps for a time: requests and keys.
///
/// It is the wall clock as it was at the start, and from there the monotonic one: a step of the wall clock ends nobody's time.
/// Between two lives of the store it may have been stepped, so nothing is forgotten soon after a start. What is kept is thus
/// kept for at least the time in which its sender repeats it.
public struct KeepingClock: Sendable {
    /// Nothing is forgotten for so long after a start.
    static let startMargin = RememberedRequest.lifetime(isKeyed: false)

    private let startedAt: Instant
    private let startStamp: Timestamp

    public init(startedAt: Instant, stamp: Timestamp) {
        self.startedAt = startedAt
        startStamp = stamp
    }

    public func stamp(at now: Instant) -> Timestamp {
        startStamp + TimeSpan(milliseconds: now.milliseconds(since: startedAt))
    }

    /// What has ended before this may be forgotten.
    public func forgetBefore(at now: Instant) -> Timestamp {
        now < startedAt + KeepingClock.startMargin ? Timestamp(millisecondsSince1970: 0) : stamp(at: now)
    }
}
