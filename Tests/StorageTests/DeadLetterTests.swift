import API
import Lifecycle
import Model
import Storage
import Testing

@Suite struct DeadLetterTests {
    private func letter(_ frame: ReceivedFrame) -> DeadLetter { DeadLetter(frame, error: "why", at: noon) }

    @Test(arguments: Implementation.allCases)
    func aDeadLetterEndsTheEpochOfItsSender(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        let elsewhere = (partition + 1) % 16
        try database.grantToFirst()
        _ = try database.grant(elsewhere, instance: "r1", incarnation: "i1")
        try database.commit(frame(1, change("gw/a", 1)))

        let ended = try database.deadLetter(letter(frame(2, change("gw/b", 1))))
        #expect(ended == [EndedEpoch(partition: partition, epoch: 1)])
        // What its sender built on it is not taken, nor the letter itself once more.
        #expect(
            try database.commit(frame(2, change("gw/b", 1)), frame(3, change("gw/b", 2))).results == [
                .refused, .refused,
            ])
        #expect(try database.record(of: address("gw/b")) == nil)
        #expect(try database.owners().first { $0.partition == elsewhere }?.epoch == 1)
        // It is granted what is stored, under an epoch that nobody had.
        let snapshot = try database.grantToFirst()
        #expect(snapshot.epoch == 3)
        #expect(try database.agents(of: snapshot).map { try $0.decoded().record.address } == [address("gw/a")])
        #expect(try database.commit(frame(1, epoch: 3, change("gw/b", 1))).results == [.applied])
    }

    @Test(arguments: Implementation.allCases)
    func aLetterOfAnOldOwnerChangesNothing(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.grantToFirst()
        #expect(try database.deadLetter(letter(frame(1, epoch: 1, change("gw/a", 1)))).isEmpty)
        #expect(try database.deadLetter(letter(frame(1, epoch: 2, stream: stream(incarnation: "i0")))).isEmpty)
        #expect(try database.commit(frame(1, epoch: 2, change("gw/a", 1))).results == [.applied])
    }

    @Test(arguments: Implementation.allCases)
    func whatCannotBeReadFailsInItsTurn(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        func unreadable(_ seq: Int, epoch: Int = 1) -> ReceivedFrame {
            ReceivedFrame(
                stream: stream(), seq: seq, unreadable: Array("{}".utf8), error: "no entries", place: (partition, epoch)
            )
        }
        let report = try database.commit(frame(1, change("gw/a", 1)), unreadable(2), frame(3, change("gw/a", 2)))
        guard report.results.count == 3, case .failed(let error) = report.results[1] else {
            Issue.record("no failure: \(report.results)")
            return
        }
        #expect(error.kind == .content)
        #expect([report.results[0], report.results[2]] == [.applied, .blocked])
        #expect(try database.commit(unreadable(1), unreadable(2, epoch: 7)).results == [.duplicate, .refused])
        #expect(try database.deadLetter(letter(unreadable(2))) == [EndedEpoch(partition: partition, epoch: 1)])
    }

    @Test(arguments: Implementation.allCases)
    func withoutAPlaceAllEpochsOfItsSenderEnd(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        let (elsewhere, others) = ((partition + 1) % 16, (partition + 2) % 16)
        try database.grantToFirst()
        _ = try database.grant(elsewhere, instance: "r1", incarnation: "i1")
        _ = try database.grant(others, instance: "r2", incarnation: "i1")
        let unreadable = ReceivedFrame(stream: stream(), seq: 1, unreadable: [1], error: "not JSON", place: nil)
        guard case .failed = try database.commit(unreadable).results[0] else {
            Issue.record("no failure")
            return
        }
        #expect(try Set(database.deadLetter(letter(unreadable)).map(\.partition)) == [partition, elsewhere])
        #expect(try database.owners().first { $0.partition == others }?.epoch == 1)
    }

    @Test(arguments: Implementation.allCases)
    func lettersAreCountedListedAndKeptForATime(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try database.deadLetters(limit: 10).kept == 0)
        let count = DeadLetter.keptMax + 5
        for seq in 1...count { _ = try database.deadLetter(letter(frame(seq))) }
        let (total, kept, newest) = try database.deadLetters(limit: 2)
        #expect((total, kept) == (count, DeadLetter.keptMax))
        #expect(newest.map(\.number) == [count, count - 1])
        #expect(newest.map(\.seq) == [count, count - 1])
        #expect(newest.first?.stream == "r1/i1/events")
        #expect(newest.first?.error == "why")
        #expect(newest.first?.at == noon)
    }
}
