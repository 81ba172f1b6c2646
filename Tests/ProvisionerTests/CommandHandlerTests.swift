import API
import Model
import ProvisionerCore
import Testing
import Wire

/// Commands in, requests to the owners and answers out.
@Suite struct CommandHandlerTests {
    private var handler = CommandHandler(
        instance: "1", topics: Topics(), files: testFiles(), sha256: { "sha(\(String(decoding: $0, as: UTF8.self)))" })
    private let agent = AgentAddress(gateway: "gw", agent: "a1")!
    private var partition: Int { Partition.of(gateway: "gw", count: 4) }

    private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    private mutating func handle(_ event: CommandHandler.Event, at seconds: Int64 = 0) -> [CommandHandler.Directive] {
        var directives: [CommandHandler.Directive] = []
        handler.handle(event, now: at(seconds), into: &directives)
        return directives
    }

    private mutating func receive(
        _ verb: String, _ payload: String, key: String? = nil, to topic: String? = "op:eve/x", id: String = "r1",
        at seconds: Int64 = 0
    ) -> [CommandHandler.Directive] {
        let directives = claim(verb, payload, key: key, to: topic, id: id, at: seconds)
        return directives.flatMap { directive in
            guard case .claim(let claim) = directive else { return [directive] }
            return handle(.claimed(requestID: claim.requestID, digest: claim.digest), at: seconds)
        }
    }

    /// A command whose key, if it has one, the store has not answered for.
    private mutating func claim(
        _ verb: String, _ payload: String, key: String? = "k", to topic: String? = "op:eve/x", id: String = "r1",
        at seconds: Int64 = 0
    ) -> [CommandHandler.Directive] {
        if seconds == 0 { _ = handle(.partitionsAnnounced(4)) }
        return handle(.commandReceived(arrival(verb, payload, key: key, to: topic, id: id)), at: seconds)
    }

    /// The public name of the token that `fresh` gives this one: the first twelve digits of its digest.
    private static func tokenID(of username: String) -> String { String("sha(rc1:\(username).secret".prefix(12)) }

    private mutating func answer(
        _ outcome: CommandOutcome, id: String = "r1", minted: Bool = false, at seconds: Int64 = 1
    )
        -> [String]
    {
        let tokenID: String
        switch outcome {
        case .gateway(let name, _): tokenID = Self.tokenID(of: name)
        default: tokenID = Self.tokenID(of: "gw/a1")
        }
        return replies(
            handle(.answered(requestID: id, outcome: outcome, mintedToken: minted ? tokenID : nil), at: seconds))
    }

    // MARK: Forwarding

    @Test mutating func aCommandGoesToTheOwnerOfItsGateway() throws {
        let directives = receive("wake", #"{"agent":"gw/a1"}"#)
        #expect(
            directives == [
                .forward(
                    PartitionRequest(
                        id: "r1", digest: "sha(wake\0{\"agent\":\"gw/a1\"})", isKeyed: false, command: .wake(agent),
                        minted: nil, rendered: nil, traceparent: nil, provisioner: "1"), partition: partition)
            ])
        #expect(handler.pendingCount == 1)
    }

    @Test mutating func aKeyNamesTheRequestTogetherWithWhoAsks() throws {
        let first = try #require(requests(receive("wake", #"{"agent":"gw/a1"}"#, key: "k")).first)
        #expect(first.id == "sha(op:eve\0k)" && first.isKeyed)
        let other = try #require(
            requests(receive("wake", #"{"agent":"gw/a1"}"#, key: "k", to: "svc:control-api/1/x", id: "r2")).first)
        #expect(other.id == "sha(svc:control-api\0k)")
    }

    @Test mutating func provisionCarriesACandidateTokenAndAFirstRendering() throws {
        let request = try #require(
            requests(
                receive(
                    "provision", #"{"agent":"gw/a1","role":"worker","board":"b","variables":{"owner":"eve","x":null}}"#)
            ).first)
        #expect(request.minted == MintedToken(digest: "sha(rc1:gw/a1.secret-r1)", id: Self.tokenID(of: "gw/a1")))
        #expect(
            request.rendered
                == RenderedTemplates(
                    inputs: RenderInputs(role: .worker, board: "b", variables: ["owner": "eve"]), digest: "gw/a1 eve"))
    }

    @Test mutating func aRenderingThatCannotBeGuessedIsLeftToTheOwner() throws {
        let unknown = receive("provision", #"{"agent":"gw/a1","role":"worker","board":"b"}"#)
        #expect(requests(unknown).map(\.rendered) == [nil])
        let roleless = receive("provision", #"{"agent":"gw/a2"}"#, id: "r2")
        #expect(requests(roleless).map(\.rendered) == [nil])
    }

    @Test mutating func lookupsAreSomebodyElses() {
        for verb in Verb.allCases where verb.isLookup { #expect(receive(verb.rawValue, "{}") == []) }
        #expect(handler.pendingCount == 0)
    }

    // MARK: Refusals

    @Test(arguments: [
        ("dance", "{}", "invalid-request", ""), ("", "{}", "invalid-request", ""),
        ("sync-templates", #"{"gateway":"gw","rotate_tokens":1}"#, "invalid-request", "rotate_tokens"),
        ("wake", "{}", "invalid-request", "agent"), ("wake", "[]", "invalid-request", ""),
        ("wake", #"{"agent":"gw/a1","x":1}"#, "invalid-request", "x"),
        ("provision", #"{"agent":"gw/a1","variables":{"agent_id":"x"}}"#, "invalid-request", "variables.agent_id"),
        ("update", #"{"agent":"gw/a1","variables":{"-x":null}}"#, "invalid-request", "variables.-x"),
        ("wake", String(repeating: " ", count: 65_537), "too-large", ""),
    ])
    mutating func whatIsWrongIsRefused(verb: String, payload: String, type: String, member: String?) throws {
        let directives = receive(verb, payload)
        let problem = try #require(problems(directives).first)
        #expect(problem.type.rawValue == type && problem.errors.first?.member == member && directives.count == 1)
        #expect(handler.pendingCount == 0)
        #expect(receive(verb, payload, to: nil) == [])
    }

    @Test mutating func aKeyHasOneTo256Bytes() {
        #expect(problems(receive("wake", #"{"agent":"gw/a1"}"#, key: "")).map(\.type) == [.invalidRequest])
        let long = String(repeating: "k", count: 257)
        #expect(problems(receive("wake", #"{"agent":"gw/a1"}"#, key: long)).map(\.type) == [.invalidRequest])
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#, key: String(long.dropLast()))).count == 1)
    }

    @Test mutating func moreThanCanWaitIsRefused() {
        for number in 0..<CommandHandler.pendingMax {
            // Each thousand of another operator, who may have no more.
            let asker = "op:eve-\(number / 1_000)/x"
            let forwarded = requests(receive("wake", #"{"agent":"gw/a1"}"#, to: asker, id: "n\(number)", at: 0))
            #expect(forwarded.count == (number % 1_000 < CommandHandler.forwardedMax ? 1 : 0))
        }
        #expect(problems(receive("wake", #"{"agent":"gw/a1"}"#)).map(\.type) == [.unavailable])
    }

    @Test mutating func anOperatorHasSoManyUnderWayAndNobodyElseWaits() {
        let wake = #"{"agent":"gw/a1"}"#
        for number in 0..<1_000 { _ = receive("wake", wake, id: "n\(number)", at: 0) }
        #expect(problems(receive("wake", wake, id: "more")).map(\.type) == [.tooManyRequests])
        #expect(problems(receive("nonsense", "x", id: "more")).map(\.status) == [429], "refused before it is read")
        #expect(requests(receive("wake", wake, to: "op:bob/x", id: "bob")).map(\.id) == ["bob"])
        let next = handle(
            .answered(requestID: "n5", outcome: .record(testRecord(agent), minted: false), mintedToken: nil))
        #expect(requests(next).map(\.id) == ["n\(CommandHandler.forwardedMax)"])
        #expect(problems(receive("wake", wake, id: "again")).isEmpty)
        #expect(problems(receive("wake", wake, id: "more")).map(\.type) == [.tooManyRequests])
        #expect(problems(handle(.timePassed, at: 15)).count == 1_001)
        #expect(handler.pendingCount == 0)
        #expect(requests(receive("wake", wake, id: "later", at: 16)).map(\.id) == ["later"])
    }

    @Test mutating func aGatewayHasOneRequestForCredentialsMoreForEachAgent() throws {
        _ = handle(.partitionsAnnounced(4))
        let reply = try #require(address("gw/-/x"))
        for number in 0..<20 {
            let each = try #require(AgentAddress("gw/a\(number)"))
            #expect(problems(handle(.credentialsRequested(each, reply, fresh("c\(number)")))).isEmpty)
        }
        let again = handle(.credentialsRequested(agent, reply, fresh("again")))
        #expect(problems(again).map(\.type) == [.tooManyRequests])
        let other = try #require(AgentAddress("other/a1"))
        #expect(
            requests(handle(.credentialsRequested(other, try #require(address("other/-/x")), fresh("o")))).count == 1)
    }

    @Test mutating func fullStreamsRefuse() {
        handler.hasRoom = false
        #expect(problems(receive("wake", #"{"agent":"gw/a1"}"#)).map(\.type) == [.unavailable])
    }

    // MARK: Answers

    @Test(arguments: [
        ("provision", #"{"agent":"gw/a1"}"#, true, #"{"record":R,"token":"rc1:gw/a1.secret-r1"}"#),
        ("provision", #"{"agent":"gw/a1"}"#, false, #"{"record":R,"token":null}"#),
        ("rotate-token", #"{"agent":"gw/a1"}"#, true, #"{"record":R,"token":"rc1:gw/a1.secret-r1"}"#),
        ("update", #"{"agent":"gw/a1"}"#, false, #"{"record":R}"#),
        ("wake", #"{"agent":"gw/a1"}"#, false, #"{"record":R}"#),
        ("delete", #"{"agent":"gw/a1"}"#, false, #"{"record":R}"#),
    ])
    mutating func aRecordIsAnswered(verb: String, payload: String, minted: Bool, expected: String) {
        #expect(requests(receive(verb, payload)).count == 1)
        let record = testRecord(agent)
        let text = expected.split(separator: "R", maxSplits: 1).joined(separator: JSON.text(record))
        #expect(answer(.record(record, minted: minted), minted: minted) == ["op:eve/x \(text)"])
        #expect(answer(.record(record, minted: minted), minted: minted) == [])
    }

    @Test mutating func gatewaysAreAnswered() {
        #expect(requests(receive("add-gateway", #"{"gateway":"gw"}"#)).count == 1)
        #expect(
            answer(.gateway("gw", minted: true), minted: true) == [
                #"op:eve/x {"gateway":"gw","token":"rc1:gw.secret-r1"}"#
            ])
        #expect(requests(receive("rotate-token", #"{"gateway":"gw"}"#)).count == 1)
        #expect(answer(.gateway("gw", minted: false)) == [#"op:eve/x {"gateway":"gw","token":null}"#])
        #expect(requests(receive("remove-gateway", #"{"gateway":"gw","force":true}"#)).count == 1)
        #expect(answer(.gatewayRemoved("gw", deletedAgents: 2)) == [#"op:eve/x {"deleted_agents":2,"gateway":"gw"}"#])
    }

    @Test mutating func aRefusalIsAnsweredAsAProblem() throws {
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#)).count == 1)
        let directives = handle(.answered(requestID: "r1", outcome: .refused(.unknownAgent(agent)), mintedToken: nil))
        #expect(problems(directives) == [.unknownAgent(agent)])
    }

    /// The first asking took effect, and its provisioner died with the token's text: the repeat brought another one.
    @Test mutating func anAnswerWithAnotherTokenIsNotTheOneThatIsWaitedFor() {
        #expect(requests(receive("rotate-token", #"{"gateway":"gw"}"#)).count == 1)
        let outcome = CommandOutcome.gateway("gw", minted: true)
        #expect(replies(handle(.answered(requestID: "r1", outcome: outcome, mintedToken: "id-before"), at: 1)) == [])
        #expect(handler.pendingCount == 1)
        #expect(answer(outcome, minted: true) == [#"op:eve/x {"gateway":"gw","token":"rc1:gw.secret-r1"}"#])
    }

    @Test mutating func whoAskedWithoutAResponseTopicIsNotAnswered() {
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#, to: nil)).count == 1)
        #expect(answer(.record(testRecord(agent), minted: false)) == [])
        #expect(handler.pendingCount == 0)
    }

    @Test mutating func theSameKeyWaitsForTheSameAnswer() {
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#, key: "k")).count == 1)
        #expect(receive("wake", #"{"agent":"gw/a1"}"#, key: "k", to: "op:eve/y", id: "r2") == [])
        let text = #"{"record":\#(JSON.text(testRecord(agent)))}"#
        #expect(
            answer(.record(testRecord(agent), minted: false), id: "sha(op:eve\0k)") == [
                "op:eve/x \(text)", "op:eve/y \(text)",
            ])
    }

    @Test mutating func aKeyIsClaimedBeforeItsRequestIsForwarded() throws {
        let first = KeyClaim(
            requestID: "sha(op:eve\0k)", digest: "sha(wake\0{\"agent\":\"gw/a1\"})", provisioner: "1")
        #expect(claim("wake", #"{"agent":"gw/a1"}"#) == [.claim(first)])
        #expect(claim("wake", #"{"agent":"gw/a1"}"#, id: "r2") == [])
        #expect(claim("wake", #"{"agent":"gw/a1"}"#, key: nil, id: "r3").count == 1)
        let forwarded = handle(.claimed(requestID: first.requestID, digest: first.digest))
        #expect(requests(forwarded).map(\.digest) == [first.digest] && forwarded.count == 1)
        #expect(handle(.claimed(requestID: first.requestID, digest: first.digest)) == [])
    }

    @Test mutating func aKeyOfAnotherRequestIsAConflict() {
        #expect(claim("wake", #"{"agent":"gw/a1"}"#).count == 1)
        #expect(claim("wake", #"{"agent":"other-gw/a2"}"#, to: "op:eve/y", id: "r2", at: 1).count == 1)
        let answer = handle(.claimed(requestID: "sha(op:eve\0k)", digest: "sha(wake\0{\"agent\":\"gw/a1\"})"))
        #expect(requests(answer).map(\.command) == [.wake(agent)])
        #expect(problems(answer).map(\.type) == [.conflict])
        #expect(replies(answer).map { $0.hasPrefix("op:eve/y") } == [true])
        #expect(handler.pendingCount == 1)
    }

    @Test mutating func aBoardsPauseIsClaimedOnceForAllPartitions() {
        #expect(claim("pause", #"{"board":"b"}"#).count == 1)
        let forwarded = handle(
            .claimed(requestID: "sha(op:eve\0k)", digest: "sha(pause\0{\"board\":\"b\"})"))
        #expect(requests(forwarded).count == 4)
    }

    @Test mutating func aClaimIsRepeatedUntilTheStoreAnswers() {
        let first = claim("wake", #"{"agent":"gw/a1"}"#, at: 0)
        #expect(handle(.timePassed, at: 0) == [])
        #expect(handle(.timePassed, at: 1) == first)
        #expect(claim("wake", #"{"agent":"gw/a1"}"#, to: "op:eve/y", id: "r2", at: 2) == first)
        #expect(problems(handle(.timePassed, at: 15)).map(\.type) == [.unavailable])
        #expect(problems(handle(.timePassed, at: 17)).map(\.type) == [.unavailable])
        #expect(handler.pendingCount == 0 && handle(.timePassed, at: 18) == [])
    }

    @Test mutating func theOwnerTellsWhichUseOfAKeyWasTheFirst() throws {
        let first = try #require(requests(receive("wake", #"{"agent":"gw/a1"}"#, key: "k")).first)
        let second = try #require(
            requests(receive("wake", #"{"agent":"gw/a2"}"#, key: "k", to: "op:eve/y", id: "r2", at: 1)).first)
        #expect(first.id == second.id && first.digest != second.digest)
        let refusal = CommandOutcome.refused(Problem(.conflict, "it was used"))
        let late = handle(
            .answered(requestID: first.id, digest: "of something before", outcome: refusal, mintedToken: nil), at: 1)
        #expect(late.isEmpty && handler.pendingCount == 2)
        let answer = handle(
            .answered(requestID: first.id, digest: second.digest, outcome: refusal, mintedToken: nil), at: 1)
        #expect(replies(answer).count == 1 && replies(answer)[0].hasPrefix("op:eve/y"))
        let success = CommandOutcome.record(testRecord(agent), minted: false)
        let other = handle(
            .answered(requestID: first.id, digest: first.digest, outcome: success, mintedToken: nil), at: 1)
        #expect(replies(other).count == 1 && replies(other)[0].hasPrefix("op:eve/x"))
        #expect(handler.pendingCount == 0)
    }

    @Test mutating func whoAsksAgainAfterAWhileHasTheRequestForwardedAgain() throws {
        let first = try #require(
            requests(
                receive("provision", #"{"agent":"gw/a1","role":"main"}"#, key: "k", at: 0)
            ).first)
        let again = receive("provision", #"{"agent":"gw/a1","role":"main"}"#, key: "k", id: "r2", at: 1)
        #expect(requests(again) == [first])
        // At once it is only waited for.
        #expect(receive("provision", #"{"agent":"gw/a1","role":"main"}"#, key: "k", id: "r3", at: 1) == [])
        #expect(handler.pendingCount == 1)
    }

    // MARK: Rendering

    @Test mutating func aRenderQuestionSendsTheSameRequestAgain() throws {
        let first = try #require(requests(receive("update", #"{"agent":"gw/a1"}"#)).first)
        let inputs = RenderInputs(role: .worker, board: "b", variables: ["owner": "eve"])
        let again = requests(handle(.answered(requestID: "r1", outcome: .render(inputs), mintedToken: nil), at: 1))
        #expect(again.map(\.rendered) == [RenderedTemplates(inputs: inputs, digest: "gw/a1 eve")])
        #expect(
            again.map(\.id) == [first.id] && again.map(\.digest) == [first.digest]
                && again.map(\.command) == [first.command])
        #expect(answer(.record(testRecord(agent), minted: false)).count == 1)
    }

    @Test mutating func whatCannotBeRenderedIsRefusedByFileLineAndVariable() throws {
        #expect(requests(receive("update", #"{"agent":"gw/a1"}"#)).count == 1)
        let inputs = RenderInputs(role: .worker, board: "b", variables: [:])
        let problem = try #require(
            problems(handle(.answered(requestID: "r1", outcome: .render(inputs), mintedToken: nil))).first)
        #expect(problem.type == .invalidRequest && problem.detail == "t/worker/X.md:1: unknown variable 'owner'")
        #expect(problem.errors.map(\.member) == ["variables.owner"])
        #expect(handler.pendingCount == 0)
    }

    @Test mutating func renderingDoesNotGoOnForEver() {
        #expect(requests(receive("update", #"{"agent":"gw/a1"}"#)).count == 1)
        let outcome = CommandOutcome.render(RenderInputs(role: .worker, board: "b", variables: ["owner": "eve"]))
        for _ in 0..<CommandHandler.renderRoundsMax {
            #expect(requests(handle(.answered(requestID: "r1", outcome: outcome, mintedToken: nil))).count == 1)
        }
        let last = handle(.answered(requestID: "r1", outcome: outcome, mintedToken: nil))
        #expect(problems(last).map(\.type) == [.unavailable])
    }

    // MARK: Boards

    @Test mutating func aBoardsPauseGoesEverywhereAndIsSummed() {
        let forwarded = requests(receive("pause", #"{"board":"b"}"#))
        #expect(forwarded.map(\.id) == ["r1/0", "r1/1", "r1/2", "r1/3"])
        #expect(answer(.paused(2), id: "r1/0") == [])
        #expect(answer(.paused(2), id: "r1/0") == [])
        #expect(answer(.refused(.unknownGateway("x")), id: "r1/1") == [])
        #expect(answer(.paused(0), id: "r1/3") == [])
        #expect(answer(.paused(3), id: "r1/2") == [#"op:eve/x {"paused":5}"#])
    }

    @Test mutating func aBoardsPauseIsRefusedWhenAllRefuse() {
        #expect(requests(receive("resume", #"{"board":"b"}"#)).count == 4)
        for partition in 0..<3 { #expect(answer(.refused(.unknownGateway("x")), id: "r1/\(partition)") == []) }
        let last = handle(.answered(requestID: "r1/3", outcome: .refused(.unknownGateway("y")), mintedToken: nil))
        #expect(problems(last) == [.unknownGateway("x")])
    }

    // MARK: Time

    @Test mutating func anAnswerThatDoesNotComeIsUnavailable() {
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#)).count == 1)
        #expect(handle(.timePassed, at: 14) == [])
        #expect(problems(handle(.timePassed, at: 15)).map(\.type) == [.unavailable])
        #expect(handler.pendingCount == 0)
        #expect(answer(.record(testRecord(agent), minted: false), at: 16) == [])
    }

    @Test mutating func beforeThePartitionsAreKnownCommandsWait() {
        let arrival = arrival("wake", #"{"agent":"gw/a1"}"#, key: nil, to: "op:eve/x", id: "r1")
        #expect(handle(.commandReceived(arrival)) == [])
        #expect(requests(handle(.partitionsAnnounced(4), at: 4)).map(\.id) == ["r1"])
    }

    @Test mutating func withoutAStoreCommandsAreUnavailable() {
        let arrival = arrival("wake", #"{"agent":"gw/a1"}"#, key: nil, to: "op:eve/x", id: "r1")
        #expect(handle(.commandReceived(arrival)) == [])
        #expect(problems(handle(.timePassed, at: 5)).map(\.type) == [.unavailable])
        #expect(handle(.partitionsAnnounced(4), at: 6) == [])
    }

    @Test mutating func aStopTellsWhoeverWaits() {
        #expect(requests(receive("wake", #"{"agent":"gw/a1"}"#)).count == 1)
        #expect(problems(handle(.stopped)).map(\.type) == [.unavailable])
    }

    // MARK: Credentials

    @Test mutating func credentialsAreMintedAsByRotation() throws {
        _ = handle(.partitionsAnnounced(4))
        let reply = try #require(address("gw/x"))
        let forwarded = requests(handle(.credentialsRequested(agent, reply, fresh("r1"))))
        #expect(forwarded.map(\.command) == [.rotateAgentToken(agent, now: false)])
        #expect(
            forwarded.map(\.minted) == [MintedToken(digest: "sha(rc1:gw/a1.secret-r1)", id: Self.tokenID(of: "gw/a1"))])
        #expect(
            answer(.record(testRecord(agent), minted: true), minted: true)
                == [#"gw/x {"token":"rc1:gw/a1.secret-r1","token_id":"sha(rc1:gw/a","username":"gw/a1"}"#])
    }
}
