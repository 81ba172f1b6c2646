import Lifecycle
import StatusStoreCore
import Testing

/// What is kept for a time is kept for that time, whatever becomes of the wall clock.
@Suite struct KeepingClockTests {
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func at(_ seconds: Int64) -> Instant { start + .seconds(seconds) }

    @Test func itRunsWithTheMonotonicClock() {
        let stamp = Timestamp("2026-01-31T09:00:00.000Z")!
        let clock = KeepingClock(startedAt: start, stamp: stamp)
        #expect(clock.stamp(at: start) == stamp)
        #expect(clock.stamp(at: at(3_600)) == stamp + .seconds(3_600))
    }

    /// A request was committed just before the store ended, and the wall clock was then set ahead by hours.
    @Test func nothingIsForgottenSoonAfterAStart() {
        let until = Timestamp("2026-01-31T09:10:00.000Z")!
        let clock = KeepingClock(startedAt: start, stamp: until + .seconds(7_200))
        for seconds: Int64 in [0, 1, 300, 599] { #expect(clock.forgetBefore(at: at(seconds)) < until) }
        #expect(clock.forgetBefore(at: at(600)) > until)
    }
}
