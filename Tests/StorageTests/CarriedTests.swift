import API
import Lifecycle
import Model
import Storage
import Testing
import Wire

/// What the store keeps as its owner encoded it.
@Suite struct CarriedTests {
    private func failure(_ entry: StoreEntry, _ implementation: Implementation) throws -> StorageError? {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        let result = try database.commit(frame(1, entry)).results[0]
        #expect(try database.owners().map(\.appliedSeq) == [0])
        guard case .failed(let error) = result else { return nil }
        return error
    }

    @Test func comesAsItWasSent() throws {
        var state = state("gw/a", revision: 3)
        state.record.variables = ["quote\"": "back\\slash \u{1} ü"]
        let entry = StoreEntry(.agent(Carried(state), event("gw/a", 3)))
        let came = try WireFormat.decode(StoreEntry.self, from: JSON.bytes(entry))
        guard case .agent(let carried, .some) = came.changes.first else {
            Issue.record("\(came)")
            return
        }
        #expect(carried.bytes == JSON.bytes(state))
        #expect(carried.value == state)
        #expect(came.changes.count == 1)
    }

    @Test(arguments: Implementation.allCases)
    func isFoundByWhatItSays(_ implementation: Implementation) throws {
        let place = try Place()
        let database = try implementation.open(place)
        try database.grantToFirst()
        var stale = state("gw/a", revision: 4, status: .online, board: "x", role: .lead)
        (stale.record.templatesDigest, stale.record.templatesDigestReported) = ("sha256:1", "an \"old\" one")
        let entry = StoreEntry(.agent(Carried(encoded: JSON.bytes(stale)), event("gw/a", 4)))
        var fresh = state("gw/b", revision: 4, status: .online, board: "x", role: .lead)
        (fresh.record.templatesDigest, fresh.record.templatesDigestReported) = ("sha256:1", "sha256:1")
        let other = StoreEntry(.agent(Carried(encoded: JSON.bytes(fresh)), event("gw/b", 4)))
        #expect(try database.commit(frame(1, entry, other)).results == [.applied])
        var filter = Lookup.AgentFilter()
        (filter.gateway, filter.board, filter.role, filter.statuses) = ("gw", "x", .lead, [.online])
        filter.hasStaleTemplates = true
        #expect(try database.records(filter, after: nil, limit: 10).map(\.agent) == [address("gw/a")])
        filter.hasStaleTemplates = false
        #expect(try database.records(filter, after: nil, limit: 10).map(\.agent) == [address("gw/b")])
        #expect(try database.record(of: address("gw/a"))?.decoded() == stale.record)
    }

    @Test(
        arguments: Implementation.allCases,
        [
            "", "x", "{}", "[]", #"{"record":"#, #"{"record":{}}"#, #"{"record":{"agent"#, #"{"record":7}"#,
            #"{"record":{"agent":"gw/a","board_id":null,"revision":1,"role":"main","status":"unheard of"}}"#,
            #"{"record":{"agent":"nobody","board_id":null,"revision":1,"role":"main","status":"online"}}"#,
            #"{"record":{"agent":"gw/a","board_id":null,"revision":"1","role":"main","status":"online"}}"#,
        ])
    func aStateThatIsNoneFails(_ implementation: Implementation, _ text: String) throws {
        let entry = StoreEntry(.agent(Carried(encoded: Array(text.utf8)), event("gw/a", 1)))
        #expect(try failure(entry, implementation)?.kind == .content)
    }

    @Test(arguments: Implementation.allCases, ["", "{}", #"{"agent":7}"#, #"{"agent":"nobody"}"#])
    func anOrderThatIsNoneFails(_ implementation: Implementation, _ text: String) throws {
        let entry = StoreEntry(.order(Carried(encoded: Array(text.utf8))))
        #expect(try failure(entry, implementation)?.kind == .content)
    }
}
