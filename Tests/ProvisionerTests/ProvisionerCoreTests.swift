import API
import Lifecycle
import Model
import ProvisionerCore
import Streams
import Testing
import Wire

/// What a provisioner does about its connection, its streams, its limits and its end: inputs in, actions out.
struct ProvisionerCoreTests {
    private static let agent = AgentAddress(gateway: "gw", agent: "a")!

    /// A core with what it has asked for.
    private struct Subject {
        var core: ProvisionerCore
        var now = Instant(nanoseconds: 1_000_000_000)
        let time = Timestamp(millisecondsSince1970: 1_700_000_000_000)
        /// Frames that have no acknowledgement yet.
        var sent: [StreamFrame<PartitionMessage>] = []
        var wakes: [WakeHandler.Key] = []
        var (questions, requests): ([String], Int) = ([], 0)

        init(windowMax: Int = 10, unacknowledgedMax: Int = 10) {
            core = ProvisionerCore(
                topics: Topics(), instance: "p", incarnation: "i", files: testFiles(), windowMax: windowMax,
                unacknowledgedMax: unacknowledgedMax
            ) { String(Partition.fnv1a(String(decoding: $0, as: UTF8.self)), radix: 16) }
        }

        /// Hands an input in; what is wanted, in words.
        @discardableResult
        mutating func handle(_ input: ProvisionerInput) -> [String] {
            var actions: [ProvisionerAction] = []
            core.handle(input, now: now, wallTime: time, into: &actions)
            return actions.map { words($0) }
        }

        private mutating func words(_ action: ProvisionerAction) -> String {
            switch action {
            case .subscribe(let what): return "subscribe \(what.map { "\($0)" }.joined(separator: " "))"
            case .unsubscribe(let what): return "unsubscribe \(what.map { "\($0)" }.joined(separator: " "))"
            case .send(let outgoing): return words(outgoing.frame)
            case .claim: return "claim"
            case .ask(let question):
                questions.append(question.questionID)
                return "ask for \(question.agent)"
            case .answer(let reply):
                let problem = reply.isProblem ? try? JSON.decode(Problem.self, from: reply.payload) : nil
                return "answer \(problem?.type.rawValue ?? "done")"
            case .publishWake(let key, let wake, _, _):
                wakes.append(key)
                return "wake \(wake.agent)"
            case .readTemplates, .publishTemplates: return "templates"
            case .sendCanary: return "canary"
            case .log(.replyRefused(let topic)): return "refuse to answer on \(topic)"
            case .log(.unanswered): return "log an answer that is lost"
            case .log(.staleTemplates): return "log stale templates"
            case .fail(let reason): return "fail: \(reason)"
            case .drained: return "drained"
            }
        }

        private mutating func words(_ frame: StreamFrame<PartitionMessage>) -> String {
            guard let body = frame.body else { return "advertise" }
            if !sent.contains(where: { $0.seq == frame.seq }) { sent.append(frame) }
            switch body {
            case .request: return "forward \(frame.seq)"
            case .report(let report):
                switch report.outcome {
                case .woken(_, _, let delivery): return "report \(delivery.rawValue)"
                case .failed: return "report a failure"
                case .expired: return "report expired"
                }
            case .batch, .introduction: return "frame"
            }
        }

        mutating func pass(_ seconds: Double) { now = now + TimeSpan(milliseconds: Int64(seconds * 1_000)) }

        @discardableResult
        mutating func takeAcknowledgements() -> [String] {
            let frames = sent
            sent = []
            return frames.flatMap { frame in
                handle(.acknowledgementReceived(StreamAcknowledgement(id: frame.id, upTo: frame.seq, resendFrom: nil)))
            }
        }

        @discardableResult
        mutating func ask(
            _ topic: String, _ payload: String = #"{"agent":"gw/a"}"#, isRetained: Bool = false,
            answerOn responseTopic: String? = "replies/gw/x", key: String? = nil
        ) -> [String] {
            requests += 1
            let root = Topics.defaultRoot
            return handle(
                .requestReceived(
                    ProvisionerRequest(
                        topic: "\(root)/\(topic)", payload: Array(payload.utf8), isRetained: isRetained,
                        responseTopic: responseTopic.map { "\(root)/\($0)" }, correlation: [1], idempotencyKey: key,
                        traceparent: nil, fresh: fresh("request-\(requests)"))))
        }

        /// The store answers the request of this number.
        @discardableResult
        mutating func answer(_ number: Int) -> [String] {
            handle(
                .answerReceived(
                    .answer(
                        requestID: "request-\(number)", digest: nil,
                        outcome: .record(testRecord(ProvisionerCoreTests.agent), minted: false), mintedToken: nil)))
        }

        @discardableResult
        mutating func order(publication: Int = 1, age: Int64 = 0) -> [String] {
            let order = WakeOrder(
                agent: ProvisionerCoreTests.agent, generation: 1, attempt: 1, publication: publication, maxAttempts: 3,
                reason: .provision, checkinDeadline: DurationText(10, .seconds),
                heartbeatInterval: DurationText(10, .seconds), resetSession: false, templatesDigest: nil,
                role: .main, board: nil, variables: [:], traceparent: nil)
            return handle(.orderReceived(OrderMessage(order: order, age: age)))
        }

        @discardableResult
        mutating func hear(_ service: ServiceName = .statusStore, partitions: Int?) -> [String] {
            var presence = Presence(
                service: service, instance: "1", state: .running, startedAt: time, configDigest: "", incarnation: "s")
            presence.partitionCount = partitions
            return handle(.presenceReceived(presence))
        }
    }

    /// Connected, with one partition.
    private func ready(windowMax: Int = 10, unacknowledgedMax: Int = 10) -> Subject {
        var subject = Subject(windowMax: windowMax, unacknowledgedMax: unacknowledgedMax)
        subject.handle(.connected)
        subject.hear(partitions: 1)
        return subject
    }

    // MARK: The connection

    @Test func itTakesOrdersOnceItKnowsThePartitions() {
        var subject = Subject()
        #expect(subject.handle(.connected) == ["subscribe own requests"])
        #expect(subject.hear(.reconciler, partitions: 1) == [], "the store alone says so")
        #expect(subject.hear(partitions: nil) == [])
        #expect(subject.hear(partitions: 0) == [])
        #expect(subject.hear(partitions: Partition.countMax + 1) == [])
        #expect(subject.hear(partitions: 1) == ["subscribe orders"])
        #expect(subject.hear(partitions: 1) == [])
        subject.handle(.disconnected)
        #expect(subject.handle(.connected) == ["subscribe own requests orders"])
    }

    @Test func anotherNumberOfPartitionsIsItsEnd() {
        var subject = ready()
        #expect(subject.hear(partitions: 2) == ["fail: the store has 2 partitions, it had 1"])
    }

    @Test func commandsWaitForTheNumberOfPartitions() {
        var subject = Subject()
        subject.handle(.connected)
        #expect(subject.ask("commands/wake") == [])
        #expect(subject.hear(partitions: 1) == ["subscribe orders", "forward 1"])
    }

    @Test func whatHasNoAcknowledgementComesAgainOnTheNextConnection() {
        var subject = ready()
        #expect(subject.ask("commands/wake") == ["forward 1"])
        #expect(subject.handle(.disconnected) == [])
        subject.pass(2)
        #expect(subject.handle(.ticked) == [], "there is nobody to send to")
        #expect(subject.handle(.connected) == ["subscribe own requests orders", "forward 1"])
        subject.takeAcknowledgements()
        subject.pass(2)
        #expect(subject.handle(.ticked) == [])
    }

    // MARK: Requests

    @Test func aRetainedRequestIsNone() {
        var subject = ready()
        #expect(subject.ask("commands/wake", isRetained: true) == [])
        #expect(subject.ask("agents/gw/a/files", isRetained: true) == [])
        #expect(subject.core.counters.commands == 0)
    }

    @Test(arguments: [
        "commands", "commands/wake/now", "agents/gw/files", "agents/gw/a/heartbeat", "gateways/gw/status",
    ])
    func otherTopicsAreNotRequests(topic: String) {
        var subject = ready()
        #expect(subject.ask(topic) == [])
        #expect(subject.core.counters.commands == 0)
    }

    @Test(arguments: ["agents/gw/a/wake", "replies/op:eve/" + String(repeating: "x", count: 1_010)])
    func aCommandThatCannotBeAnsweredIsNotDone(_ topic: String) {
        var subject = ready()
        #expect(subject.ask("commands/wake", answerOn: topic) == ["refuse to answer on rollcall/v1/\(topic)"])
        // Without a response topic it is done, and its key, which is nobody's, counts nothing.
        for number in 1...2 { #expect(subject.ask("commands/wake", answerOn: nil, key: "k") == ["forward \(number)"]) }
    }

    @Test(arguments: ["files", "credentials"])
    func whatAnAgentAsksForIsAnsweredBelowItsGatewayOnly(what: String) {
        var subject = ready()
        let actions = subject.ask("agents/gw/a/\(what)", answerOn: "replies/other/x")
        #expect(actions == ["refuse to answer on rollcall/v1/replies/other/x"])
        #expect(subject.ask("agents/gw/a/\(what)", answerOn: nil) == [])
    }

    @Test func filesAreRenderedFromTheRecord() {
        var subject = ready()
        #expect(subject.ask("agents/gw/a/files") == ["ask for gw/a"])
        let record = ProvisionerMessage.found(questionID: subject.questions[0], nil)
        #expect(subject.handle(.answerReceived(record)) == ["answer unknown-agent"])
        #expect(subject.handle(.answerReceived(record)) == [], "once")
    }

    @Test func credentialsAreAskedOfTheOwner() {
        var subject = ready()
        #expect(subject.ask("agents/gw/a/credentials") == ["forward 1"])
        #expect(subject.core.counters.commands == 0 && subject.core.counters.pending == 1)
    }

    @Test func aKeyIsClaimedFirst() {
        var subject = ready()
        #expect(subject.ask("commands/wake", key: "k") == ["claim"])
        subject.pass(1.1)
        #expect(subject.handle(.ticked) == ["claim"], "a claim may be lost")
    }

    @Test func anAnswerThatIsTooLargeSaysSo() {
        var subject = ready()
        let large = Problem(.unavailable, String(repeating: "x", count: FilesHandler.answerBytesMax))
        let actions = subject.handle(.answerRefused(Reply(address("gw/x")!, large), reason: "too large"))
        #expect(actions == ["log an answer that is lost", "answer too-large"])
        let small = Problem(.unavailable, "x")
        #expect(
            subject.handle(.answerRefused(Reply(address("gw/x")!, small), reason: "not connected"))
                == ["log an answer that is lost"])
    }

    // MARK: Limits

    @Test func commandsAreRefusedWhileTooManyFramesHaveNoAcknowledgement() {
        var subject = ready(unacknowledgedMax: 2)
        for number in 1...2 {
            #expect(subject.ask("commands/wake") == ["forward \(number)"])
            #expect(subject.answer(number) == ["answer done"], "nothing is pending")
        }
        #expect(subject.ask("commands/wake") == ["answer unavailable"])
        #expect(subject.ask("agents/gw/a/credentials") == ["answer unavailable"])
        subject.takeAcknowledgements()
        #expect(subject.ask("commands/wake") == ["forward 3"])
    }

    @Test func theWindowOfAPartitionIsKept() {
        var subject = ready(windowMax: 2)
        subject.ask("commands/wake")
        subject.ask("commands/wake")
        #expect(subject.ask("commands/wake") == [])
        #expect(subject.takeAcknowledgements() == ["forward 3"])
    }

    // MARK: Wakes

    @Test func aWakeIsReportedOnceTheBrokerHasIt() {
        var subject = ready()
        #expect(subject.order() == ["wake gw/a"])
        #expect(subject.handle(.wakeHandedOver(subject.wakes[0], ticket: 7)) == [])
        #expect(subject.handle(.acknowledged(ticket: 8, reason: 0)) == [], "something else")
        #expect(subject.handle(.acknowledged(ticket: 7, reason: 0x10)) == ["report no_subscriber"])
        #expect(subject.handle(.acknowledged(ticket: 7, reason: 0)) == [])
        #expect(subject.core.counters.deliveries == [.noSubscriber: 1] && subject.core.counters.orders == 1)
    }

    @Test func anOldOrderIsReportedAsExpired() {
        var subject = ready()
        #expect(subject.order(age: WakeOrder.lifetime.milliseconds + 1) == ["report expired"])
        #expect(subject.core.counters.deliveries == [.expired: 1])
    }

    @Test func aWakeThatNoConnectionTakesIsForgotten() {
        var subject = ready()
        subject.order()
        #expect(subject.order() == [], "it is under way")
        subject.handle(.wakeHandedOver(subject.wakes[0], ticket: nil))
        #expect(subject.order() == ["wake gw/a"])
    }

    @Test func anAcknowledgementOfAnotherSessionSaysNothing() {
        var subject = ready()
        subject.order()
        subject.handle(.wakeHandedOver(subject.wakes[0], ticket: 7))
        subject.handle(.disconnected)
        subject.handle(.connected)
        #expect(subject.order() == ["wake gw/a"])
        #expect(subject.handle(.acknowledged(ticket: 7, reason: 0)) == [])
    }

    /// The turns of a stop.
    private func stop(_ subject: inout Subject) -> [String] {
        subject.handle(.stopRequested) + subject.handle(.turnEnded)
    }

    @Test func aCleanEndReadsWhatTheBrokerHasForIt() {
        var subject = ready()
        #expect(stop(&subject) == ["unsubscribe requests orders", "canary"])
        #expect(stop(&subject) == [], "its canary is not back")
        subject.handle(.canaryReceived)
        #expect(stop(&subject) == ["drained"])
        #expect(stop(&subject) == [])
    }

    @Test func aCanaryBeforeAStopProvesNothing() {
        var subject = ready()
        subject.handle(.canaryReceived)
        subject.handle(.stopRequested)
        #expect(stop(&subject) == [])
    }

    @Test func aCleanEndAnswersWhatItWasGiven() {
        var subject = ready()
        subject.handle(.stopRequested)
        #expect(subject.ask("commands/wake") == ["forward 1"])
        #expect(subject.ask("agents/gw/a/files") == ["ask for gw/a"])
        subject.handle(.canaryReceived)
        #expect(subject.answer(1) == ["answer done"])
        #expect(stop(&subject) == [], "the files are not answered")
        subject.handle(.answerReceived(.found(questionID: subject.questions[0], nil)))
        #expect(stop(&subject) == [], "the request has no acknowledgement")
        subject.takeAcknowledgements()
        #expect(stop(&subject) == ["drained"])
    }

    @Test func aCleanEndReportsItsWakes() {
        var subject = ready()
        subject.order()
        subject.handle(.wakeHandedOver(subject.wakes[0], ticket: 7))
        subject.handle(.stopRequested)
        subject.handle(.canaryReceived)
        #expect(stop(&subject) == [], "the broker has not acknowledged the wake")
        #expect(subject.handle(.acknowledged(ticket: 7, reason: 0)) == ["report accepted"])
        #expect(stop(&subject) == [], "the report has no acknowledgement")
        subject.takeAcknowledgements()
        #expect(stop(&subject) == ["drained"])
    }

    @Test func whoeverStillWaitsAfterThreeSecondsIsTold() {
        var subject = ready()
        subject.ask("commands/wake")
        subject.ask("agents/gw/a/files")
        subject.handle(.stopRequested)
        subject.handle(.canaryReceived)
        subject.pass(2.9)
        #expect(stop(&subject) == [])
        subject.pass(0.2)
        #expect(stop(&subject) == ["answer unavailable", "answer unavailable"])
        #expect(stop(&subject) == [], "the request has no acknowledgement: this is no clean end")
        subject.takeAcknowledgements()
        #expect(stop(&subject) == ["drained"])
    }

    @Test func aBrokerThatHandsNothingOverHasNotBeenRead() {
        var subject = ready()
        subject.handle(.stopRequested)
        subject.pass(3.1)
        #expect(stop(&subject) == [])
        subject.handle(.canaryReceived)
        #expect(stop(&subject) == ["drained"])
    }

    @Test func whileItDrainsItTakesNothingNew() {
        var subject = Subject()
        subject.handle(.connected)
        subject.handle(.stopRequested)
        #expect(subject.hear(partitions: 1) == [])
        #expect(subject.handle(.disconnected) == [])
        #expect(subject.handle(.connected) == ["subscribe own"])
    }

    @Test func withoutAConnectionThereIsNothingToRead() {
        var subject = ready()
        subject.handle(.disconnected)
        #expect(stop(&subject) == ["drained"])
    }

    @Test func whatWasReadIsLostWithItsConnection() {
        var subject = ready()
        subject.order()
        subject.handle(.wakeHandedOver(subject.wakes[0], ticket: 7))
        #expect(stop(&subject) == ["unsubscribe requests orders", "canary"])
        subject.handle(.disconnected)
        #expect(stop(&subject) == ["drained"])
    }
}
