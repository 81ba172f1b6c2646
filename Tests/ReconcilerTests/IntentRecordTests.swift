import API
import Model
import ReconcilerCore
import Testing
import Wire

/// Commands whose answer comes later than their effect, or whose effect takes many entries, and owners that die meanwhile.
@Suite struct IntentRecordTests {
    /// A gateway with two agents whose first wakes are under way.
    private func awaited(sliceMax: Int = PartitionOwner.sliceMax) -> Owned {
        var owned = Owned(sliceMax: sliceMax)
        owned.tell(.requestReceived(request("add", .addGateway("gw", policy: PolicyPatch()))))
        for name in ["gw/a", "gw/b"] {
            let change = ProvisionRequest(agent: agent(name), role: .worker, board: "b1")
            owned.tell(.requestReceived(request("provision \(name)", .provision(change))))
        }
        return owned
    }

    /// Everything that a begun command does, with a death after each entry of it: the successor is asked again.
    private func checkEachDeath(_ command: Command, seconds: Int64, _ check: (Ledger, Int) -> Void) {
        // At once, and one agent after the other.
        for sliceMax in [PartitionOwner.sliceMax, 1] {
            checkEachDeath(command, seconds: seconds, sliceMax: sliceMax, check)
        }
    }

    private func checkEachDeath(
        _ command: Command, seconds: Int64, sliceMax: Int, _ check: (Ledger, Int) -> Void
    ) {
        var whole = awaited(sliceMax: sliceMax)
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
            var successor = Owned(epoch: 2, ledger, at: whole.milliseconds, sliceMax: sliceMax)
            successor.tell(.requestReceived(request("q", command)))
            successor.pass(seconds)
            check(successor.ledger, count)
        }
    }

    @Test func aPauseIsExecutedOnceWhoeverDies() {
        for target in [PauseTarget.agent(agent("gw/a")), .gateway("gw"), .board("b1")] {
            checkEachDeath(.pause(target, until: nil), seconds: 11) { ledger, count in
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
        checkEachDeath(.delete(agent("gw/a")), seconds: 11) { ledger, count in
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
        checkEachDeath(.removeGateway("gw", force: true), seconds: 11) { ledger, count in
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
        owned.pass(11)
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

    // MARK: What was overtaken

    @Test func aPauseThatWasResumedIsNotCarriedOn() {
        var owned = awaited()
        owned.tell(.requestReceived(request("p", .pause(.gateway("gw"), until: nil))))
        owned.tell(.requestReceived(request("own", .pause(.agent(agent("gw/a")), until: nil))))
        owned.tell(.requestReceived(request("r", .resume(.gateway("gw")))))
        #expect(owned.ledger.answers(to: "p").isEmpty, "the wake of gw/a may still be published")
        #expect(!owned.ledger.answers(to: "r").isEmpty)
        var successor = Owned(epoch: 2, owned.ledger, at: owned.milliseconds)
        successor.pass(11)
        #expect(!successor.ledger.answers(to: "p").isEmpty)
        let pauses = successor.ledger.events.filter { $0.hasPrefix("paused") }
        #expect(pauses == ["paused gw/a", "paused gw/b", "paused gw/a"])
        successor.tell(.requestReceived(request("w", .wake(agent("gw/b")))))
        guard case .record(let record, _)? = successor.ledger.answers(to: "w").first?.outcome else { return }
        #expect(!record.isPaused)
    }

    @Test func anotherEndOfAPauseIsCarriedOn() {
        let until = Timestamp(millisecondsSince1970: 60_000)
        var owned = awaited(sliceMax: 1)
        owned.tell(.requestReceived(request("p", .pause(.gateway("gw"), until: nil))))
        owned.pass(11)
        owned.tell(.requestReceived(request("q", .pause(.gateway("gw"), until: until))), slices: 0)
        var successor = Owned(epoch: 2, owned.ledger, at: owned.milliseconds, sliceMax: 1)
        successor.pass(11)
        #expect(!successor.ledger.answers(to: "q").isEmpty)
        successor.pass(60)
        #expect(successor.ledger.events.filter { $0.hasPrefix("resumed") }.count == 2)
    }

    @Test func ofAPauseAndAResumeThatWereUnderWayTheLaterOneHolds() {
        for order in [[true, false], [false, true]] {
            var whole = awaited(sliceMax: 1)
            if !order[0] {
                whole.tell(.requestReceived(request("before", .pause(.gateway("gw"), until: nil))))
                whole.pass(11)
            }
            let before = whole.ledger
            for isPause in order {
                let command: Command = isPause ? .pause(.gateway("gw"), until: nil) : .resume(.gateway("gw"))
                whole.tell(.requestReceived(request(isPause ? "p" : "r", command)), slices: 0)
            }
            whole.pass(11)
            let caused = whole.ledger.entries.dropFirst(before.entries.count)
            let second = caused.lastIndex { $0.changes.contains(where: \.isIntent) }!
            for end in second...caused.endIndex - 1 {
                var ledger = before
                for entry in whole.ledger.entries[before.entries.count...end] { ledger.commit(entry) }
                var successor = Owned(epoch: 2, ledger, at: whole.milliseconds, sliceMax: 1)
                successor.pass(11)
                #expect(!successor.ledger.answers(to: "p").isEmpty, "death after entry \(end)")
                #expect(!successor.ledger.answers(to: "r").isEmpty, "death after entry \(end)")
                for name in ["gw/a", "gw/b"] {
                    let last = successor.ledger.events.last { $0 == "paused \(name)" || $0 == "resumed \(name)" }
                    #expect(last == "\(order[1] ? "paused" : "resumed") \(name)" || last == nil, "after \(end)")
                    successor.tell(.requestReceived(request("w \(name)", .wake(agent(name)))))
                    guard case .record(let record, _)? = successor.ledger.answers(to: "w \(name)").first?.outcome
                    else { continue }
                    #expect(record.isPaused == order[1], "\(name) after \(end)")
                }
            }
        }
    }

    @Test func aChangedPolicyIsAnsweredByASuccessor() {
        checkEachDeath(.addGateway("gw", policy: PolicyPatch([.offlineAfter: "61s"])), seconds: 1) { ledger, count in
            #expect(ledger.events.filter { $0 == "changed gw/a" }.count == 1, "after \(count) entries")
            #expect(!ledger.answers(to: "q").isEmpty, "after \(count) entries")
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
