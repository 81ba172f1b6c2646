import Contract
import Lifecycle
import ReconcilerCore
import Testing

/// Commands about one agent, and each of them once.
@Suite struct RequestTests {
    private static func gateway() -> Desk {
        var desk = Desk()
        _ = desk.addGateway()
        return desk
    }

    @Test func aGatewayIsAddedWithItsSecret() {
        var desk = Desk()
        #expect(desk.addGateway() == ["gw is never", "gw credential secret-of-gw", "q1: gw, minted"])
        #expect(desk.addGateway("gw", [.wakeRate: "5/s"]) == ["gw is never", "q2: gw"], "existing: no new secret")
    }

    @Test func aNewAgentIsProvisionedAndWoken() {
        var desk = RequestTests.gateway()
        #expect(
            desk.provision("gw/a") == [
                "gw/a credential token", "gw/a provisioning (provision)", "gw/a order 1.1#1",
                "q2: provisioning, minted",
            ])
        #expect(desk.record("gw/a")?.tokenID == "id-of-token")
        #expect(desk.record("gw/a")?.templatesDigest == "templates")
        #expect(desk.owner.agentCount == 1)
    }

    @Test func withoutAWakeItIsOfflineInGenerationZero() {
        var desk = RequestTests.gateway()
        #expect(
            desk.provision("gw/a", wake: false) == [
                "gw/a credential token", "gw/a changed (provisioned)", "q2: offline, minted",
            ])
        #expect(desk.record("gw/a")?.generation == 0)
    }

    @Test func anExistingAgentKeepsWhatIsAbsentAndGetsANewCycle() {
        var desk = Desk.online(["a"])
        #expect(
            desk.provision("gw/a", role: nil, board: nil, token: "other") == [
                "gw/a provisioning (provision)", "gw/a order 2.1#2", "q3: provisioning",
            ])
        #expect(desk.record("gw/a")?.role == .worker)
        #expect(desk.record("gw/a")?.board == "b1")
        #expect(desk.record("gw/a")?.tokenID == "id-of-token-of-a", "no new secret")
    }

    @Test func anUpdateMergesByMember() {
        var desk = Desk.online(["a"])
        _ = desk.update("gw/a", policy: [.checkinDeadline: "5s", .lostGrace: "2s"], variables: ["K": "1", "L": "2"])
        #expect(desk.record("gw/a")?.variables == ["K": "1", "L": "2"])
        #expect(desk.record("gw/a")?.policy.checkinDeadline.description == "5s")
        #expect(
            desk.update("gw/a", policy: [.checkinDeadline: nil], variables: ["K": nil], wake: false) == [
                "gw/a changed (updated)", "q4: updating",
            ])
        #expect(desk.record("gw/a")?.variables == ["L": "2"])
        #expect(desk.record("gw/a")?.policy.checkinDeadline.description == "30s")
        #expect(desk.record("gw/a")?.policyOverrides.lostGrace?.description == "2s")
    }

    @Test func aWakeBeginsACycle() {
        var desk = Desk.online(["a"])
        #expect(
            desk.ask(.wake(AgentAddress("gw/a")!)) == ["gw/a updating (manual)", "gw/a order 2.1#2", "q3: updating"])
    }

    @Test func tokensAreRotatedWithAndWithoutOverlap() {
        var desk = Desk.online(["a"])
        let agent = AgentAddress("gw/a")!
        #expect(
            desk.ask(.rotateAgentToken(agent, now: false), token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2 beside the old one for 600", "q3: online, minted",
            ])
        #expect(
            desk.ask(.rotateAgentToken(agent, now: true), token: "t3") == [
                "gw/a token_rotated", "gw/a credential t3", "q4: online, minted",
            ])
        #expect(
            desk.ask(.rotateGatewayToken("gw", now: false), token: "t4") == [
                "gw is never", "gw credential t4 beside the old one for 600", "q5: gw, minted",
            ])
    }

    // MARK: Refusals

    @Test func anUnknownNameIsRefused() {
        var desk = RequestTests.gateway()
        let agent = AgentAddress("gw/x")!
        #expect(desk.provision("other/a") == ["q2: unknown-gateway gateway"])
        #expect(desk.update("gw/x") == ["q3: unknown-agent agent"])
        #expect(desk.ask(.wake(agent)) == ["q4: unknown-agent agent"])
        #expect(desk.ask(.delete(agent)) == ["q5: unknown-agent agent"])
        #expect(desk.ask(.pause(.agent(agent), until: nil)) == ["q6: unknown-agent agent"])
        #expect(desk.ask(.resume(.gateway("other"))) == ["q7: unknown-gateway gateway"])
        #expect(desk.ask(.removeGateway("other", force: true)) == ["q8: unknown-gateway gateway"])
        #expect(desk.ask(.rotateGatewayToken("other", now: true)) == ["q9: unknown-gateway gateway"])
        #expect(desk.ask(.rotateAgentToken(agent, now: true)) == ["q10: unknown-agent agent"])
    }

    @Test func rolesAndBoardsBelongTogether() {
        var desk = RequestTests.gateway()
        #expect(desk.provision("gw/a", role: nil) == ["q2: invalid-request role"])
        #expect(desk.provision("gw/a", role: .worker, board: nil) == ["q3: invalid-request board"])
        #expect(desk.provision("gw/a", role: .lead, board: nil) == ["q4: invalid-request board"])
        #expect(desk.provision("gw/a", role: .main, board: "b1") == ["q5: invalid-request board"])
        #expect(desk.provision("gw/m", role: .main, board: nil).last == "q6: provisioning, minted")
        #expect(desk.update("gw/m", role: .worker) == ["q7: invalid-request board"])
        #expect(desk.update("gw/m", role: .worker, board: "b1").last == "q8: updating")
        #expect(desk.update("gw/m", role: .main).last == "q9: updating")
        #expect(desk.record("gw/m")?.board == nil, "a main agent is on no board")
    }

    @Test func whatIsNotRenderedYetIsAskedFor() throws {
        var desk = RequestTests.gateway()
        let command = Command.provision(Desk.change("gw/a", .lead, "b1", [:], ["K": "V"], true))
        func request(_ inputs: RenderInputs?) -> PartitionEvent {
            .requestReceived(
                PartitionRequest(
                    id: "r", digest: "d", isKeyed: true, command: command, minted: MintedToken(digest: "t", id: "i"),
                    rendered: inputs.map { RenderedTemplates(inputs: $0, digest: "x") }, traceparent: nil,
                    provisioner: "p1"))
        }
        #expect(desk.handle(request(nil)) == ["r: render lead b1 1"])
        #expect(desk.record("gw/a") == nil)
        #expect(desk.handle(request(RenderInputs(role: .lead, board: "b2", variables: [:]))) == ["r: render lead b1 1"])
        let right = RenderInputs(role: .lead, board: "b1", variables: ["K": "V"])
        #expect(desk.handle(request(right)).last == "r: provisioning, minted")
        #expect(desk.record("gw/a")?.templatesDigest == "x")
    }

    // MARK: Once

    @Test(arguments: [(false, 8, "r: paused 0"), (false, 9, "r: unavailable"), (true, 60, "r: paused 0")])
    func whatMayHaveBeenForgottenIsNotExecuted(isKeyed: Bool, minutes: Int64, expected: String) {
        var desk = RequestTests.gateway()
        let request = PartitionRequest(
            id: "r", digest: "d", isKeyed: isKeyed, command: .pause(.gateway("gw"), until: nil), minted: nil,
            rendered: nil, traceparent: nil, provisioner: "p1")
        let answers = desk.handle(.requestReceived(request, held: .seconds(minutes * 60)))
        #expect(answers.last?.hasPrefix(expected) == true, "\(answers)")
    }

    @Test func aRepeatIsNotExecutedAgain() {
        var desk = Desk.online(["a"])
        let agent = AgentAddress("gw/a")!
        #expect(desk.ask(.wake(agent), id: "k").last == "k: updating")
        #expect(desk.ask(.wake(agent), id: "k") == ["k: as before"])
        #expect(desk.record("gw/a")?.generation == 2)
        #expect(desk.ask(.delete(agent), id: "k") == ["k: conflict "], "same key, other request")
        #expect(desk.record("gw/a")?.generation == 2)
    }

    @Test func whatWasRefusedIsNotDoneByARepeat() {
        var desk = RequestTests.gateway()
        let agent = AgentAddress("gw/a")!
        #expect(desk.ask(.wake(agent), id: "k", keyed: true).last == "k: unknown-agent agent")
        _ = desk.provision("gw/a")
        #expect(desk.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"])
        #expect(desk.record("gw/a")?.generation == 1)
        #expect(desk.ask(.delete(agent), id: "k", keyed: true) == ["k: conflict "], "same key, other request")
        #expect(desk.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"], "the first keeps the key")
    }

    @Test func aKeyIsRememberedForADayAndAnUnkeyedIdForMinutes() {
        var desk = Desk.online(["a"])
        let agent = AgentAddress("gw/a")!
        _ = desk.ask(.wake(agent), id: "k", keyed: true)
        _ = desk.ask(.wake(agent), id: "u", keyed: false)
        _ = desk.pass(601_000)
        let generation = desk.record("gw/a")?.generation ?? 0
        #expect(desk.ask(.wake(agent), id: "u", keyed: false).last == "u: updating")
        #expect(desk.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"])
        #expect(desk.record("gw/a")?.generation == generation + 1)
        _ = desk.pass(86_400_000)
        #expect(desk.ask(.wake(agent), id: "k", keyed: true).last == "k: updating")
    }

    @Test func aKeySurvivesItsOwner() {
        var desk = Desk.online(["a"])
        _ = desk.ask(.wake(AgentAddress("gw/a")!), id: "k")
        _ = desk.replaceOwner()
        #expect(desk.ask(.wake(AgentAddress("gw/a")!), id: "k") == ["k: as before"])
    }

    @Test func aTokenIsMintedAgainAsLongAsTheFirstWasNeverUsed() {
        var desk = RequestTests.gateway()
        _ = desk.provision("gw/a", id: "k", token: "t1")
        #expect(desk.provision("gw/a", id: "k", token: "t1") == ["k: as before, minted"], "the same request again")
        #expect(
            desk.provision("gw/a", id: "k", token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2", "k: as before, minted",
            ])
        #expect(desk.record("gw/a")?.generation == 1)
        _ = desk.woken("gw/a")
        _ = desk.beat("gw", ["a"])
        #expect(desk.provision("gw/a", id: "k", token: "t3") == ["k: as before"])
    }

    /// Its stream brings the first request to the next owner once more, behind a repeat from another provisioner: whoever was
    /// given the newer secret keeps it.
    @Test func aSecretThatWasReplacedIsNotMintedOnceMore() {
        var desk = RequestTests.gateway()
        _ = desk.provision("gw/a", id: "k", token: "t1")
        _ = desk.replaceOwner()
        #expect(
            desk.provision("gw/a", id: "k", token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2", "k: as before, minted",
            ])
        #expect(desk.provision("gw/a", id: "k", token: "t1") == ["k: as before"])
        #expect(desk.provision("gw/a", id: "k", token: "t2") == ["k: as before, minted"])
        #expect(desk.provision("gw/a", id: "k", token: "t3").last == "k: as before, minted")
        #expect(desk.provision("gw/a", id: "k", token: "t2") == ["k: as before"])
    }

    @Test func aGatewaysTokenIsMintedAgainUntilItConnected() {
        var desk = Desk()
        let command = Command.addGateway("gw", policy: PolicyPatch())
        _ = desk.ask(command, id: "k", token: "t1")
        #expect(
            desk.ask(command, id: "k", token: "t2") == ["gw is never", "gw credential t2", "k: as before, minted"])
        _ = desk.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        #expect(desk.ask(command, id: "k", token: "t3") == ["k: as before"])
    }
}
