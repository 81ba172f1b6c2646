import Contract
import Lifecycle
import ReconcilerCore
import Testing

/// Commands whose answer comes later than their effect, or whose effect takes many entries, and owners that die meanwhile.
@Suite struct UndertakingTests {
    /// A gateway with two agents whose first wakes are under way.
    private func awaited() -> Owned {
        var owned = Owned()
        owned.tell(.requestReceived(request("add", .addGateway("gw", policy: PolicyPatch()))))
        for name in ["gw/a", "gw/b"] {
            let change = ProvisionRequest(agent: agent(name), role: .worker, board: "b1")
            owned.tell(.requestReceived(request("provision \(name)", .provision(change))))
        }
        return owned
    }

    /// Everything that a begun command does, with a death after each entry of it: the successor is asked again.
    private func checkEachDeath(_ command: Command, seconds: Int64, _ check: (Ledger, Int) -> Void) {
        var whole = awaited()
        let before = whole.ledger
        whole.tell(.requestReceived(request("q", command)))
        whole.pass(seconds)
        let caused = whole.ledger.entries.count - before.entries.count
        #expect(whole.ledger.answers(to: "q").count == 1)
        for count in 0...caused {
            var ledger = before
            for entry in whole.ledger.entries[before.entries.count..<before.entries.count + count] {
                ledger.commit(entry)
            }
            var successor = Owned(epoch: 2, ledger, at: whole.milliseconds)
            successor.tell(.requestReceived(request("q", command)))
            successor.pass(seconds)
            check(successor.ledger, count)
        }
    }

    @Test func aPauseIsExecutedOnceWhoeverDies() {
        for target in [PauseTarget.agent(agent("gw/a")), .gateway("gw"), .board("b1")] {
            checkEachDeath(.pause(target, until: nil), seconds: 9) { ledger, count in
                let paused = ledger.events.filter { $0 == "paused gw/a" }
                #expect(paused.count == 1, "after \(count) entries of \(target)")
                #expect(!ledger.answers(to: "q").isEmpty, "after \(count) entries of \(target)")
                for answer in ledger.answers(to: "q") {
                    guard case .paused(let number)? = answer.outcome else { continue }
                    #expect(number == (target == .agent(agent("gw/a")) ? 1 : 2))
                }
            }
        }
    }

    @Test func aDeletionIsExecutedOnceAndAnsweredWithTheRecord() {
        checkEachDeath(.delete(agent("gw/a")), seconds: 9) { ledger, count in
            let events = ledger.events
            #expect(events.filter { $0 == "deleting gw/a" }.count == 1, "after \(count) entries")
            #expect(events.filter { $0 == "deleted gw/a" }.count == 1, "after \(count) entries")
            for answer in ledger.answers(to: "q") {
                if case .refused(let problem)? = answer.outcome { Issue.record("after \(count) entries: \(problem)") }
            }
            #expect(!ledger.answers(to: "q").isEmpty, "after \(count) entries")
        }
    }

    @Test func aRemovalIsCarriedOnToItsEnd() {
        checkEachDeath(.removeGateway("gw", force: true), seconds: 9) { ledger, count in
            #expect(ledger.events.filter { $0 == "deleted gw/a" }.count == 1, "after \(count) entries")
            #expect(ledger.events.filter { $0 == "deleted gw/b" }.count == 1, "after \(count) entries")
            for answer in ledger.answers(to: "q") {
                switch answer.outcome {
                case .gatewayRemoved(_, let number)?: #expect(number == 2)
                case nil: break
                default: Issue.record("after \(count) entries: \(String(describing: answer.outcome))")
                }
            }
        }
    }

    @Test func aResumeIsExecutedOnceWhoeverDies() {
        var owned = awaited()
        owned.tell(.requestReceived(request("p", .pause(.gateway("gw"), until: nil))))
        owned.pass(9)
        let before = owned.ledger
        let entries = owned.tell(.requestReceived(request("q", .resume(.gateway("gw")))))
        for count in 0...entries.count {
            var ledger = before
            for entry in entries.prefix(count) { ledger.commit(entry) }
            var successor = Owned(epoch: 2, ledger, at: owned.milliseconds)
            successor.tell(.requestReceived(request("q", .resume(.gateway("gw")))))
            #expect(successor.ledger.events.filter { $0 == "resumed gw/a" }.count == 1, "after \(count) entries")
            guard case .paused(2)? = successor.ledger.answers(to: "q").first?.outcome else {
                Issue.record("after \(count) entries: \(successor.ledger.answers(to: "q"))")
                continue
            }
        }
    }

    @Test func anotherRequestUnderTheKeyOfOneThatWaitsIsRefused() {
        var owned = awaited()
        owned.tell(.requestReceived(request("q", .pause(.agent(agent("gw/a")), until: nil))))
        owned.tell(.requestReceived(request("q", .pause(.agent(agent("gw/b")), until: nil), digest: "other")))
        guard case .refused(let problem)? = owned.ledger.answers(to: "q").first?.outcome else {
            Issue.record("not refused")
            return
        }
        #expect(problem.type == .conflict)
        #expect(owned.ledger.events.filter { $0 == "paused gw/b" }.isEmpty)
    }
}
