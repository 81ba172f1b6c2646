import Contract
import Lifecycle
import Storage
import Testing

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
        #expect(try list { $0.status = .online } == ["a", "b", "m"])
        #expect(try list { $0.board = "x" } == ["B", "a"])
        #expect(try list { $0.role = .worker } == ["a", "b"])
        #expect(try list { $0.gateway = "gw" }.count == 4)
        #expect(try list { $0.gateway = "g" }.isEmpty)
        #expect(try list { $0.hasStaleTemplates = true }.isEmpty)
        #expect(
            try list {
                $0.status = .online
                $0.board = "x"
                $0.hasStaleTemplates = false
            } == ["a"])
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
    func countsByGatewayAndStatus(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try filled(implementation, place)
        let expected = [
            "gw offline 1", "gw online 3",
        ]
        func words(_ counts: [StatusCount]) -> [String] { counts.map { "\($0.gateway) \($0.status) \($0.count)" } }
        #expect(words(try database.counts(gateway: nil)) == expected)
        #expect(words(try database.counts(gateway: "gw")) == expected)
        #expect(try database.counts(gateway: "other").isEmpty)
        let gateways = try database.gateways()
        #expect(gateways.map(\.agents) == [4])
        #expect(try database.gatewayNames() == ["gw"])
        #expect(gateways.map(\.state) == [GatewayState(gateway: "gw")])
        #expect(try database.hasGateway("gw"))
        #expect(try !database.hasGateway("g"))
        #expect(try !database.hasKnown(address("gw/nobody")))
    }
}
