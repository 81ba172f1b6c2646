internal import Contract
internal import Lifecycle
internal import Storage

/// Answers what can be looked up, from what is committed: a pure value.
struct LookupHandler {
    /// How long a turn answers: what is left waits for the next one.
    private static let answerLimit = TimeSpan(milliseconds: 200)
    /// Questions that may wait; whoever asks beyond it is told to try again.
    private static let waitingMax = 10_000

    private enum Question {
        case lookup(LookupRequest)
        /// A provisioner's; beyond the limit it is asked again.
        case record(RecordQuestion)
    }

    private let repliesPrefix: String
    private var waiting = Queue<Question>()
    private var answersUntil: Instant?
    private(set) var answered: Int64 = 0

    /// - Parameter repliesPrefix: what all topics of answers begin with.
    init(repliesPrefix: String) {
        self.repliesPrefix = repliesPrefix
    }

    /// Whether a turn is wanted at once.
    var hasMore: Bool { !waiting.isEmpty }

    mutating func received(_ request: LookupRequest, _ output: inout StoreOutput) {
        guard waiting.count < LookupHandler.waitingMax else {
            return answer(request, .failure(Problem(.unavailable, "too many questions wait")), &output)
        }
        waiting.append(.lookup(request))
    }

    mutating func received(_ question: RecordQuestion) {
        if waiting.count < LookupHandler.waitingMax { waiting.append(.record(question)) }
    }

    mutating func disconnected() {
        waiting = Queue()
    }

    /// Refuses every lookup that waits; what a provisioner asks is asked again.
    mutating func refuse(_ problem: Problem, _ output: inout StoreOutput) {
        while let question = waiting.popFirst() {
            if case .lookup(let request) = question { answer(request, .failure(problem), &output) }
        }
    }

    /// Answers the next question; whether the turn has time for more.
    mutating func answerNext(_ database: any StatusDatabase, now: Instant, _ output: inout StoreOutput) -> Bool {
        let end = answersUntil ?? now + LookupHandler.answerLimit
        switch waiting.popFirst() {
        case .lookup(let request): answer(request, database, &output)
        case .record(let question): answer(question, database, &output)
        case nil: break
        }
        let goesOn = !waiting.isEmpty && now < end
        answersUntil = goesOn ? end : nil
        return goesOn
    }

    // MARK: Answers

    private mutating func answer(
        _ request: LookupRequest, _ database: any StatusDatabase, _ output: inout StoreOutput
    ) {
        let lookup: Lookup
        do throws(Problem) {
            guard let parsed = try Lookup.parse(request.verb, request.payload) else { return }
            lookup = parsed
        } catch {
            return answer(request, .failure(error), &output)
        }
        do throws(StorageError) {
            let found = try LookupHandler.find(lookup, in: database)
            let fitting = found.flatMap { LookupAnswer.fitting($0, to: lookup, bytesMax: request.answerBytesMax) }
            answer(request, fitting, &output)
        } catch {
            output.log(.readFailed(error))
            answer(request, .failure(Problem(.unavailable, "the database could not be read")), &output)
        }
    }

    private mutating func answer(
        _ request: LookupRequest, _ result: Result<[UInt8], Problem>, _ output: inout StoreOutput
    ) {
        guard isReply(request.replyTo.topic) else { return }
        answered += 1
        // Lost with the connection, as the question was: its asker asks again.
        output.publish(.reply(result, to: request.replyTo))
    }

    /// Whether answers may go to this topic: a plain one (MQTT 5 §4.7.1) below the replies.
    private func isReply(_ topic: String) -> Bool {
        topic.hasPrefix(repliesPrefix)
            && topic.utf8.allSatisfy { $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#") && $0 != 0 }
    }

    private mutating func answer(
        _ question: RecordQuestion, _ database: any StatusDatabase, _ output: inout StoreOutput
    ) {
        do throws(StorageError) {
            let record = try database.record(of: question.agent)?.decoded()
            answered += 1
            // Lost with the connection: the provisioner's question times out and is asked again.
            output.publish(
                .answer(
                    Carried(.found(questionID: question.questionID, record)), provisioner: question.provisioner))
        } catch {
            output.log(.readFailed(error))
        }
    }

    // MARK: What is found

    private static func find(
        _ lookup: Lookup, in database: any StatusDatabase
    ) throws(StorageError) -> Result<[UInt8], Problem> {
        switch lookup {
        case .get(let agent):
            guard let record = try database.record(of: agent) else { return .failure(.unknownAgent(agent)) }
            return .success(LookupAnswer.record(record.bytes))
        case .list(let filter, let after, let limit):
            if let gateway = filter.gateway, try !database.hasGateway(gateway) {
                return .failure(.unknownGateway(gateway))
            }
            let records = try database.records(filter, after: after, limit: limit + 1)
            return .success(
                LookupAnswer.page("records", records.map(\.record.bytes), limit: limit) { last in
                    records[last].agent.description
                })
        case .history(let agent, let before, let limit):
            guard try database.hasKnown(agent) else { return .failure(.unknownAgent(agent)) }
            let events = try database.history(of: agent, before: before, limit: limit + 1)
            return .success(
                LookupAnswer.page("events", events.map(\.event.bytes), limit: limit) { last in
                    String(events[last].sequence)
                })
        case .summary(let gateway): return try summary(gateway, in: database)
        case .listGateways:
            let gateways = try database.gateways().map { LookupAnswer.Gateways.Gateway($0.state, agents: $0.agents) }
            return .success(JSON.bytes(LookupAnswer.Gateways(gateways)))
        }
    }

    private static func summary(
        _ gateway: String?, in database: any StatusDatabase
    ) throws(StorageError) -> Result<[UInt8], Problem> {
        if let gateway, try !database.hasGateway(gateway) { return .failure(.unknownGateway(gateway)) }
        var gateways = gateway.map { [$0] } ?? []
        if gateway == nil { gateways = try database.gatewayNames() }
        var summary = LookupAnswer.Summary(gateways: gateways)
        for count in try database.counts(gateway: gateway) {
            summary.add(count.count, count.status, gateway: count.gateway)
        }
        return .success(summary.bytes)
    }
}
