internal import Lifecycle
public import Model
public import Storage
internal import Wire

/// The clock of what the store keeps for a time: requests, keys, overlaps of tokens, and history.
///
/// It goes with the monotonic clock, and what it says is noted in the database: a step of the wall clock ends nobody's time. The
/// time between two incarnations of the store is known by the wall clock alone, so it counts as `absenceMax` at most: a store that was
/// down keeps things for longer. What is kept is thus kept for at least the time in which its sender repeats it.
public struct RetentionClock: Sendable {
    /// Nothing is forgotten for so long after a start.
    static let startMargin = RememberedRequest.lifetime(isKeyed: false)
    /// As long as tokens overlap: no overlap outlives a longer absence.
    public static let absenceMax = AgentMachine.tokenOverlap

    private let startedAt: Instant
    private let startWallTime: Timestamp

    /// - Parameter noted: of the incarnation before.
    public init(startedAt: Instant, wallTime: Timestamp, noted: RetentionTime? = nil) {
        self.startedAt = startedAt
        startWallTime =
            noted.map { $0.kept + min(max(wallTime.span(since: $0.wall), .zero), RetentionClock.absenceMax) }
            ?? wallTime
    }

    public func wallTime(at now: Instant) -> Timestamp {
        startWallTime + TimeSpan(milliseconds: now.milliseconds(since: startedAt))
    }

    /// What has ended before this may be forgotten.
    public func forgetBefore(at now: Instant) -> Timestamp {
        now < startedAt + RetentionClock.startMargin ? Timestamp(millisecondsSince1970: 0) : wallTime(at: now)
    }
}
