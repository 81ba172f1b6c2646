import API
import Lifecycle
import Model
import Storage
import Testing
import Wire

@Suite struct SnapshotTests {
    @Test(arguments: Implementation.allCases)
    func aGrantReturnsAllThatLiesInThePartition(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try database.grantToFirst().agentPlaces.isEmpty)
        let paused = StoreEntry(.boardPause(BoardPause(board: "b", until: noon)))
        try database.commit(
            frame(
                1, gatewayEntry("gw"), change("gw/a", 1), change("gw/b", 1), paused,
                answer("q", .gateway("gw", minted: true))),
            frame(2, removal("gw/b", 2)))
        let snapshot = try database.grant(partition, instance: "r2", incarnation: "i9")
        #expect(snapshot.epoch == 2)
        #expect(try database.agents(of: snapshot).map { try $0.decoded() } == [state("gw/a", revision: 1)])
        #expect(snapshot.tombstones == [Tombstone(agent: address("gw/b"), generation: 1, revision: 2)])
        #expect(try snapshot.gateways.map { try $0.decoded() } == [GatewayState(gateway: "gw")])
        #expect(snapshot.boardPauses == [BoardPause(board: "b", until: noon)])
        #expect(
            try database.requests(of: snapshot) == [
                RememberedRequest(id: "q", digest: "d", until: noon + .seconds(86_400), mintedFor: "gw")
            ])
        #expect(try database.grant((partition + 1) % 16, instance: "r2", incarnation: "i9").tombstones.isEmpty)
    }

    /// An older copy of a database does not know the epochs that were granted after it was made.
    @Test(arguments: Implementation.allCases)
    func anEpochLiesAboveWhatWasClaimed(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        func epoch(above known: Int) throws -> Int {
            try database.grant(partition, instance: "r1", incarnation: "i1", above: known).epoch
        }
        #expect(try epoch(above: 4) == 5)
        #expect(try epoch(above: 2) == 6)
        #expect(try epoch(above: 6) == 7)
        #expect(try database.grantToFirst().epoch == 8)
    }

    @Test(arguments: Implementation.allCases)
    func tombstonesKeepNumbersUntilTheAgentReturns(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1)), frame(2, removal("gw/a", 2)))
        #expect(try database.hasKnown(address("gw/a")))
        #expect(try database.history(of: address("gw/a"), before: nil, limit: 10).count == 2)
        try database.commit(frame(3, change("gw/a", 3)))
        let snapshot = try database.grantToFirst()
        #expect(snapshot.tombstones.isEmpty)
        #expect(snapshot.agentPlaces.count == 1)
    }

    @Test(arguments: Implementation.allCases)
    func whatASnapshotNamesIsReadInPages(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(
            frame(1, change("gw/a", 1), change("gw/b", 1), change("gw/c", 1)),
            frame(2, answer("short", .paused(1), isKeyed: false), answer("long", .paused(1))))
        let snapshot = try database.grantToFirst()
        #expect(snapshot.agentPlaces.count == 3)
        let pages = try [0..<2, 2..<3].map { range in
            try database.agents(of: partition, at: snapshot.agentPlaces[range]).map { try $0.decoded().record.address }
        }
        #expect(pages == [[address("gw/a"), address("gw/b")], [address("gw/c")]])
        // What has ended since the grant is left out, and what another partition has put there.
        _ = try database.tidy(
            published: 0, now: noon + .seconds(601), historyBefore: noon, historyBytesMax: .max, limit: 100)
        #expect(try database.requests(of: snapshot).map(\.id) == ["long"])
        #expect(try database.requests(of: (partition + 1) % 16, at: snapshot.requestPlaces[...]).isEmpty)
        #expect(try database.agents(of: (partition + 1) % 16, at: snapshot.agentPlaces[...]).isEmpty)
    }

    @Test(arguments: Implementation.allCases)
    func aStoredOutcomeAnswersARepeat(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let record = state("gw/a", revision: 1).record
        try database.commit(
            frame(1, answer("q", .record(record, minted: true), minted: true)),
            frame(2, answer("q", nil, minted: false)))
        let answers = try database.outbox(after: 0, limit: 10).map { entry in
            guard case .answer(_, let message) = entry.content else { return "" }
            return String(decoding: message.bytes, as: UTF8.self)
        }
        let first = ProvisionerMessage.answer(
            requestID: "q", digest: "d", outcome: .record(record, minted: true), mintedToken: "t")
        let second = ProvisionerMessage.answer(
            requestID: "q", digest: "d", outcome: .record(record, minted: false), mintedToken: nil)
        #expect(answers == [JSON.text(first), JSON.text(second)])
    }

    @Test(arguments: Implementation.allCases)
    func anIntentRecordComesWithTheSnapshotUntilItIsAnswered(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let request = PartitionRequest(
            id: "q", digest: "d", isKeyed: true, command: .pause(.gateway("gw"), until: nil), minted: nil,
            rendered: nil,
            traceparent: nil, provisioner: "p1")
        let intent = IntentRecord(request: request, count: 3)
        try database.commit(frame(1, StoreEntry(.intent(intent))))
        #expect(try database.outbox(after: 0, limit: 10).isEmpty)
        #expect(try database.requests(of: database.grantToFirst()).map(\.intentRecord) == [intent])
        try database.commit(frame(1, epoch: 2, stream: stream("events/2"), answer("q", .paused(3))))
        let remembered = try database.requests(of: database.grantToFirst())
        #expect(remembered.map(\.id) == ["q"])
        #expect(remembered.map(\.intentRecord) == [nil])
    }

    @Test(arguments: Implementation.allCases)
    func requestsEndAndHistoryIsKeptForItsTime(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(
            frame(1, change("gw/a", 1), answer("short", .paused(1), isKeyed: false), answer("long", .paused(1))))
        let last = try database.lastSequence()
        func tidy(_ seconds: Int64, published: Int64) throws -> Bool {
            let now = noon + .seconds(seconds)
            return try database.tidy(
                published: published, now: now, historyBefore: now - .seconds(3_600), historyBytesMax: .max, limit: 100)
        }
        try database.note(RetentionTime(kept: noon, wall: noon))
        #expect(try !tidy(601, published: 0))
        #expect(try database.requests(of: database.grantToFirst()).map(\.id) == ["long"])
        // What is not yet published stays, however old.
        #expect(try !tidy(90_000, published: 0))
        #expect(try database.history(of: address("gw/a"), before: nil, limit: 10).count == 1)
        #expect(try !tidy(90_000, published: last))
        #expect(try database.history(of: address("gw/a"), before: nil, limit: 10).isEmpty)
        #expect(try database.requests(of: database.grantToFirst()).isEmpty)
        #expect(try database.outbox(after: 0, limit: 10).isEmpty)
        #expect(try database.record(of: address("gw/a")) != nil)
    }

    @Test(arguments: Implementation.allCases)
    func identitiesFollowCredentialChanges(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(
            frame(
                1, credential("gw", .set(digest: digest("aa"))), credential("gw/b", .set(digest: digest("bb"))),
                credential("gw/a", .set(digest: digest("cc"))), credential("gw/b", .remove),
                credential("gw/a", .overlap(digest: digest("dd"), seconds: 600))))
        let all = try database.identities(after: nil, limit: 10)
        #expect(all.map(\.username) == ["gw", "gw/a"])
        #expect(all.map(\.digest) == [digest("aa"), digest("dd")])
        #expect(try database.identities(after: "gw", limit: 10).map(\.username) == ["gw/a"])
    }

    @Test(arguments: Implementation.allCases)
    func whatARotationSupersedesIsKeptWithItsEnd(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        var seq = 0
        func commit(_ change: CredentialChange.Change, at second: Int64 = 0) throws -> [String] {
            seq += 1
            let next = frame(seq, credential("gw/a", change))
            _ = try database.commit([next], published: 0, now: noon + .seconds(second))
            let identity = try database.identities(after: nil, limit: 10).first
            guard let overlap = identity?.overlap else { return [] }
            let left = overlap.until.millisecondsSince1970 - noon.millisecondsSince1970
            return overlap.superseded.map { String($0.prefix(2)) } + [String(left / 1_000)]
        }
        #expect(try commit(.overlap(digest: digest("a0"), seconds: 600)).isEmpty, "there was nothing before it")
        #expect(try commit(.overlap(digest: digest("a1"), seconds: 600)) == ["a0", "600"])
        #expect(try commit(.overlap(digest: digest("a1"), seconds: 600), at: 9) == ["a0", "600"], "a repeat")
        #expect(try commit(.overlap(digest: digest("a2"), seconds: 600), at: 10) == ["a0", "a1", "610"])
        #expect(try commit(.overlap(digest: digest("a3"), seconds: 600), at: 610) == ["a2", "1210"], "that was over")
        for number in 4...7 { _ = try commit(.overlap(digest: digest("a\(number)"), seconds: 600), at: 620) }
        #expect(
            try commit(.overlap(digest: digest("a8"), seconds: 600), at: 620) == ["a2", "a5", "a6", "a7", "1220"],
            "the oldest may be in use")
        #expect(try commit(.set(digest: digest("a9")), at: 621).isEmpty)
        #expect(try commit(.remove).isEmpty)
    }

    @Test(arguments: Implementation.allCases)
    func aTokenThatWasUsedEndsThoseBeforeIt(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(
            frame(
                1, credential("gw/a", .set(digest: digest("aa"))),
                credential("gw/a", .overlap(digest: digest("bb"), seconds: 600)),
                credential("gw/a", .overlap(digest: digest("cc"), seconds: 600)),
                credential("gw/b", .set(digest: digest("cc")))))
        func used(_ username: String, _ byte: String) throws -> [String]? {
            try database.noteUse(of: [UsedToken(username: username, digest: digest(byte))])
            return try database.identities(after: nil, limit: 1)[0].overlap?.superseded
        }
        #expect(try used("gw/a", "dd") == [digest("aa"), digest("bb")])
        #expect(try used("gw/b", "cc") == [digest("aa"), digest("bb")])
        #expect(try used("gw/c", "cc") == [digest("aa"), digest("bb")])
        #expect(try used("gw/a", "bb") == [digest("bb")])
        #expect(try used("gw/a", "cc") == nil)
        #expect(try database.identities(after: nil, limit: 9).map(\.digest) == [digest("cc"), digest("cc")])
    }

    @Test(arguments: Implementation.allCases)
    func statusesAreListedByTheirLastChange(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1), change("gw/b", 1), change("gw/c", 1)))
        let before = try database.lastSequence()
        try database.commit(frame(2, change("gw/a", 2), removal("gw/b", 2)))
        let last = try database.lastSequence()
        let changed = try database.statuses(changedAfter: before, upTo: last, limit: 10)
        #expect(changed.map(\.agent) == [address("gw/a"), address("gw/b")])
        #expect(changed.map { $0.record == nil } == [false, true])
        let all = try database.statuses(changedAfter: 0, upTo: last, limit: 2)
        #expect(all.map(\.agent) == [address("gw/c"), address("gw/a")])
        #expect(try database.statuses(changedAfter: 0, upTo: before, limit: 9).map(\.agent) == [address("gw/c")])
    }
}
