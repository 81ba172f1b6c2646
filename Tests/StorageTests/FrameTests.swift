import API
import Lifecycle
import Model
import Storage
import Testing
import Wire

@Suite struct FrameTests {
    @Test(arguments: Implementation.allCases)
    func appliesEachFrameOnce(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        #expect(
            try database.commit(frame(1, change("gw/a", 1)), frame(2, change("gw/a", 2))).results == [
                .applied, .applied,
            ])
        #expect(
            try database.commit(frame(2, change("gw/a", 2)), frame(3, change("gw/a", 3))).results == [
                .duplicate, .applied,
            ])
        #expect(try database.history(of: address("gw/a"), before: nil, limit: 10).count == 3)
        #expect(try database.owners().map(\.appliedSeq) == [3])
        #expect(try database.owners().map(\.stream) == ["events"])
    }

    @Test(arguments: Implementation.allCases)
    func refusesWhoeverIsNotTheOwner(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        #expect(try database.commit(frame(1, change("gw/a", 1))).results == [.refused])
        try database.grantToFirst()
        #expect(try database.commit(frame(1, epoch: 2, change("gw/a", 1))).results == [.refused])
        #expect(
            try database.commit(frame(1, stream: stream(incarnation: "i0"), change("gw/a", 1))).results == [.refused])
        try database.grantToFirst()
        #expect(try database.commit(frame(1, epoch: 1, change("gw/a", 1))).results == [.refused])
        #expect(try database.record(of: address("gw/a")) == nil)
        #expect(try database.outbox(after: 0, limit: 10).isEmpty)
        #expect(try database.commit(frame(1, epoch: 2, change("gw/a", 1))).results == [.applied])
    }

    /// What came between was committed, and is not here: the database is an older copy than its owner knows.
    @Test(arguments: Implementation.allCases)
    func refusesWhatFollowsOnAGap(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        #expect(try database.commit(frame(2, change("gw/a", 2))).results == [.refused], "its first frame was another")
        #expect(try database.commit(frame(1, change("gw/a", 1))).results == [.applied])
        #expect(
            try database.commit(frame(3, change("gw/a", 3)), frame(2, change("gw/a", 2))).results
                == [.refused, .applied])
        #expect(try database.owners().map(\.appliedSeq) == [2])
    }

    @Test(arguments: Implementation.allCases)
    func aNewGrantBeginsANewCount(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1)), frame(2, change("gw/a", 2)))
        #expect(try database.grantToFirst().epoch == 2)
        #expect(try database.commit(frame(1, epoch: 2, change("gw/a", 3))).results == [.applied])
        #expect(
            try database.commit(frame(1, epoch: 2, stream: stream("other"), change("gw/a", 4))).results == [.applied])
    }

    @Test(arguments: Implementation.allCases)
    func aFailingEntryUndoesItsWholeFrame(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let other = (0..<100).map { "g\($0)" }.first { Partition.of(gateway: $0, count: 16) != partition }!
        let elsewhere = Partition.of(gateway: other, count: 16)
        _ = try database.grant(elsewhere, instance: "r1", incarnation: "i1")
        // The second entry repeats an event's id, which is unique.
        let report = try database.commit(
            frame(1, change("gw/a", 1)),
            frame(2, change("gw/b", 1), change("gw/a", 1), credential("gw/b", .set(digest: digest("00")))),
            frame(3, change("gw/c", 1)),
            frame(1, in: elsewhere, stream: stream("second"), change("\(other)/a", 1)))
        guard report.results.count == 4, case .failed(let error) = report.results[1] else {
            Issue.record("no failure: \(report.results)")
            return
        }
        #expect(error.kind == .constraint)
        #expect([report.results[0], report.results[2], report.results[3]] == [.applied, .blocked, .applied])
        #expect(try database.record(of: address("gw/b")) == nil)
        #expect(try database.record(of: address("gw/c")) == nil)
        #expect(try database.identities(after: nil, limit: 10).isEmpty)
        #expect(try database.record(of: address("\(other)/a")) != nil)
        #expect(try database.outboxWords() == ["changed gw/a 1 set", "changed \(other)/a 1 set"])
        #expect(try database.owners().first { $0.partition == partition }?.appliedSeq == 1)
    }

    @Test(arguments: Implementation.allCases)
    func aFrameStaysInsideItsPartition(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        let elsewhere = (partition + 1) % 16
        _ = try database.grant(elsewhere, instance: "r1", incarnation: "i1")
        guard case .failed(let error) = try database.commit(frame(1, in: elsewhere, change("gw/a", 1))).results[0]
        else {
            Issue.record("applied")
            return
        }
        #expect(error.kind == .content)
    }

    @Test(
        arguments: Implementation.allCases,
        [
            credential("gw/a", .set(digest: "00")), credential("op:x", .remove),
            credential("gw/a", .overlap(digest: digest("00"), seconds: 0)),
        ])
    func aCredentialThatNoBrokerTakesFails(_ implementation: Implementation, _ entry: StoreEntry) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        guard case .failed(let error) = try database.commit(frame(1, entry)).results[0] else {
            Issue.record("applied")
            return
        }
        #expect(error.kind == .content)
    }

    @Test(arguments: Implementation.allCases)
    func outboxKeepsTheOrderOfEntries(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let lost = StoreEntry(
            .gatewayEvent(
                GatewayEventEntry(
                    id: "g1", time: noon, source: "s",
                    message: GatewayLifecycleMessage(event: .gatewayLost, gateway: "gw", agents: 1))))
        let rejected = StoreEntry(.event(event("gw/a", 2, .heartbeatRejected)))
        let report = try database.commit(
            frame(1, change("gw/a", 1), credential("gw/a", .set(digest: digest("aa"))), answer("q", .paused(1))),
            frame(2, lost, rejected),
            frame(3, removal("gw/a", 3), credential("gw/a", .remove)))
        #expect(
            try database.outboxWords() == [
                "changed gw/a 1 set", "credential gw/a", "answer p1", "gateway_lost gw",
                "heartbeat_rejected gw/a 1 none",
                "deleted gw/a 3 clear", "credential gw/a",
            ])
        let entries = try database.outbox(after: 0, limit: 100)
        let sequences = entries.map(\.sequence)
        #expect(sequences == sequences.sorted())
        // What is published is the same, whether it was read or just committed.
        #expect(report.outbox.map(\.sequence) == sequences && report.outbox.map(\.words) == entries.map(\.words))
        for (one, other) in zip(report.outbox, entries) {
            guard case .event(let one) = one.content, case .event(let other) = other.content else { continue }
            #expect(one.record?.bytes == other.record?.bytes && one.id == other.id && one.time == other.time)
        }
        try database.commit(published: sequences[2])
        #expect(try database.outboxWords().count == 4)
        #expect(try database.outbox(after: sequences[4], limit: 1).map(\.sequence) == [sequences[5]])
        try database.commit(published: sequences[6])
        #expect(try database.lastSequence() == sequences[6])
        try database.commit(frame(4, change("gw/b", 1)))
        #expect(try database.lastSequence() > sequences[6])
    }

    @Test(arguments: Implementation.allCases)
    func aRemovedGatewaySaysNothingMore(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let removal = StoreEntry(
            .credential(CredentialChange(username: "gw", change: .remove)), .removedGateway("gw"))
        try database.commit(frame(1, gatewayEntry("gw")), frame(2, removal))
        #expect(try database.gateways(after: nil, limit: 10).isEmpty)
        #expect(try database.outboxWords() == ["credential gw", "cleared gw"])
    }

    @Test(arguments: Implementation.allCases)
    func anEventCarriesTheRecordThatItLeaves(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let goodbye = removal("gw/a", 2, with: .settledOrder(address("gw/a")))
        try database.commit(frame(1, change("gw/a", 1), goodbye))
        let entries = try database.outbox(after: 0, limit: 10)
        guard entries.count == 2, case .event(let deleted) = entries[1].content else {
            Issue.record("no event")
            return
        }
        let record = try #require(try deleted.record?.decoded())
        #expect(record.revision == 2)
        #expect(record.address == address("gw/a"))
        #expect(try database.record(of: address("gw/a")) == nil)
    }

    @Test(arguments: Implementation.allCases)
    func orderReplacesOrderAndIsSettled(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let first = change("gw/a", 1, with: .order(Carried(order("gw/a", publication: 1))))
        let second = change("gw/b", 1, with: .order(Carried(order("gw/b", publication: 1))))
        let again = StoreEntry(.order(Carried(order("gw/a", publication: 2))))
        try database.commit(frame(1, first), frame(2, second), frame(3, again))
        let orders = try database.orders(after: 0, limit: 10)
        #expect(orders.map(\.agent) == [address("gw/b"), address("gw/a")])
        #expect(try database.order(of: address("gw/a"))?.decoded() == order("gw/a", publication: 2))
        let settled = StoreEntry(.settledOrder(address("gw/a")))
        #expect(try database.commit(frame(4, settled)).orders == [.settled(address("gw/a"))])
        #expect(try database.order(of: address("gw/a")) == nil)
        // A deletion leaves no order behind.
        #expect(try database.commit(frame(5, removal("gw/b", 2))).orders == [.settled(address("gw/b"))])
    }

    @Test(arguments: Implementation.allCases)
    func lastSeenUpdatesChangeTheRecordAndNothingElse(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(frame(1, change("gw/a", 1)))
        let rejection = Rejection(reason: .badToken, at: noon, count: 3)
        let updates = [
            LastSeenUpdate(agent: address("gw/a"), lastSeenAt: noon + .seconds(5), lastRejection: nil),
            LastSeenUpdate(agent: address("gw/a"), lastSeenAt: nil, lastRejection: rejection),
            LastSeenUpdate(agent: address("gw/nobody"), lastSeenAt: noon, lastRejection: nil),
        ]
        try database.commit(frame(2, StoreEntry(.lastSeen(updates))))
        let record = try #require(try database.record(of: address("gw/a"))).decoded()
        #expect(record.lastSeenAt == noon + .seconds(5))
        #expect(record.lastRejection == rejection)
        #expect(record.revision == 1)
        #expect(try database.outboxWords() == ["changed gw/a 1 set"])
        #expect(try database.agents(of: database.grantToFirst()).map { try $0.decoded().record } == [record])
        // The next state says everything itself.
        try database.commit(frame(1, epoch: 2, change("gw/a", 2)))
        #expect(try database.record(of: address("gw/a"))?.decoded().lastSeenAt == nil)
        #expect(try database.record(of: address("gw/nobody")) == nil)
    }
}

func credential(_ username: String, _ change: CredentialChange.Change) -> StoreEntry {
    StoreEntry(.credential(CredentialChange(username: username, change: change)))
}
