import API
import StatusStoreCore
import Testing

/// On a broker without the access plugin, which lets everybody in and acknowledges all that it is told.
extension StoreCoreTests {
    @Test func withoutThePluginNobodyIsServed() throws {
        var subject = try StoreSubject()
        subject.hasPlugin = false
        subject.handle(.connected)
        subject.handle(.subscribed)
        #expect(subject.turn() == ["table"])
        #expect(subject.acknowledge() == [], "any broker acknowledges")
        subject.hear(.reconciler)
        subject.handle(lookup(.summary, "{}"))
        #expect(subject.turn() == [], "nothing is granted or answered before the plugin has spoken")
        subject.pass(4.9)
        #expect(subject.turn() == [])
        subject.pass(0.1)
        #expect(
            subject.turn() == ["log accessMissing", "announce", "problem unavailable"])
        var presence = Presence(
            service: .statusStore, instance: "1", state: .running, startedAt: subject.wallTime, configDigest: "",
            incarnation: "s1")
        subject.core.describe(&presence)
        #expect(presence.unserved?.contains("access plugin does not answer") == true)
        // It is asked again, and goes on by itself.
        subject.hasPlugin = true
        subject.pass(1)
        #expect(subject.turn() == ["table"])
        #expect(subject.acknowledge() == [])
        #expect(subject.turn(.publish).prefix(2) == ["log accessAnswers", "announce"])
        #expect(subject.turn(.grant).last == "grant 1 with 0 agents")
        subject.core.describe(&presence)
        #expect(presence.unserved == nil)
    }

    @Test func thePluginOfAnotherConnectionProvesNothing() throws {
        var subject = try granted()
        subject.handle(.disconnected)
        subject.hasPlugin = false
        subject.handle(.connected)
        subject.turn()
        _ = subject.acknowledge()
        subject.handle(.accessAnswered("s1.1"))
        subject.receive(1, credential("gw"), change(1))
        #expect(subject.turn() == ["acknowledge 1"], "committed, and nothing is minted")
        subject.pass(5)
        #expect(subject.turn().contains("log accessMissing"))
    }

    @Test func withoutAccessControlNobodyIsAsked() throws {
        var subject = try StoreSubject(access: .none)
        subject.handle(.connected)
        subject.handle(.subscribed)
        subject.hear(.reconciler)
        #expect(subject.turn().last == "grant 1 with 0 agents")
        subject.takeGrants()
        subject.pass(1.1)
        subject.turn()
        subject.receive(1, credential("gw"), change(1))
        #expect(subject.turn().contains("event changed gw/a 1"), "it waits for no credential")
    }
}
