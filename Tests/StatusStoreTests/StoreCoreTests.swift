import API
import Lifecycle
import MemoryStorage
import Model
import StatusStoreCore
import Storage
import Streams
import Testing
import Wire

/// What the store does about its database, its broker and its end: inputs in, actions out.
@Suite struct StoreCoreTests {
    private static let agent = AgentAddress("gw/a")!

    func change(_ revision: Int, with others: StoreChange...) -> StoreEntry {
        var record = AgentRecord(
            address: StoreCoreTests.agent, board: nil, role: .main, status: .online, policy: Policy(),
            createdAt: Timestamp(millisecondsSince1970: 0))
        record.revision = revision
        let event = AgentEventEntry(
            id: "e\(revision)", event: .changed, agent: StoreCoreTests.agent, reason: nil,
            time: Timestamp(millisecondsSince1970: 0), source: "s", traceparent: nil)
        return StoreEntry([.agent(Carried(AgentState(record: record)), event)] + others)
    }

    func credential(_ username: String) -> StoreEntry {
        StoreEntry(.credential(CredentialChange(username: username, change: .set(digest: StoreSubject.digest))))
    }

    private func answer(_ id: String) -> StoreEntry {
        StoreEntry(
            .answer(
                AnswerEntry(
                    requestID: id, requestDigest: "d", isKeyed: true, provisioner: "p1", outcome: .paused(1),
                    isFinal: true, mintedToken: nil)))
    }

    func lookup(_ verb: Verb, _ text: String, to topic: String = "rollcall/v1/replies/op/x") -> StoreInput {
        .lookupReceived(
            LookupRequest(
                verb: verb, payload: Array(text.utf8), replyTo: ReplyAddress(topic: topic, correlationData: nil),
                answerBytesMax: 10_000))
    }

    /// Connected, with the whole table at the broker and no note on it.
    private func connected(_ database: FailingDatabase? = nil) throws -> StoreSubject {
        var subject = try database.map { try StoreSubject($0) } ?? StoreSubject()
        subject.handle(.connected)
        subject.handle(.subscribed)
        subject.turn()
        _ = subject.acknowledge()
        subject.pass(1.1)
        subject.turn()
        #expect(subject.turn() == ["note 0"])
        return subject
    }

    /// With a reconciler that owns the only partition.
    func granted() throws -> StoreSubject {
        var subject = try connected()
        subject.hear(.reconciler)
        subject.turn()
        subject.takeGrants()
        return subject
    }

    @Test func aFrameIsAcknowledgedAndPublishedOnceItIsCommitted() throws {
        var subject = try granted()
        subject.receive(1, change(1))
        #expect(subject.turn(.commit) == [])
        #expect(try subject.database.record(of: StoreCoreTests.agent) != nil)
        #expect(subject.turn(.grant) == ["acknowledge 1"])
        #expect(subject.turn(.publish) == ["event changed gw/a 1", "status gw/a"])
        #expect(subject.turn(.answer) == [])
        subject.receive(3, change(3))
        #expect(subject.turn() == ["ask from 2"])
    }

    @Test func nothingIsSaidBeforeTheBrokerKnowsWhoMayConnect() throws {
        var subject = try granted()
        subject.receive(1, credential("gw"), change(1))
        subject.handle(.disconnected)
        #expect(subject.turn() == [], "what was not judged comes again")
        #expect(subject.handle(.connected) == ["subscribe"])
        subject.receive(1, credential("gw"), change(1))
        #expect(subject.turn() == ["acknowledge 1", "table"])
        #expect(subject.acknowledge(.unheard(reason: 0x10)) == ["log accessRefused"])
        #expect(subject.turn() == [], "the plugin is not there")
        #expect(subject.core.wakeAt == subject.now + .seconds(1))
        subject.pass(1)
        #expect(subject.turn() == ["table"])
        #expect(subject.acknowledge() == [])
        #expect(subject.turn() == ["credentials of gw"])
        #expect(subject.turn() == [], "the change of the agent waits")
        _ = subject.acknowledge()
        #expect(subject.turn() == ["event changed gw/a 1", "status gw/a"])
    }

    @Test func whatIsBehindACredentialWaitsUntilThePluginHasIt() throws {
        var subject = try granted()
        subject.receive(1, credential("gw/a"), answer("q"))
        #expect(subject.turn() == ["acknowledge 1", "credentials of gw/a"])
        #expect(subject.acknowledge(.unheard(reason: 0x10)) == ["log accessRefused"])
        #expect(subject.turn() == [])
        subject.pass(1)
        #expect(subject.turn() == ["credentials of gw/a"])
        _ = subject.acknowledge()
        #expect(subject.turn() == ["answer q to p1", "note 1"])
        #expect(subject.acknowledge(.unheard(reason: 0x10)) == [], "of others it is enough that the broker took them")
        #expect(subject.core.published == 2)
    }

    @Test func whatIsRefusedGoesOutAgain() throws {
        var subject = try granted()
        subject.receive(1, answer("q"))
        subject.turn()
        #expect(subject.acknowledge(.refused(reason: 0x87)) == ["log publishRefused"])
        subject.pass(1)
        #expect(subject.turn() == ["answer q to p1"])
        #expect(subject.acknowledge(.refused(reason: 0x87)) == [], "it was said a second ago")
    }

    @Test func whatIsTooLargeIsNotWaitedFor() throws {
        var subject = try granted()
        subject.receive(1, credential("gw"), answer("q"))
        subject.turn()
        let credentials = subject.underWay[0].ticket
        #expect(subject.handle(.publicationFailed(credentials, error: "large")) == ["log publishFailed"])
        #expect(subject.turn() == ["credentials of gw"], "nothing passes a credential")
        _ = subject.acknowledge()
        #expect(subject.turn() == ["answer q to p1"])
        #expect(subject.handle(.publicationFailed(subject.underWay[0].ticket, error: "large")) == ["log publishFailed"])
        #expect(subject.core.published == 2)
    }

    @Test func whatIsUnacknowledgedGoesOutOnTheNextConnection() throws {
        var subject = try granted()
        subject.receive(1, answer("q"))
        subject.turn()
        subject.handle(.disconnected)
        #expect(subject.turn() == [])
        #expect(subject.acknowledge() == [], "of another connection")
        subject.handle(.connected)
        subject.turn()
        _ = subject.acknowledge()
        #expect(subject.turn() == ["answer q to p1"])
    }

    // MARK: Trouble with the database

    @Test func whatACommitWroteIsPublishedThoughItsReportIsLost() throws {
        var subject = try granted()
        subject.hear(.provisioner)
        subject.database.losesReport = true
        subject.receive(1, ordered(), answer("q"))
        #expect(subject.turn() == ["log commitFailed", "announce"])
        subject.pass(1)
        let words = subject.turn()
        #expect(words.contains("order 7"))
        #expect(words.contains("answer q to p1"))
    }

    @Test func whatCannotBeGrantedHoldsUpNobody() throws {
        var subject = try connected()
        subject.database.failing = [.grant: .full]
        subject.hear(.reconciler)
        subject.handle(lookup(.summary, "{}"))
        #expect(subject.turn() == ["log databaseFailed", "announce", "reply to rollcall/v1/replies/op/x"])
        subject.database.failing = [:]
        subject.pass(0.3)
        #expect(subject.turn() == ["log partitionGranted", "grant 1 with 0 agents"])
    }

    @Test func aDamagedDatabaseEndsTheService() throws {
        var subject = try granted()
        subject.database.failing = [.commit: .corrupt]
        subject.receive(1, change(1))
        #expect(subject.turn() == ["fail"])
    }

    @Test func aFrameThatNeverSucceedsIsPutAsideWithItsEpoch() throws {
        var subject = try granted()
        subject.database.poison = "e1"
        subject.receive(1, change(1))
        for _ in 1..<FrameAttempts.max {
            #expect(subject.turn() == [])
            #expect(subject.core.wakeAt == subject.now + TimeSpan(milliseconds: 50))
            subject.pass(0.05)
        }
        let last = subject.turn()
        #expect(last.prefix(4) == ["log deadLetter", "log frameRefused", "announce", "acknowledge 1"])
        #expect(last.contains("revoke 1"))
        var presence = presence("1", service: .statusStore)
        subject.core.describe(&presence)
        #expect(presence.deadLetters?.total == 1)
    }

    @Test func aFrameThatCannotBeReadTakesItsTurn() throws {
        var subject = try granted()
        let body = #"{"partition":0,"epoch":1,"entries":7}"#
        let id = JSON.text(StoreSubject.stream)
        subject.handle(
            .frameReceived(.bytes(Array(#"{"id":\#(id),"seq":1,"lowWaterMark":1,"age":0,"body":\#(body)}"#.utf8))))
        subject.handle(.frameReceived(.bytes(Array("no frame".utf8))))
        #expect(subject.turn() == ["log frameUnreadable"])
        for _ in 1..<FrameAttempts.max {
            subject.pass(0.05)
            subject.turn()
        }
        #expect(try subject.database.deadLetters(limit: 1).total == 1)
    }

    // MARK: Grants

    @Test func whoeverIsNotTheOwnerIsToldOnceInAWhile() throws {
        var subject = try granted()
        subject.receive(1, epoch: 7, change(1))
        #expect(subject.turn() == ["log frameRefused", "revoke 7"])
        subject.receive(1, epoch: 7, change(1))
        #expect(subject.turn() == [])
        subject.pass(0.5)
        subject.receive(1, epoch: 7, change(1))
        #expect(subject.turn() == ["log frameRefused", "revoke 7"])
    }

    @Test func aGrantComesAgainUntilItIsAcknowledged() throws {
        var subject = try connected()
        subject.hear(.reconciler)
        #expect(subject.turn() == ["log partitionGranted", "grant 1 with 0 agents"])
        subject.pass(1)
        #expect(subject.handle(.ticked) == ["grant 1 with 0 agents"])
        subject.handle(.disconnected)
        #expect(subject.handle(.connected) == ["subscribe", "grant 1 with 0 agents"])
        subject.takeGrants()
        subject.pass(1)
        #expect(subject.handle(.ticked) == [])
    }

    @Test func aNewLifeIsGrantedAnew() throws {
        var subject = try granted()
        subject.hear(.reconciler, epochs: [0: 1])
        #expect(!subject.turn().contains("grant 2 with 0 agents"))
        subject.handle(.presenceReceived(presence("r1", "i2"), isRetained: false))
        #expect(subject.turn() == ["log partitionGranted", "grant 2 with 0 agents"])
    }

    // MARK: Time

    @Test func aTurnDecodesForALimitedTime() throws {
        var subject = try granted()
        for seq in 1...3 { subject.receive(seq, change(seq)) }
        subject.handle(.turnEnded(.commit))
        #expect(subject.core.isUnfinished)
        subject.pass(0.2)
        subject.handle(.turnEnded(.commit))
        #expect(!subject.core.isUnfinished, "its time is over")
        #expect(subject.turn(.grant) == ["acknowledge 2"])
        #expect(subject.core.wakeAt == subject.now, "the third has the next turn")
        #expect(subject.turn(.commit) == [])
        #expect(subject.turn(.grant) == ["acknowledge 3"])
        #expect(subject.core.wakeAt != subject.now)
    }

    @Test func aTurnAnswersForALimitedTime() throws {
        var subject = try connected()
        for _ in 1...3 { subject.handle(lookup(.summary, "{}")) }
        subject.handle(.turnEnded(.answer))
        subject.pass(0.3)
        subject.handle(.turnEnded(.answer))
        #expect(!subject.core.isUnfinished)
        #expect(subject.core.wakeAt == subject.now)
        #expect(subject.turn(.answer) == ["reply to rollcall/v1/replies/op/x"])
    }

    // MARK: Lookups and keys

    @Test func lookupsAreAnsweredBelowTheRepliesAlone() throws {
        var subject = try connected()
        subject.handle(lookup(.summary, "{}", to: "rollcall/v1/status/gw/a"))
        subject.handle(lookup(.summary, "{}", to: "rollcall/v1/replies/#"))
        subject.handle(lookup(.get, #"{"agent":"gw/a"}"#))
        subject.handle(lookup(.get, "no JSON"))
        subject.handle(
            .questionReceived(RecordQuestion(questionID: "q", agent: StoreCoreTests.agent, provisioner: "p1")))
        #expect(subject.turn() == ["found q 0", "problem unknown-agent", "problem invalid-request"])
        subject.database.failing = [.read: .inputOutput]
        subject.handle(lookup(.get, #"{"agent":"gw/a"}"#))
        #expect(subject.turn() == ["log readFailed", "problem unavailable"])
        subject.handle(lookup(.summary, "{}"))
        subject.handle(.disconnected)
        subject.handle(.connected)
        #expect(!subject.turn().contains("reply to rollcall/v1/replies/op/x"), "nobody waits for it")
        #expect(subject.core.counters.lookups == 4)
    }

    @Test func aKeyIsTheFirstRequestsAndIsAnsweredOnceItIsKept() throws {
        var subject = try connected()
        for digest in ["a", "b"] {
            subject.handle(.claimReceived(KeyClaim(requestID: "k", digest: digest, provisioner: "p1")))
        }
        #expect(subject.turn(.commit) == [])
        #expect(subject.turn(.answer) == ["claimed k by a", "claimed k by a"])
        subject.database.failing = [.claim: .full]
        subject.handle(.claimReceived(KeyClaim(requestID: "l", digest: "a", provisioner: "p1")))
        #expect(subject.turn() == ["log databaseFailed", "announce"])
        var status = presence("1", service: .statusStore)
        subject.core.describe(&status)
        #expect(status.trouble == "full", "commands wait for it, though no frame does")
        subject.database.failing = [.note: .full]
        #expect(subject.handle(.secondPassed) == ["log tidyFailed"])
        subject.database.failing = [:]
        #expect(subject.turn() == [], "whoever waits claims again")
        #expect(subject.handle(.secondPassed) == ["log commitsAgain", "announce"])
        subject.core.describe(&status)
        #expect(status.trouble == nil)
    }

    private func ordered() -> StoreEntry {
        let order = WakeOrder(
            agent: StoreCoreTests.agent, generation: 1, attempt: 1, publication: 7, maxAttempts: 3, reason: .provision,
            checkinDeadline: DurationText(30, .seconds), heartbeatInterval: DurationText(60, .seconds),
            resetSession: false, templatesDigest: nil, role: .main, board: nil, variables: [:], traceparent: nil)
        return change(1, with: .order(Carried(order)))
    }

    @Test func ordersGoToProvisionersThatLive() throws {
        var subject = try granted()
        subject.receive(1, ordered())
        #expect(!subject.turn().contains("order 7"))
        subject.hear(.provisioner)
        #expect(subject.turn() == ["order 7"])
        subject.pass(6)
        subject.hear(.provisioner)
        #expect(subject.turn().contains("order 7"), "it has expired")
    }

    // MARK: What the broker forgot, and the end

    @Test func aBrokerThatForgotIsToldTheStatusesAgain() throws {
        var subject = try granted()
        subject.receive(1, change(1))
        subject.turn()
        _ = subject.acknowledge()
        subject.handle(.disconnected)
        subject.handle(.connected)
        subject.handle(.subscribed)
        subject.turn()
        _ = subject.acknowledge()
        #expect(subject.turn() == [], "a note may come yet")
        subject.pass(1)
        #expect(subject.turn() == ["log republishingStatuses"])
        #expect(subject.turn() == ["status gw/a"])
        #expect(subject.turn() == [], "it is not acknowledged")
        _ = subject.acknowledge()
        #expect(subject.turn() == ["log statusesRepublished"])
        subject.pass(1)
        #expect(subject.turn() == ["note 1"])
    }

    @Test func aNoteOfAnotherPastIsToldOf() throws {
        var subject = try granted()
        subject.handle(.disconnected)
        subject.handle(.connected)
        let note = CursorMessage(published: 99, database: "d")
        #expect(subject.handle(.noteFound(note)) == ["log databaseWentBack"])
    }

    @Test func itEndsOnceAllIsPublished() throws {
        var subject = try granted()
        subject.receive(1, answer("q"))
        #expect(subject.handle(.stopRequested) == [])
        subject.receive(2, answer("r"))
        #expect(subject.turn() == ["acknowledge 1", "answer q to p1"])
        #expect(subject.handle(.stopRequested) == [], "the broker has not taken it")
        _ = subject.acknowledge()
        subject.turn()
        #expect(subject.handle(.stopRequested) == ["note 1", "drained"])
    }

    @Test func withoutAConnectionItEndsAtOnce() throws {
        var subject = try granted()
        subject.handle(.disconnected)
        #expect(subject.handle(.stopRequested) == ["drained"])
    }
}
