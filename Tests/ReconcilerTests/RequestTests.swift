import API
import Model
import ReconcilerCore
import Testing
import Wire

/// Commands about one agent, and each of them once.
@Suite struct RequestTests {
    private static func gateway() -> OwnerSubject {
        var subject = OwnerSubject()
        _ = subject.addGateway()
        return subject
    }

    @Test func aGatewayIsAddedWithItsSecret() {
        var subject = OwnerSubject()
        #expect(subject.addGateway() == ["gw is never", "gw credential secret-of-gw", "q1: gw, minted"])
        #expect(subject.addGateway("gw", [.wakeRate: "5/s"]) == ["gw is never", "q2: gw"], "existing: no new secret")
    }

    @Test func aNewAgentIsProvisionedAndWoken() {
        var subject = RequestTests.gateway()
        #expect(
            subject.provision("gw/a") == [
                "gw/a credential token", "gw/a provisioning (provision)", "gw/a order 1.1#1",
                "q2: provisioning, minted",
            ])
        #expect(subject.record("gw/a")?.tokenID == "id-of-token")
        #expect(subject.record("gw/a")?.templatesDigest == "templates")
        #expect(subject.owner.agentCount == 1)
    }

    @Test func withoutAWakeItIsOfflineInGenerationZero() {
        var subject = RequestTests.gateway()
        #expect(
            subject.provision("gw/a", wake: false) == [
                "gw/a credential token", "gw/a changed (provisioned)", "q2: offline, minted",
            ])
        #expect(subject.record("gw/a")?.generation == 0)
    }

    @Test func anExistingAgentKeepsWhatIsAbsentAndGetsANewCycle() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.provision("gw/a", role: nil, board: nil, token: "other") == [
                "gw/a provisioning (provision)", "gw/a order 2.1#2", "q3: provisioning",
            ])
        #expect(subject.record("gw/a")?.role == .worker)
        #expect(subject.record("gw/a")?.board == "b1")
        #expect(subject.record("gw/a")?.tokenID == "id-of-token-of-a", "no new secret")
    }

    @Test func anUpdateMergesByMember() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.update(
            "gw/a", policy: [.checkinDeadline: "5s", .lostGrace: "2s"], variables: ["K": "1", "L": "2"])
        #expect(subject.record("gw/a")?.variables == ["K": "1", "L": "2"])
        #expect(subject.record("gw/a")?.policy.checkinDeadline.description == "5s")
        #expect(
            subject.update("gw/a", policy: [.checkinDeadline: nil], variables: ["K": nil], wake: false) == [
                "gw/a changed (updated)", "q4: updating",
            ])
        #expect(subject.record("gw/a")?.variables == ["L": "2"])
        #expect(subject.record("gw/a")?.policy.checkinDeadline.description == "30s")
        #expect(subject.record("gw/a")?.policyOverrides.lostGrace?.description == "2s")
    }

    @Test func aWakeBeginsACycle() {
        var subject = OwnerSubject.online(["a"])
        #expect(
            subject.ask(.wake(AgentAddress("gw/a")!)) == ["gw/a updating (manual)", "gw/a order 2.1#2", "q3: updating"])
    }

    @Test func tokensAreRotatedWithAndWithoutOverlap() {
        var subject = OwnerSubject.online(["a"])
        let agent = AgentAddress("gw/a")!
        #expect(
            subject.ask(.rotateAgentToken(agent, now: false), token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2 beside the old one for 600", "q3: online, minted",
            ])
        #expect(
            subject.ask(.rotateAgentToken(agent, now: true), token: "t3") == [
                "gw/a token_rotated", "gw/a credential t3", "q4: online, minted",
            ])
        #expect(
            subject.ask(.rotateGatewayToken("gw", now: false), token: "t4") == [
                "gw is never", "gw credential t4 beside the old one for 600", "q5: gw, minted",
            ])
    }

    // MARK: Refusals

    @Test func anUnknownNameIsRefused() {
        var subject = RequestTests.gateway()
        let agent = AgentAddress("gw/x")!
        #expect(subject.provision("other/a") == ["q2: unknown-gateway gateway"])
        #expect(subject.update("gw/x") == ["q3: unknown-agent agent"])
        #expect(subject.ask(.wake(agent)) == ["q4: unknown-agent agent"])
        #expect(subject.ask(.delete(agent)) == ["q5: unknown-agent agent"])
        #expect(subject.ask(.pause(.agent(agent), until: nil)) == ["q6: unknown-agent agent"])
        #expect(subject.ask(.resume(.gateway("other"))) == ["q7: unknown-gateway gateway"])
        #expect(subject.ask(.removeGateway("other", force: true)) == ["q8: unknown-gateway gateway"])
        #expect(subject.ask(.rotateGatewayToken("other", now: true)) == ["q9: unknown-gateway gateway"])
        #expect(subject.ask(.rotateAgentToken(agent, now: true)) == ["q10: unknown-agent agent"])
    }

    @Test func rolesAndBoardsBelongTogether() {
        var subject = RequestTests.gateway()
        #expect(subject.provision("gw/a", role: nil) == ["q2: invalid-request role"])
        #expect(subject.provision("gw/a", role: .worker, board: nil) == ["q3: invalid-request board"])
        #expect(subject.provision("gw/a", role: .lead, board: nil) == ["q4: invalid-request board"])
        #expect(subject.provision("gw/a", role: .main, board: "b1") == ["q5: invalid-request board"])
        #expect(subject.provision("gw/m", role: .main, board: nil).last == "q6: provisioning, minted")
        #expect(subject.update("gw/m", role: .worker) == ["q7: invalid-request board"])
        #expect(subject.update("gw/m", role: .worker, board: "b1").last == "q8: updating")
        #expect(subject.update("gw/m", role: .main).last == "q9: updating")
        #expect(subject.record("gw/m")?.board == nil, "a main agent is on no board")
    }

    @Test func whatIsNotRenderedYetIsAskedFor() throws {
        var subject = RequestTests.gateway()
        let command = Command.provision(OwnerSubject.change("gw/a", .lead, "b1", [:], ["K": "V"], true))
        func request(_ inputs: RenderInputs?) -> PartitionEvent {
            .requestReceived(
                PartitionRequest(
                    id: "r", digest: "d", isKeyed: true, command: command, minted: MintedToken(digest: "t", id: "i"),
                    rendered: inputs.map { RenderedTemplates(inputs: $0, digest: "x") }, traceparent: nil,
                    provisioner: "p1"))
        }
        #expect(subject.handle(request(nil)) == ["r: render lead b1 1"])
        #expect(subject.record("gw/a") == nil)
        #expect(
            subject.handle(request(RenderInputs(role: .lead, board: "b2", variables: [:]))) == ["r: render lead b1 1"])
        let right = RenderInputs(role: .lead, board: "b1", variables: ["K": "V"])
        #expect(subject.handle(request(right)).last == "r: provisioning, minted")
        #expect(subject.record("gw/a")?.templatesDigest == "x")
    }

    // MARK: Once

    @Test(arguments: [(false, 8, "r: paused 0"), (false, 9, "r: unavailable"), (true, 60, "r: paused 0")])
    func whatMayHaveBeenForgottenIsNotExecuted(isKeyed: Bool, minutes: Int64, expected: String) {
        var subject = RequestTests.gateway()
        let request = PartitionRequest(
            id: "r", digest: "d", isKeyed: isKeyed, command: .pause(.gateway("gw"), until: nil), minted: nil,
            rendered: nil, traceparent: nil, provisioner: "p1")
        let answers = subject.handle(.requestReceived(request, frameAge: .seconds(minutes * 60)))
        #expect(answers.last?.hasPrefix(expected) == true, "\(answers)")
    }

    @Test func ofTwoChangesThatKnowOneRevisionOneIsDone() {
        var subject = OwnerSubject.online(["a"])
        let agent = AgentAddress("gw/a")!
        let revision = subject.record("gw/a")?.revision ?? 0
        func wake(_ id: String) -> PartitionEvent {
            .requestReceived(
                PartitionRequest(
                    id: id, digest: id, isKeyed: true, command: .wake(agent), minted: nil, rendered: nil,
                    traceparent: nil, provisioner: "p1", revisions: [revision]))
        }
        #expect(subject.handle(wake("k")).last == "k: updating")
        #expect(subject.handle(wake("l")).last == "l: conflict if-match")
        #expect(subject.record("gw/a")?.generation == 2)
        // Who asks again has the answer of what was done, though the revision is another by then.
        #expect(subject.handle(wake("k")) == ["k: as before"])
    }

    @Test func aRepeatIsNotExecutedAgain() {
        var subject = OwnerSubject.online(["a"])
        let agent = AgentAddress("gw/a")!
        #expect(subject.ask(.wake(agent), id: "k").last == "k: updating")
        #expect(subject.ask(.wake(agent), id: "k") == ["k: as before"])
        #expect(subject.record("gw/a")?.generation == 2)
        #expect(subject.ask(.delete(agent), id: "k") == ["k: conflict "], "same key, other request")
        #expect(subject.record("gw/a")?.generation == 2)
    }

    @Test func whatWasRefusedIsNotDoneByARepeat() {
        var subject = RequestTests.gateway()
        let agent = AgentAddress("gw/a")!
        #expect(subject.ask(.wake(agent), id: "k", keyed: true).last == "k: unknown-agent agent")
        _ = subject.provision("gw/a")
        #expect(subject.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"])
        #expect(subject.record("gw/a")?.generation == 1)
        #expect(subject.ask(.delete(agent), id: "k", keyed: true) == ["k: conflict "], "same key, other request")
        #expect(subject.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"], "the first keeps the key")
    }

    @Test func aKeyIsRememberedForADayAndAnUnkeyedIdForMinutes() {
        var subject = OwnerSubject.online(["a"])
        let agent = AgentAddress("gw/a")!
        _ = subject.ask(.wake(agent), id: "k", keyed: true)
        _ = subject.ask(.wake(agent), id: "u", keyed: false)
        _ = subject.pass(601_000)
        let generation = subject.record("gw/a")?.generation ?? 0
        #expect(subject.ask(.wake(agent), id: "u", keyed: false).last == "u: updating")
        #expect(subject.ask(.wake(agent), id: "k", keyed: true) == ["k: as before"])
        #expect(subject.record("gw/a")?.generation == generation + 1)
        _ = subject.pass(86_400_000)
        #expect(subject.ask(.wake(agent), id: "k", keyed: true).last == "k: updating")
    }

    @Test func aKeySurvivesItsOwner() {
        var subject = OwnerSubject.online(["a"])
        _ = subject.ask(.wake(AgentAddress("gw/a")!), id: "k")
        _ = subject.replaceOwner()
        #expect(subject.ask(.wake(AgentAddress("gw/a")!), id: "k") == ["k: as before"])
    }

    @Test func aTokenIsMintedAgainAsLongAsTheFirstWasNeverUsed() {
        var subject = RequestTests.gateway()
        _ = subject.provision("gw/a", id: "k", token: "t1")
        #expect(subject.provision("gw/a", id: "k", token: "t1") == ["k: as before, minted"], "the same request again")
        #expect(
            subject.provision("gw/a", id: "k", token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2", "k: as before, minted",
            ])
        #expect(subject.record("gw/a")?.generation == 1)
        _ = subject.woken("gw/a")
        _ = subject.beat("gw", ["a"])
        #expect(subject.provision("gw/a", id: "k", token: "t3") == ["k: as before"])
    }

    /// Its stream brings the first request to the next owner once more, behind a repeat from another provisioner: whoever was
    /// given the newer secret keeps it.
    @Test func aSecretThatWasReplacedIsNotMintedOnceMore() {
        var subject = RequestTests.gateway()
        _ = subject.provision("gw/a", id: "k", token: "t1")
        _ = subject.replaceOwner()
        #expect(
            subject.provision("gw/a", id: "k", token: "t2") == [
                "gw/a token_rotated", "gw/a credential t2", "k: as before, minted",
            ])
        #expect(subject.provision("gw/a", id: "k", token: "t1") == ["k: as before"])
        #expect(subject.provision("gw/a", id: "k", token: "t2") == ["k: as before, minted"])
        #expect(subject.provision("gw/a", id: "k", token: "t3").last == "k: as before, minted")
        #expect(subject.provision("gw/a", id: "k", token: "t2") == ["k: as before"])
    }

    @Test func aGatewaysTokenIsMintedAgainUntilItConnected() {
        var subject = OwnerSubject()
        let command = Command.addGateway("gw", policy: PolicyPatch())
        _ = subject.ask(command, id: "k", token: "t1")
        #expect(
            subject.ask(command, id: "k", token: "t2") == ["gw is never", "gw credential t2", "k: as before, minted"])
        _ = subject.handle(.gatewayStatusReceived(gateway: "gw", .connected))
        #expect(subject.ask(command, id: "k", token: "t3") == ["k: as before"])
    }
}
