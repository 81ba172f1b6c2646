internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Answers what can be looked up, from what is committed.
final class LookupDesk {
    /// How long a turn answers: what is left waits for the next one.
    private static let answerLimit = TimeSpan(milliseconds: 200)
    /// Questions that may wait; whoever asks beyond it is told to try again.
    private static let waitingMax = 10_000

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var waiting: [Delivery] = []
    private(set) var answered: Int64 = 0

    static let verbs = Verb.allCases.filter(\.isLookup)

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase) {
        self.runtime = runtime
        self.database = database
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        guard waiting.count < LookupDesk.waitingMax else {
            guard delivery.topic != runtime.topics.lookups else { return }
            return answer(delivery, .failure(Problem(.unavailable, "too many questions wait")), on: connection)
        }
        waiting.append(delivery)
    }

    func disconnected() {
        waiting.removeAll()
    }

    func pump(on connection: Connection) {
        guard !waiting.isEmpty else { return }
        let end = Clock.now() + LookupDesk.answerLimit
        var count = 0
        for delivery in waiting {
            if delivery.topic == runtime.topics.lookups {
                answerQuestion(delivery, on: connection)
            } else {
                answer(delivery, on: connection)
            }
            count += 1
            if Clock.now() >= end { break }
        }
        waiting.removeFirst(count)
        if !waiting.isEmpty { runtime.loop.after(.zero) {} }
    }

    // MARK: Operators

    private func answer(_ delivery: Delivery, on connection: Connection) {
        guard let name = runtime.topics.levels(of: delivery.topic)?.last, let verb = Verb(rawValue: String(name)) else {
            return
        }
        let lookup: Lookup
        do throws(Problem) {
            guard let parsed = try Lookup.parse(verb, delivery.payload) else { return }
            lookup = parsed
        } catch {
            return answer(delivery, .failure(error), on: connection)
        }
        do throws(StorageError) {
            let room = Connection.publicationBytesMax - emptyAnswer(delivery).overhead
            answer(
                delivery, try find(lookup).flatMap { LookupAnswer.fitting($0, to: lookup, bytesMax: room) },
                on: connection)
        } catch {
            report(error)
            answer(delivery, .failure(Problem(.unavailable, "the database could not be read")), on: connection)
        }
    }

    private func answer(_ delivery: Delivery, _ result: Result<[UInt8], Problem>, on connection: Connection) {
        var publication = emptyAnswer(delivery)
        guard isReply(publication.topic) else { return }
        switch result {
        case .success(let bytes):
            publication.payload = bytes
            publication.contentType = jsonContentType
        case .failure(let problem): publication.payload = JSON.bytes(problem)
        }
        answered += 1
        // Lost with the connection, as the question was: its asker asks again.
        _ = try? connection.publish(publication)
    }

    /// A problem that says nothing yet: with what every answer has besides its payload, at most.
    private func emptyAnswer(_ delivery: Delivery) -> Publication {
        var publication = Publication(topic: delivery.responseTopic ?? "", payload: [])
        publication.contentType = Problem.contentType
        publication.correlationData = delivery.correlationData
        return publication
    }

    /// Whether answers may go to this topic: a plain one (MQTT 5 §4.7.1) below the replies.
    private func isReply(_ topic: String) -> Bool {
        topic.hasPrefix(runtime.topics.repliesPrefix)
            && topic.utf8.allSatisfy { $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#") && $0 != 0 }
    }

    // MARK: Provisioners

    private func answerQuestion(_ delivery: Delivery, on connection: Connection) {
        guard let question = try? JSON.decode(RecordQuestion.self, from: delivery.payload) else {
            return runtime.log.event("store.question_unreadable", .error)
        }
        do throws(StorageError) {
            let record = try database.record(of: question.agent)?.decoded()
            let message = ProvisionerMessage.found(questionID: question.questionID, record)
            answered += 1
            // Lost with the connection: the provisioner's question times out and is asked again.
            _ = try? connection.publish(
                Publication(
                    topic: runtime.topics.answers(instance: question.provisioner), payload: JSON.bytes(message)))
        } catch {
            report(error)
        }
    }

    private func report(_ error: StorageError) {
        runtime.log.event("store.read_failed", .error, ["error": LogValue(error)])
    }

    // MARK: What is found

    private func find(_ lookup: Lookup) throws(StorageError) -> Result<[UInt8], Problem> {
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
        case .summary(let gateway): return try summary(gateway)
        case .listGateways:
            let gateways = try database.gateways().map { LookupAnswer.Gateways.Gateway($0.state, agents: $0.agents) }
            return .success(JSON.bytes(LookupAnswer.Gateways(gateways)))
        }
    }

    private func summary(_ gateway: String?) throws(StorageError) -> Result<[UInt8], Problem> {
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
