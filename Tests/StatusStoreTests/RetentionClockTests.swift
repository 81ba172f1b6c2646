import API
import MemoryStorage
import Model
import StatusStoreCore
import Storage
import Testing
import Wire

/// What is kept for a time is kept for that time, whatever becomes of the wall clock.
@Suite struct RetentionClockTests {
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func at(_ seconds: Int64) -> Instant { start + .seconds(seconds) }

    @Test func itRunsWithTheMonotonicClock() {
        let wallTime = Timestamp("2026-01-31T09:00:00.000Z")!
        let clock = RetentionClock(startedAt: start, wallTime: wallTime)
        #expect(clock.wallTime(at: start) == wallTime)
        #expect(clock.wallTime(at: at(3_600)) == wallTime + .seconds(3_600))
    }

    /// A request was committed just before the store ended, and the wall clock was then set ahead by hours.
    @Test func nothingIsForgottenSoonAfterAStart() {
        let until = Timestamp("2026-01-31T09:10:00.000Z")!
        let clock = RetentionClock(startedAt: start, wallTime: until + .seconds(7_200))
        for seconds: Int64 in [0, 1, 300, 599] { #expect(clock.forgetBefore(at: at(seconds)) < until) }
        #expect(clock.forgetBefore(at: at(600)) > until)
    }

    /// The store is started again by a wall clock that is wrong by days or years, and then by one that is right.
    @Test(arguments: [Int64(-3_650), -400, 400, 3_650]) func aWrongClockAtAStartEndsNobodysTime(_ days: Int64) {
        let wallTime = Timestamp("2026-01-31T09:00:00.000Z")!
        let wrong = wallTime + .seconds(86_400 * days)
        let during = RetentionClock(
            startedAt: start, wallTime: wrong, noted: RetentionTime(kept: wallTime, wall: wallTime))
        let kept = during.wallTime(at: at(60))
        #expect(kept.span(since: wallTime) >= .seconds(60))
        #expect(kept.span(since: wallTime) <= .seconds(60) + RetentionClock.absenceMax)
        let after = RetentionClock(
            startedAt: at(60), wallTime: wallTime + .seconds(60),
            noted: RetentionTime(kept: kept, wall: wrong + .seconds(60)))
        #expect(after.wallTime(at: at(60)).span(since: wallTime) >= .seconds(60))
        #expect(after.wallTime(at: at(60)).span(since: wallTime) <= .seconds(60) + RetentionClock.absenceMax)
    }

    @Test func aShortAbsenceCounts() {
        let wallTime = Timestamp("2026-01-31T09:00:00.000Z")!
        let clock = RetentionClock(
            startedAt: start, wallTime: wallTime + .seconds(90), noted: RetentionTime(kept: wallTime, wall: wallTime))
        #expect(clock.wallTime(at: start) == wallTime + .seconds(90))
    }

    /// A reconciler that starts before NTP stamps events ten years back, and the store's clock jumps.
    @Test(arguments: [Int64(-3_650), -400, 400, 3_650]) func aStepOfTheWallClockDeletesNoHistory(_ days: Int64) throws {
        let agent = AgentAddress("gw/a")!
        let database = FailingDatabase(MemoryDatabase(partitionCount: 1, identity: "d"))
        var subject = try StoreSubject(database)
        _ = try database.grant(0, instance: "r1", incarnation: "i1", above: 0)
        let entry = StoreCoreTests().change(1)  // stamped 1970
        let frame = StoreFrame(partition: 0, epoch: 1, entries: [entry])
        _ = try database.commit(
            [ReceivedFrame(stream: StoreSubject.stream, seq: 1, frame: frame)], published: 0, now: subject.wallTime)
        let right = subject.wallTime
        func kept() throws -> Int { try database.history(of: .agent(agent), since: nil, before: nil, limit: 9).count }
        func seconds(_ count: Int) {
            for _ in 0..<count {
                subject.pass(1)
                subject.handle(.secondPassed)
            }
        }
        _ = try database.tidy(
            published: .max, now: right, historyBefore: right - .seconds(86_400), historyBytesMax: .max, limit: 9)
        seconds(5)
        subject.wallTime = right + .seconds(86_400 * days)
        seconds(5)
        #expect(try kept() == 1)
        subject.wallTime = right
        seconds(5)
        #expect(try kept() == 1)
        // By its own clock the time comes.
        subject.pass(86_400 * 30 + 10)
        seconds(2)
        #expect(try kept() == 0)
    }
}
