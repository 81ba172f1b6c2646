internal import Contract
public import Lifecycle

/// Answers agents and gateways that ask for an agent's files: rendered anew from the committed record.
public struct FilesDesk: Sendable {
    /// How long the store has to find the record.
    public static let answerLimit = TimeSpan.seconds(15)
    public static let pendingMax = 10_000
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

    private let files: AgentFiles
    private var pending: [String: (agent: AgentAddress, reply: ReplyAddress, deadline: Instant)] = [:]

    public init(files: AgentFiles) {
        self.files = files
    }

    public var pendingCount: Int { pending.count }

    public mutating func handle(_ event: Event, now: Instant, into directives: inout [Directive]) {
        switch event {
        case .filesRequested(let agent, let reply, let questionID):
            guard pending.count < FilesDesk.pendingMax else {
                return directives.append(
                    .answer(Reply(reply, Problem(.unavailable, "too many requests wait for their answers"))))
            }
            pending[questionID] = (agent, reply, now + FilesDesk.answerLimit)
            directives.append(.ask(questionID: questionID, agent))
        case .recordFound(let questionID, let record):
            // Forgotten, or another life's: whoever asked was told.
            guard let question = pending.removeValue(forKey: questionID) else { return }
            directives.append(.answer(answer(question.agent, record, to: question.reply)))
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
            guard answer.payload.count <= FilesDesk.answerBytesMax else {
                return Reply(reply, Problem(.tooLarge, "the files have \(answer.payload.count) bytes as JSON"))
            }
            return answer
        } catch {
            return Reply(reply, Problem(.unavailable, "the files cannot be rendered: \(error.description)"))
        }
    }

    private mutating func expire(where isOver: (Instant) -> Bool, _ directives: inout [Directive]) {
        for (questionID, question) in pending where isOver(question.deadline) {
            pending[questionID] = nil
            directives.append(
                .answer(Reply(question.reply, Problem(.unavailable, "the status store did not answer in time"))))
        }
    }
}
