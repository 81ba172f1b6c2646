internal import API
internal import Model
internal import Storage
internal import Wire

/// Answers what can be looked up, from what is committed: a pure value.
///
/// What is to be committed goes before it: a turn answers for a few milliseconds, a lookup that takes longer goes on in the next.
struct LookupHandler {
    /// How long a turn answers: what is left waits for the next one.
    private static let answerLimit = TimeSpan(milliseconds: 3)
    /// Provisioners' questions that may wait; beyond the limit one is asked again.
    private static let questionsMax = 10_000

    private let repliesPrefix: String
    /// They lie on the way of commands, and are answered first.
    private var questions = Queue<RecordQuestion>()
    /// One of each control-api at a time; what is not answered is asked again.
    private var eventQuestions = Queue<(EventQuestion, ReplyAddress)>()
    private var leases = SinkLeases()
    private var askers = LookupAskers()
    private var running: (asker: String, run: LookupRun)?
    private var answersUntil: Instant?
    private(set) var answered: Int64 = 0
    private(set) var refused: Int64 = 0
    private(set) var overdrafts = Overdrafts()

    /// - Parameter repliesPrefix: what all topics of answers begin with.
    init(repliesPrefix: String) {
        self.repliesPrefix = repliesPrefix
    }

    /// Whether a turn is wanted at once.
    var hasMore: Bool { !questions.isEmpty || !eventQuestions.isEmpty || running != nil || askers.hasNext }

    mutating func received(_ request: LookupRequest, now: Instant, _ output: inout StoreOutput) {
        // What cannot be answered is not looked up.
        guard let asker = asker(of: request.replyTo.topic), !askers.take(request, of: asker) else { return }
        refused += 1
        overdrafts.note(asker, now: now)
        guard askers.mayRefuse(asker) else { return }
        let detail = "\(Limits.requestsUnderWayMax) of your requests are under way"
        answer(request, of: asker, wasTaken: false, .failure(Problem(.tooManyRequests, detail)), &output)
    }

    mutating func received(_ question: RecordQuestion) {
        if questions.count < LookupHandler.questionsMax { questions.append(question) }
    }

    mutating func received(_ question: EventQuestion, _ address: ReplyAddress) {
        guard asker(of: address.topic) != nil, eventQuestions.count < LookupHandler.questionsMax else { return }
        eventQuestions.append((question, address))
    }

    mutating func disconnected() {
        questions = Queue()
        eventQuestions = Queue()
        askers = LookupAskers()
        running = nil
    }

    /// The broker has an answer, or it cannot be published; whether it was one of these.
    mutating func settled(_ ticket: Int) -> Bool { askers.settled(ticket) }

    /// Refuses every lookup that waits; what a provisioner asks is asked again.
    mutating func refuse(_ problem: Problem, _ output: inout StoreOutput) {
        questions = Queue()
        eventQuestions = Queue()
        if let (asker, run) = running { answer(run.request, of: asker, .failure(problem), &output) }
        running = nil
        while let (asker, request) = askers.next() { answer(request, of: asker, .failure(problem), &output) }
    }

    /// Does one step of what waits; whether the turn has time for more.
    mutating func answerNext(_ database: any StatusDatabase, now: Instant, _ output: inout StoreOutput) -> Bool {
        let end = answersUntil ?? now + LookupHandler.answerLimit
        if let question = questions.popFirst() {
            answer(question, database, &output)
        } else if let (question, address) = eventQuestions.popFirst() {
            answer(question, address, database, now, &output)
        } else if running != nil || askers.hasNext {
            stepLookup(database, &output)
        }
        let goesOn = hasMore && now < end
        answersUntil = goesOn ? end : nil
        return goesOn
    }

    // MARK: Answers

    private mutating func stepLookup(_ database: any StatusDatabase, _ output: inout StoreOutput) {
        guard let (asker, begun) = running ?? begin(&output) else { return }
        var run = begun
        running = nil
        do throws(StorageError) {
            if let result = try run.step(database) {
                answer(run.request, of: asker, result, &output)
            } else {
                running = (asker, run)
            }
        } catch {
            output.log(.readFailed(error))
            answer(
                run.request, of: asker, .failure(Problem(.unavailable, "the database could not be read")), &output)
        }
    }

    private mutating func begin(_ output: inout StoreOutput) -> (asker: String, run: LookupRun)? {
        guard let (asker, request) = askers.next() else { return nil }
        do throws(Problem) {
            if let run = try LookupRun(request) { return (asker, run) }
            askers.dropped(asker)
        } catch {
            answer(request, of: asker, .failure(error), &output)
        }
        return nil
    }

    private mutating func answer(
        _ request: LookupRequest, of asker: String, wasTaken: Bool = true, _ result: Result<[UInt8], Problem>,
        _ output: inout StoreOutput
    ) {
        answered += 1
        // Lost with the connection, as the question was: its asker asks again.
        let ticket = output.publishTicketed(.reply(result, to: request.replyTo))
        let bytes = (try? result.get().count) ?? 0  // a refusal is small
        askers.sent(ticket, to: asker, bytes: bytes, wasTaken: wasTaken)
    }

    /// Who asks, by the topic of the answer, as the broker's plugin lets nobody name another's; `nil` when it is no plain topic
    /// (MQTT 5 §4.7.1) below the replies.
    private func asker(of topic: String) -> String? {
        guard topic.hasPrefix(repliesPrefix),
            topic.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#") && $0 != 0 })
        else { return nil }
        return String(topic.dropFirst(repliesPrefix.count).prefix { $0 != "/" })
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

    private mutating func answer(
        _ question: EventQuestion, _ address: ReplyAddress, _ database: any StatusDatabase, _ now: Instant,
        _ output: inout StoreOutput
    ) {
        do throws(StorageError) {
            let last = try database.lastSequence()
            let oldest = try database.events(after: 0, limit: 1).first?.sequence ?? last + 1
            var found: [StoredEvent] = []
            var after = question.after
            if let sink = question.sink {
                after = try leases.position(question, of: sink, asker: address.topic, last: last, database, now: now)
                guard after != nil else { return }
            }
            if let after { found = try database.events(after: after, limit: EventPage.countMax + 1) }
            let page = EventPage(
                oldest: oldest, last: last,
                found.map { .init(sequence: $0.sequence, agent: $0.agent, event: $0.kind, document: $0.event.bytes) })
            answered += 1
            output.publish(.reply(.success(page.bytes), to: address))
        } catch {
            output.log(.readFailed(error))
        }
    }
}
