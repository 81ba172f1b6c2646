import Contract
import Lifecycle
import ReconcilerCore
import Testing

/// What the owner makes of `sync-templates`.
@Suite struct TemplatesSyncTests {
    static func sync(_ change: (inout TemplatesSync) -> Void = { _ in }) -> TemplatesSync {
        var sync = TemplatesSync(gateway: "gw")
        change(&sync)
        return sync
    }

    /// A main agent, two leads and two workers of two boards.
    private static func fleet() -> Desk {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/m", role: .main, board: nil, wake: false)
        for (name, role, board) in [
            ("l1", Role.lead, "b1"), ("l2", .lead, "b2"), ("w1", .worker, "b1"), ("w2", .worker, "b2"),
        ] {
            _ = desk.provision("gw/\(name)", role: role, board: board, wake: false)
        }
        return desk
    }

    private static func ask(_ desk: inout Desk, _ agent: String, _ digest: String, _ sync: TemplatesSync) -> [String] {
        let record = desk.record(agent)!
        let inputs = RenderInputs(role: record.role, board: record.board, variables: record.variables)
        return desk.handle(
            .requestReceived(
                PartitionRequest(
                    id: "s", digest: "d\(digest)", isKeyed: false, command: .syncAgent(AgentAddress(agent)!, sync),
                    minted: nil,
                    rendered: RenderedTemplates(inputs: inputs, digest: digest), traceparent: nil, provisioner: "p1"),
                held: .zero))
    }

    @Test(arguments: [
        (sync { _ in }, "l1 l2 m w1 w2"),
        (sync { $0.board = "b1" }, "l1 m w1"),
        (sync { $0.includesMain = false }, "l1 l2 w1 w2"),
        (sync { $0.isLeadOnly = true }, "l1 l2 m"),
        (
            sync {
                $0.isLeadOnly = true
                $0.includesMain = false
                $0.board = "b2"
            }, "l2"
        ),
    ])
    func theOwnerNamesWhoIsMeant(sync: TemplatesSync, names: String) {
        var desk = TemplatesSyncTests.fleet()
        #expect(desk.ask(.syncTemplates(sync, after: nil), id: "s") == ["s: members \(names)"])
    }

    @Test func theyAreNamedInPages() {
        var desk = TemplatesSyncTests.fleet()
        for number in 100..<220 { _ = desk.provision("gw/x\(number)", wake: false) }
        let first = desk.ask(.syncTemplates(TemplatesSyncTests.sync(), after: nil)).joined()
        #expect(first.split(separator: " ").count == 102 && first.hasSuffix(" x194"))
        #expect(desk.ask(.syncTemplates(TemplatesSyncTests.sync(), after: "x218"), id: "s") == ["s: members x219"])
        #expect(desk.ask(.syncTemplates(TemplatesSyncTests.sync(), after: "x219"), id: "s") == ["s: members "])
        #expect(
            desk.ask(.syncTemplates(TemplatesSync(gateway: "no"), after: nil), id: "s") == [
                "s: unknown-gateway gateway"
            ])
    }

    @Test func theDigestIsSetAndNobodysStatusChanges() {
        var desk = Desk.online(["a"])
        #expect(
            desk.ask(.syncAgent(AgentAddress("gw/a")!, TemplatesSyncTests.sync()), id: "s") == ["s: render worker b1 0"]
        )
        let before = desk.record("gw/a")
        let lines = TemplatesSyncTests.ask(&desk, "gw/a", "newer", TemplatesSyncTests.sync())
        #expect(lines == ["gw/a templates_synced", "s: worker synced"])
        #expect(desk.record("gw/a")?.templatesDigest == "newer")
        #expect(desk.record("gw/a")?.status == .online && desk.record("gw/a")?.generation == before?.generation)
        #expect(desk.record("gw/a")?.revision == (before?.revision ?? 0) + 1)
    }

    @Test func aRunningCycleGoesOnAndItsNextAttemptSaysTheNewDigest() {
        var desk = Desk()
        _ = desk.addGateway()
        _ = desk.provision("gw/a")
        _ = desk.woken("gw/a")
        _ = TemplatesSyncTests.ask(&desk, "gw/a", "newer", TemplatesSyncTests.sync())
        #expect(desk.record("gw/a")?.status == .provisioning && desk.record("gw/a")?.wakeAttempts == 1)
        _ = desk.pass(31_000)
        #expect(desk.orders.last?.attempt == 2 && desk.orders.last?.templatesDigest == "newer")
    }

    @Test func whoHasTheseTemplatesIsLeftAloneUnlessForced() {
        var desk = Desk.online(["a"])
        #expect(
            TemplatesSyncTests.ask(&desk, "gw/a", "templates", TemplatesSyncTests.sync()) == [
                "s: worker synced, as before"
            ])
        desk = Desk.online(["a"])
        #expect(
            TemplatesSyncTests.ask(&desk, "gw/a", "templates", TemplatesSyncTests.sync { $0.overwrites = true }) == [
                "gw/a templates_synced", "s: worker synced",
            ])
    }

    @Test func aWakeBeginsACycleThatMayResetTheSession() {
        var desk = Desk.online(["a"])
        let sync = TemplatesSyncTests.sync {
            $0.wakes = true
            $0.resetsSessions = true
        }
        #expect(
            TemplatesSyncTests.ask(&desk, "gw/a", "newer", sync) == [
                "gw/a templates_synced", "gw/a updating (update)", "gw/a order 2.1#2", "s: worker synced",
            ])
        #expect(desk.orders.last?.resetSession == true && desk.orders.last?.templatesDigest == "newer")
    }
}
