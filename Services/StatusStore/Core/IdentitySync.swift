internal import Model
internal import Storage

/// Who keeps strangers out of the broker.
public enum AccessMode: String, CaseIterable, Sendable {
    /// The access plugin, whose answer is waited for.
    case plugin
    /// Nobody that this store knows of: tokens count only where they are shown to Rollcall itself.
    case none
}

/// Tells the broker, after each connection and before anything else, everybody who may connect, with the overlaps of tokens
/// that last: it may have forgotten them, or never have heard of them. A pure value.
///
/// A broker without the plugin acknowledges the table, too. So a question goes behind it that the plugin itself answers: what
/// is acknowledged on this connection from then on, it has applied.
struct IdentitySync {
    /// Without an answer for so long there is no plugin.
    private static let answerLimit = TimeSpan.seconds(5)
    private static let pageSize = 5_000
    /// Messages under way at once.
    private static let windowMax = 3
    private static let retryAfter = TimeSpan.seconds(1)
    /// Used tokens noted in one turn, but for those of one message: the others are told of again.
    private static let usedMax = 10_000

    private let mode: AccessMode
    /// Tells our questions from those of other incarnations.
    private let name: String
    private var used: [UsedToken] = []
    private var table = AccessControl.Table()
    private var lastUsername: String?
    private var isRead = true
    private var ready: [StoreMessage] = []
    private var tickets: Set<Int> = []
    private var questions = 0
    private var askedAt: Instant?
    private var isAnswered = false
    private var retryAt: Instant?
    private var refusals = RefusalLog()
    private var silences = RefusalLog()
    /// Whether the plugin has the whole table of this connection.
    private(set) var isDone = false
    /// Whether a plugin has answered in this incarnation and is not missed.
    private(set) var isProven: Bool
    /// Why nothing is served, for people; `nil` when something is, or it is not known yet.
    private(set) var trouble: String?

    init(_ mode: AccessMode, name: String) {
        self.mode = mode
        self.name = name
        isProven = mode == .none
    }

    /// When a turn is wanted.
    var wakeAt: Instant? { isDone ? nil : retryAt ?? askedAt.map { $0 + IdentitySync.answerLimit } }

    /// Begins anew, for a new connection.
    mutating func begin() {
        table = AccessControl.Table()
        lastUsername = nil
        isRead = false
        ready = []
        tickets = []
        (askedAt, isAnswered) = (nil, false)
        retryAt = nil
        isDone = mode == .none
    }

    mutating func pump(
        _ database: any StatusDatabase, now: Instant, wallTime: Timestamp, _ output: inout StoreOutput
    ) throws(StorageError) {
        guard !isDone, retryAt.map({ $0 <= now }) ?? true else { return }
        if let askedAt, !isAnswered, now >= askedAt + IdentitySync.answerLimit { return miss(now, &output) }
        if retryAt != nil { begin() }
        while tickets.count < IdentitySync.windowMax {
            if !ready.isEmpty {
                let message = ready.removeFirst()
                if case .accessQuestion = message { askedAt = now }
                tickets.insert(output.publishTicketed(message))
            } else if isRead {
                break
            } else {
                try read(database, wallTime)
            }
        }
        isDone = isRead && ready.isEmpty && tickets.isEmpty && isAnswered
        guard isDone else { return }
        isProven = true
        guard trouble != nil else { return }
        trouble = nil
        output.log(.accessAnswers)
        output.act(.announce)
    }

    /// The plugin has answered a question.
    mutating func answered(_ question: String) {
        if question == self.question { isAnswered = true }
    }

    private var question: String { "\(name).\(questions)" }

    /// Nobody has answered: the table is sent again after a while.
    private mutating func miss(_ now: Instant, _ output: inout StoreOutput) {
        (askedAt, retryAt) = (nil, now + IdentitySync.retryAfter)
        isProven = false
        if silences.isToBeLogged(now: now) { output.log(.accessMissing) }
        guard trouble == nil else { return }
        trouble = "the broker's access plugin does not answer (--access none, if that is wanted)"
        output.act(.announce)
    }

    /// The plugin tells that new tokens were used. What is not noted, it tells again after the next table.
    mutating func received(_ tokens: [UsedToken]) {
        if used.count < IdentitySync.usedMax { used += tokens }
    }

    /// Notes what was used since the last turn.
    mutating func note(in database: any StatusDatabase) throws(StorageError) {
        guard !used.isEmpty else { return }
        defer { used = [] }
        try database.noteUse(of: used)
    }

    /// An acknowledgement of the broker; whether it was for one of ours.
    mutating func acknowledged(
        _ ticket: Int, _ acknowledgement: Acknowledgement, now: Instant, _ output: inout StoreOutput
    ) -> Bool {
        guard tickets.remove(ticket) != nil else { return false }
        guard acknowledgement != .heard else { return true }
        retryAt = now + IdentitySync.retryAfter
        tickets = []
        if refusals.isToBeLogged(now: now) { output.log(.accessRefused(reason: acknowledgement.reason)) }
        return true
    }

    /// A message that cannot be published; whether it was one of ours.
    mutating func failed(_ ticket: Int) -> Bool { tickets.remove(ticket) != nil }

    private mutating func read(_ database: any StatusDatabase, _ wallTime: Timestamp) throws(StorageError) {
        let page = try database.identities(after: lastUsername, limit: IdentitySync.pageSize)
        for identity in page {
            let message = table.add(
                username: identity.username, digest: identity.digest, superseded: identity.overlap?.superseded ?? [],
                until: identity.overlap?.until, now: wallTime)
            if let message { ready.append(.accessTable(message)) }
        }
        lastUsername = page.last?.username ?? lastUsername
        if page.count < IdentitySync.pageSize {
            questions += 1
            ready += [.accessTable(table.finish()), .accessQuestion(question)]
            isRead = true
        }
    }
}
