import API
import Lifecycle
import Model
import ReconcilerCore
import Testing
import Wire

/// What the owner makes of `sync-templates`.
@Suite struct TemplatesSyncTests {
    static func sync(_ change: (inout TemplatesSync) -> Void = { _ in }) -> TemplatesSync {
        var sync = TemplatesSync(gateway: "gw")
        change(&sync)
        return sync
    }

    /// A main agent, two leads and two workers of two boards.
    private static func fleet() -> OwnerSubject {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/m", role: .main, board: nil, wake: false)
        for (name, role, board) in [
            ("l1", Role.lead, "b1"), ("l2", .lead, "b2"), ("w1", .worker, "b1"), ("w2", .worker, "b2"),
        ] {
            _ = subject.provision("gw/\(name)", role: role, board: board, wake: false)
        }
        return subject
    }

    private static func ask(_ subject: inout OwnerSubject, _ agent: String, _ digest: String, _ sync: TemplatesSync)
        -> [String]
    {
        let record = subject.record(agent)!
        let inputs = RenderInputs(role: record.role, board: record.board, variables: record.variables)
        return subject.handle(
            .requestReceived(
                PartitionRequest(
                    id: "s", digest: "d\(digest)", isKeyed: false, command: .syncAgent(AgentAddress(agent)!, sync),
                    minted: nil,
                    rendered: RenderedTemplates(inputs: inputs, digest: digest), traceparent: nil, provisioner: "p1"),
                frameAge: .zero))
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
        var subject = TemplatesSyncTests.fleet()
        #expect(subject.ask(.syncTemplates(sync, after: nil), id: "s") == ["s: members \(names)"])
    }

    @Test func theyAreNamedInPages() {
        var subject = TemplatesSyncTests.fleet()
        for number in 100..<220 { _ = subject.provision("gw/x\(number)", wake: false) }
        let first = subject.ask(.syncTemplates(TemplatesSyncTests.sync(), after: nil)).joined()
        #expect(first.split(separator: " ").count == 102 && first.hasSuffix(" x194"))
        #expect(subject.ask(.syncTemplates(TemplatesSyncTests.sync(), after: "x218"), id: "s") == ["s: members x219"])
        #expect(subject.ask(.syncTemplates(TemplatesSyncTests.sync(), after: "x219"), id: "s") == ["s: members "])
        #expect(
            subject.ask(.syncTemplates(TemplatesSync(gateway: "no"), after: nil), id: "s") == [
                "s: unknown-gateway gateway"
            ])
    }

    @Test func theDigestIsSetAndNobodysStatusChanges() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.ask(.syncAgent(AgentAddress("gw/a")!, TemplatesSyncTests.sync()), id: "s") == [
                "s: render worker b1 0"
            ]
        )
        let before = subject.record("gw/a")
        let lines = TemplatesSyncTests.ask(&subject, "gw/a", "newer", TemplatesSyncTests.sync())
        #expect(lines == ["gw/a templates_synced", "s: worker synced"])
        #expect(subject.record("gw/a")?.templatesDigest == "newer")
        #expect(subject.record("gw/a")?.status == .online && subject.record("gw/a")?.generation == before?.generation)
        #expect(subject.record("gw/a")?.revision == (before?.revision ?? 0) + 1)
    }

    @Test func aRunningCycleGoesOnAndItsNextAttemptSaysTheNewDigest() {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        _ = subject.provision("gw/a")
        _ = subject.woken("gw/a")
        _ = TemplatesSyncTests.ask(&subject, "gw/a", "newer", TemplatesSyncTests.sync())
        #expect(subject.record("gw/a")?.status == .provisioning && subject.record("gw/a")?.wakeAttempts == 1)
        _ = subject.pass(31_000)
        #expect(subject.orders.last?.attempt == 2 && subject.orders.last?.templatesDigest == "newer")
    }

    @Test func whoHasTheseTemplatesIsLeftAloneUnlessForced() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            TemplatesSyncTests.ask(&subject, "gw/a", "templates", TemplatesSyncTests.sync()) == [
                "s: worker synced, as before"
            ])
        subject = OwnerSubject.online(["a"])
        #expect(
            TemplatesSyncTests.ask(&subject, "gw/a", "templates", TemplatesSyncTests.sync { $0.overwrites = true }) == [
                "gw/a templates_synced", "s: worker synced",
            ])
    }

    @Test func aWakeBeginsACycleThatMayResetTheSession() {
        var subject = OwnerSubject.online(["a"])
        let sync = TemplatesSyncTests.sync {
            $0.wakes = true
            $0.resetsSessions = true
        }
        #expect(
            TemplatesSyncTests.ask(&subject, "gw/a", "newer", sync) == [
                "gw/a templates_synced", "gw/a updating (update)", "gw/a order 2.1#2", "s: worker synced",
            ])
        #expect(subject.orders.last?.resetSession == true && subject.orders.last?.templatesDigest == "newer")
    }
}
