public import API
public import Model

/// Answers agents and gateways that ask for an agent's files: rendered anew from the committed record.
public struct FilesHandler: Sendable {
    /// How long the store has to find the record.
    public static let answerLimit = TimeSpan.seconds(15)
    public static let pendingMax = 50_000
    /// Questions of one asker that the store has at a time; the others wait behind them.
    public static let askedMax = 16
    /// The largest answer, with room for its properties below the broker's packet size.
    public static let answerBytesMax = 1_990_000

    public enum Event: Sendable {
        /// Somebody asked for the files of an agent; `questionID` is new.
        case filesRequested(AgentAddress, ReplyAddress, questionID: String)
        case recordFound(questionID: String, AgentRecord?)
        case timePassed
        case stopped
    }

    public enum Directive: Hashable, Sendable {
        /// Ask the store for the committed record.
        case ask(questionID: String, AgentAddress)
        case answer(Reply)
    }

    var files: AgentFiles
    private let repliesPrefix: String
    private var pending: [String: Question] = [:]
    private var askers = Askers<String>(inWorkMax: FilesHandler.askedMax)
    /// Requests under way for each agent.
    private var underWay: [AgentAddress: Int] = [:]

    private struct Question: Sendable {
        let agent: AgentAddress
        let reply: ReplyAddress
        let asker: String
        let deadline: Instant
        /// The store was asked.
        var isAsked = false
    }

    public init(files: AgentFiles, topics: Topics) {
        self.files = files
        repliesPrefix = topics.repliesPrefix
    }

    public var pendingCount: Int { pending.count }

    public mutating func handle(_ event: Event, now: Instant, into directives: inout [Directive]) {
        switch event {
        case .filesRequested(let agent, let reply, let questionID):
            request(questionID, agent, reply, now, &directives)
        case .recordFound(let questionID, let record):
            // Forgotten, or another incarnation's: whoever asked was told.
            guard let question = remove(questionID) else { return }
            directives.append(.answer(answer(question.agent, record, to: question.reply)))
            takeTurns(question.asker, &directives)
        case .timePassed: expire(where: { $0 <= now }, &directives)
        case .stopped: expire(where: { _ in true }, &directives)
        }
    }

    private func answer(_ agent: AgentAddress, _ record: AgentRecord?, to reply: ReplyAddress) -> Reply {
        guard let record, record.address == agent else { return Reply(reply, Problem.unknownAgent(agent)) }
        do {
            let (rendered, digest) = try files.render(
                agent, role: record.role, board: record.board, variables: record.variables)
            let answer = Reply(
                reply,
                FilesAnswer(
                    templatesDigest: digest,
                    files: rendered.map { .init(name: $0.name, content: $0.content, preserve: $0.preserve) }))
            guard answer.payload.count <= FilesHandler.answerBytesMax else {
                return Reply(reply, Problem(.tooLarge, "the files have \(answer.payload.count) bytes as JSON"))
            }
            return answer
        } catch {
            return Reply(reply, Problem(.unavailable, "the files cannot be rendered: \(error.description)"))
        }
    }

    private mutating func request(
        _ questionID: String, _ agent: AgentAddress, _ reply: ReplyAddress, _ now: Instant,
        _ directives: inout [Directive]
    ) {
        let asker = reply.asker(for: agent, below: repliesPrefix)
        // A gateway has one more for each agent of which none is under way.
        guard
            askers.underWay(asker) < Limits.agentRequestsUnderWayMax || asker == agent.gateway && underWay[agent] == nil
        else { return directives.append(.answer(Reply(reply, CommandHandler.tooMany))) }
        guard pending.count < FilesHandler.pendingMax else {
            return directives.append(
                .answer(Reply(reply, Problem(.unavailable, "too many requests wait for their answers"))))
        }
        pending[questionID] = Question(
            agent: agent, reply: reply, asker: asker, deadline: now + FilesHandler.answerLimit)
        underWay[agent, default: 0] += 1
        askers.began(asker)
        if askers.take(questionID, of: asker) { ask(questionID, &directives) }
    }

    private mutating func ask(_ questionID: String, _ directives: inout [Directive]) {
        guard let question = pending[questionID] else { return }
        pending[questionID]?.isAsked = true
        directives.append(.ask(questionID: questionID, question.agent))
    }

    private mutating func takeTurns(_ asker: String, _ directives: inout [Directive]) {
        while let questionID = askers.next(of: asker) {
            if pending[questionID] == nil { askers.worked(asker) } else { ask(questionID, &directives) }
        }
    }

    private mutating func remove(_ questionID: String) -> Question? {
        guard let question = pending.removeValue(forKey: questionID) else { return nil }
        let count = (underWay[question.agent] ?? 0) - 1
        underWay[question.agent] = count > 0 ? count : nil
        if question.isAsked { askers.worked(question.asker) }
        askers.ended(question.asker)
        return question
    }

    private mutating func expire(where isOver: (Instant) -> Bool, _ directives: inout [Directive]) {
        var expired: Set<String> = []
        for (questionID, question) in pending where isOver(question.deadline) {
            _ = remove(questionID)
            expired.insert(question.asker)
            directives.append(
                .answer(Reply(question.reply, Problem(.unavailable, "the status store did not answer in time"))))
        }
        for asker in expired { takeTurns(asker, &directives) }
    }
}
