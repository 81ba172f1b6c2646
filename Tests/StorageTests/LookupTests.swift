import API
import Lifecycle
import Model
import Storage
import Testing
import Wire

@Suite struct LookupTests {
    private func filled(_ implementation: Implementation, _ place: Place) throws -> any StatusDatabase {
        let database = try implementation.open(place)
        try database.grantToFirst()
        try database.commit(
            frame(
                1, gatewayEntry("gw"), change("gw/m", 1, status: .online),
                change("gw/B", 1, status: .offline, board: "x", role: .lead),
                change("gw/a", 1, status: .online, board: "x", role: .worker),
                change("gw/b", 1, status: .online, board: "y", role: .worker)))
        return database
    }

    private func names(_ records: [StoredRecord]) -> [String] { records.map(\.agent.agent) }

    @Test(arguments: Implementation.allCases)
    func listsBytewiseAndInPages(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        let all = try database.records(.init(), after: nil, limit: 10)
        #expect(names(all) == ["B", "a", "b", "m"])
        #expect(try all.map { try $0.record.decoded().address } == all.map(\.agent))
        #expect(names(try database.records(.init(), after: nil, limit: 2)) == ["B", "a"])
        #expect(names(try database.records(.init(), after: address("gw/a"), limit: 2)) == ["b", "m"])
    }

    @Test(arguments: Implementation.allCases)
    func filtersByEveryMember(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        func list(_ edit: (inout Lookup.AgentFilter) -> Void) throws -> [String] {
            var filter = Lookup.AgentFilter()
            edit(&filter)
            return names(try database.records(filter, after: nil, limit: 10))
        }
        #expect(try list { $0.statuses = [.online] } == ["a", "b", "m"])
        #expect(try list { $0.statuses = [.online, .offline] } == ["B", "a", "b", "m"])
        #expect(try list { $0.statuses = [.updating, .offline] } == ["B"])
        #expect(try list { $0.board = "x" } == ["B", "a"])
        #expect(try list { $0.role = .worker } == ["a", "b"])
        #expect(try list { $0.gateway = "gw" }.count == 4)
        #expect(try list { $0.gateway = "g" }.isEmpty)
        #expect(try list { $0.hasStaleTemplates = true }.isEmpty)
        #expect(
            try list {
                $0.statuses = [.online]
                $0.board = "x"
                $0.hasStaleTemplates = false
            } == ["a"])
    }

    /// However few match, a slice looks at so many.
    @Test(arguments: Implementation.allCases)
    func aSliceLooksAtSoManyAgents(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        var filter = Lookup.AgentFilter()
        filter.board = "y"
        var (found, slices, after) = ([String](), 0, nil as AgentAddress?)
        repeat {
            let (records, end) = try database.records(filter, after: after, limit: 10, scanning: 1)
            found += names(records)
            slices += 1
            after = end
        } while after != nil && slices < 10
        #expect(found == ["b"])
        #expect((4...5).contains(slices))
        let (records, end) = try database.records(.init(), after: nil, limit: 2, scanning: 3)
        #expect(names(records) == ["B", "a"])
        #expect(end == address("gw/a"), "nothing is passed over")
    }

    @Test(arguments: Implementation.allCases)
    func historyGoesBackwards(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        try database.commit(frame(2, change("gw/a", 2)), frame(3, change("gw/a", 3)))
        let newest = try database.history(of: address("gw/a"), before: nil, limit: 2)
        let events = try newest.map { try $0.event.decoded() }
        #expect(events.map(\.id) == ["gw/a@3", "gw/a@2"])
        #expect(events.map { $0.record?.revision } == [3, 2])
        #expect(newest.map { String(decoding: $0.event.bytes, as: UTF8.self) } == events.map { JSON.text($0) })
        let older = try database.history(of: address("gw/a"), before: newest[1].sequence, limit: 2)
        #expect(try older.map { try $0.event.decoded().id } == ["gw/a@1"])
    }

    @Test(arguments: Implementation.allCases)
    func severalStatusesArePagedAsOneList(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        var filter = Lookup.AgentFilter()
        filter.statuses = [.online, .offline]
        #expect(names(try database.records(filter, after: nil, limit: 2)) == ["B", "a"])
        #expect(names(try database.records(filter, after: address("gw/a"), limit: 2)) == ["b", "m"])
    }

    @Test(arguments: Implementation.allCases)
    func historyIsOfAllOrOfAGateway(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        // Another gateway, whose name begins like the first; its events lie between those of the first.
        let other = Partition.of(gateway: "gw-2", count: Partition.defaultCount)
        _ = try database.grant(other, instance: "r1", incarnation: "i1")
        try database.commit(frame(1, in: other, stream: stream("events-2"), gatewayEntry("gw-2"), change("gw-2/a", 1)))
        try database.commit(frame(2, removal("gw/m", 2)))
        func ids(_ subject: Lookup.HistorySubject, before: Int64? = nil, limit: Int = 10) throws -> [String] {
            try database.history(of: subject, since: nil, before: before, limit: limit).map {
                try $0.event.decoded().id
            }
        }
        let all = ["gw/m@2", "gw-2/a@1", "gw/b@1", "gw/a@1", "gw/B@1", "gw/m@1"]
        #expect(try ids(.everybody) == all)
        #expect(try ids(.gateway("gw")) == all.filter { $0 != "gw-2/a@1" })
        #expect(try ids(.gateway("gw-2")) == ["gw-2/a@1"])
        #expect(try ids(.gateway("g")).isEmpty)
        let page = try database.history(of: .everybody, since: nil, before: nil, limit: 2)
        #expect(try ids(.everybody, before: page[1].sequence, limit: 2) == ["gw/b@1", "gw/a@1"])
        let ofGateway = try database.history(of: .gateway("gw"), since: nil, before: nil, limit: 2)
        #expect(try ids(.gateway("gw"), before: ofGateway[1].sequence, limit: 2) == ["gw/a@1", "gw/B@1"])
    }

    @Test(arguments: Implementation.allCases)
    func aGatewaysEventsLieAmongThoseOfItsAgents(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        let before = try database.historyBytes()
        let lost = StoreEntry(
            .gatewayEvent(
                GatewayEventEntry(
                    id: "gw!1.1", time: noon, source: "s",
                    message: GatewayLifecycleMessage(event: .gatewayLost, gateway: "gw", agents: 4, leftOut: 2))))
        try database.commit(frame(2, lost), frame(3, change("gw/a", 2)))
        #expect(try database.historyBytes() > before)
        let text =
            #"{"agents":4,"event":"gateway_lost","gateway":"gw","id":"gw!1.1","left_out":2,"reason":null,"#
            + #""record":null,"source":"s","subject":"gw","time":"\#(noon)"}"#
        for subject in [Lookup.HistorySubject.everybody, .gateway("gw")] {
            let found = try database.history(of: subject, since: nil, before: nil, limit: 2)
            #expect(found.map(\.kind) == ["changed", "gateway_lost"])
            #expect(String(decoding: found[1].event.bytes, as: UTF8.self) == text)
        }
        #expect(try database.history(of: address("gw/a"), before: nil, limit: 9).count == 2)
        #expect(try database.events(after: 0, limit: 9).map(\.agent).suffix(2) == ["gw/", "gw/a"])
    }

    @Test(arguments: Implementation.allCases)
    func eventsGoForwards(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        let all = try database.events(after: 0, limit: 10)
        #expect(all.map(\.agent) == ["gw/m", "gw/B", "gw/a", "gw/b"])
        #expect(all.map(\.kind) == Array(repeating: "changed", count: 4))
        #expect(all.map(\.sequence) == all.map(\.sequence).sorted())
        let next = try database.events(after: all[1].sequence, limit: 1)
        #expect(next.map(\.sequence) == [all[2].sequence])
        #expect(next.map(\.event.bytes) == [all[2].event.bytes])
        #expect(try database.events(after: all[3].sequence, limit: 10).isEmpty)
    }

    @Test(arguments: Implementation.allCases)
    func alertPositionsAreKept(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        #expect(try database.alertPosition(of: "ops") == nil)
        try database.note(alertPosition: 3, of: "ops")
        try database.note(alertPosition: 1, of: "pager")
        try database.note(alertPosition: 4, of: "ops")
        #expect(try database.alertPosition(of: "ops") == 4)
        #expect(try database.alertPosition(of: "pager") == 1)
    }

    @Test(arguments: Implementation.allCases)
    func historySinceATimeLeavesNothingOut(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        // What was committed later may be stamped earlier.
        for (revision, minute) in [(2, 1), (3, 9), (4, 5), (5, -60), (6, 6)] {
            let time = noon + .seconds(Int64(minute) * 60)
            try database.commit(frame(revision, change("gw/a", revision, at: time)))
        }
        func revisions(_ subject: Lookup.HistorySubject, since minute: Int64, before: Int64? = nil) throws -> [Int] {
            try database.history(of: subject, since: noon + .seconds(minute * 60), before: before, limit: 10)
                .compactMap { try $0.event.decoded().record?.revision }
        }
        for subject in [Lookup.HistorySubject.everybody, .gateway("gw"), .agent(address("gw/a"))] {
            #expect(try revisions(subject, since: 5) == [6, 4, 3])
            #expect(try revisions(subject, since: 9) == [3])
            #expect(try revisions(subject, since: 10).isEmpty)
            let last = try database.history(of: subject, since: noon + .seconds(300), before: nil, limit: 1)
            #expect(try revisions(subject, since: 5, before: last[0].sequence) == [4, 3])
        }
        #expect(try revisions(.gateway("other"), since: 0).isEmpty)
    }

    @Test(arguments: Implementation.allCases)
    func countsByGatewayAndStatus(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        let gateways = try database.gateways(after: nil, limit: 10)
        #expect(gateways.map(\.gateway) == ["gw"])
        #expect(gateways.map(\.counts) == [[.offline: 1, .online: 3]])
        #expect(try gateways.map { try $0.state.decoded() } == [GatewayState(gateway: "gw")])
        #expect(try database.gateways(after: "gw", limit: 10).isEmpty)
        #expect(try database.gateway("g") == nil)
        // They are kept through every way in which a status changes.
        try database.commit(frame(2, change("gw/a", 2, status: .offline), change("gw/b", 2, status: .online)))
        #expect(try database.gateway("gw")?.counts == [.offline: 2, .online: 2])
        try database.commit(frame(3, removal("gw/a", 3)))
        #expect(try database.gateway("gw")?.counts == [.offline: 1, .online: 2])
        #expect(try database.hasGateway("gw"))
        #expect(try !database.hasGateway("g"))
        #expect(try !database.hasKnown(address("gw/nobody")))
    }
}

extension StatusDatabase {
    func records(_ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int) throws(StorageError) -> [StoredRecord]
    {
        try records(filter, after: after, limit: limit, scanning: 1_000).records
    }
}
