internal import API
internal import Lifecycle
internal import Model

/// Tells runtimes of newer templates until each has reported them, paced.
///
/// It looks at the committed record before it says anything, so that nobody is told who knows. What it has to say is in memory
/// only: an agent that was not told, because this process ended, gets the digest with its next wake.
struct TemplatesHandler: Sendable {
    /// Records looked at, and so messages published, in one tick of 200 ms.
    static let perTickMax = 30
    /// Between two messages to one agent, doubled up to the longest.
    static let interval = TimeSpan.seconds(5)
    static let longestInterval = TimeSpan.seconds(60)
    /// How often a runtime is asked to fetch a new token: who has the files and does not ask for one runs no gateway.
    static let rotationsMax = 6
    static let questionPrefix = "templates:"

    private struct Notice: Sendable {
        let message: TemplatesMessage
        let number: Int
        var sent = 0
        /// The token that is to be replaced, once the record was looked at.
        var replacedToken: String??
    }

    private var notices: [AgentAddress: Notice] = [:]
    private var numbers = 0
    /// Whose the notices of these numbers are.
    private var agents: [Int: AgentAddress] = [:]
    /// A slot is a notice's number; what was replaced or is done is skipped when it comes up.
    private var deadlines = DeadlineQueue()

    mutating func add(_ message: TemplatesMessage, _ now: Instant) {
        numbers += 1
        notices[message.agent] = Notice(message: message, number: numbers)
        agents[numbers] = message.agent
        deadlines.push(.init(due: now, slot: numbers, generation: 0))
    }

    /// Whose records are to be looked at now.
    mutating func take(_ now: Instant) -> [AgentAddress] {
        var due: [AgentAddress] = []
        while due.count < TemplatesHandler.perTickMax, let entry = deadlines.pop(dueAt: now) {
            guard let agent = agents[entry.slot], let notice = notices[agent], notice.number == entry.slot else {
                agents[entry.slot] = nil
                continue
            }
            due.append(agent)
            let wait = min(
                TemplatesHandler.longestInterval.milliseconds,
                TemplatesHandler.interval.milliseconds << Int64(min(notice.sent, 5)))
            deadlines.push(.init(due: now + TimeSpan(milliseconds: wait), slot: entry.slot, generation: 0))
        }
        return due
    }

    /// What is to be said of an agent with this record; `nil` when it needs to be told no more.
    mutating func found(_ agent: AgentAddress, _ record: AgentRecord?) -> TemplatesMessage? {
        guard let notice = notices[agent] else { return nil }
        let message = notice.message
        let isInStep = record?.templatesDigestReported == message.templatesDigest
        let replacedToken = notice.replacedToken ?? record?.tokenID
        notices[agent]?.replacedToken = .some(replacedToken)
        let isRotated = message.rotateToken == nil || record?.tokenID != replacedToken
        let isForced = notice.sent == 0 && (message.overwrite || message.resetSession)
        guard let record, record.status != .deleting, record.templatesDigest == message.templatesDigest,
            !isInStep || isForced || (!isRotated && notice.sent < TemplatesHandler.rotationsMax),
            // Nobody runs it who could report: its next wake says it.
            record.status != .offline || notice.sent == 0
        else {
            notices[agent] = nil
            return nil
        }
        notices[agent]?.sent += 1
        guard message.rotateToken != nil, notice.sent > 0 else { return message }
        // What was done is not asked for again.
        return TemplatesMessage(
            agent: agent, templatesDigest: message.templatesDigest, overwrite: message.overwrite && !isInStep,
            resetSession: message.resetSession && !isInStep, rotateToken: isRotated ? nil : message.rotateToken)
    }
}
