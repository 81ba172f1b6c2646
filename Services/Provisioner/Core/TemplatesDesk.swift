internal import Contract
internal import Lifecycle

/// Tells runtimes of newer templates until each has reported them, paced.
///
/// It looks at the committed record before it says anything, so that nobody is told who knows. What it has to say is in memory
/// only: an agent that was not told, because this process ended, gets the digest with its next wake.
struct TemplatesDesk: Sendable {
    /// Records looked at, and so messages published, in one tick of 200 ms.
    static let perTickMax = 10
    /// Between two messages to one agent, doubled up to the longest.
    static let interval = TimeSpan.seconds(5)
    static let longestInterval = TimeSpan.seconds(60)
    static let questionPrefix = "templates:"

    private struct Notice: Sendable {
        let message: TemplatesMessage
        let number: Int
        var sent = 0
        var dueAt: Instant
    }

    private var notices: [AgentAddress: Notice] = [:]
    private var numbers = 0
    /// In the order in which they come up; what was replaced or is done is skipped.
    private var queue = Queue<(agent: AgentAddress, number: Int)>()

    mutating func add(_ message: TemplatesMessage, _ now: Instant) {
        numbers += 1
        notices[message.agent] = Notice(message: message, number: numbers, dueAt: now)
        queue.append((message.agent, numbers))
    }

    /// Whose records are to be looked at now.
    mutating func take(_ now: Instant) -> [AgentAddress] {
        var agents: [AgentAddress] = []
        var looked = 0
        let waiting = queue.count
        while agents.count < TemplatesDesk.perTickMax, looked < waiting, let next = queue.popFirst() {
            looked += 1
            guard let notice = notices[next.agent], notice.number == next.number else { continue }
            queue.append(next)
            if notice.dueAt <= now {
                agents.append(next.agent)
                let wait = min(
                    TemplatesDesk.longestInterval.milliseconds,
                    TemplatesDesk.interval.milliseconds << Int64(min(notice.sent, 5)))
                notices[next.agent]?.dueAt = now + TimeSpan(milliseconds: wait)
            }
        }
        return agents
    }

    /// What is to be said of an agent with this record; `nil` when it needs to be told no more.
    mutating func found(_ agent: AgentAddress, _ record: AgentRecord?) -> TemplatesMessage? {
        guard let notice = notices[agent] else { return nil }
        let isDone = record?.templatesDigestReported == notice.message.templatesDigest
        let isForced = notice.sent == 0 && (notice.message.overwrite || notice.message.resetSession)
        guard let record, record.status != .deleting, record.templatesDigest == notice.message.templatesDigest,
            !isDone || isForced,
            // Nobody runs it who could report: its next wake says it.
            record.status != .offline || notice.sent == 0
        else {
            notices[agent] = nil
            return nil
        }
        notices[agent]?.sent += 1
        return notice.message
    }
}
