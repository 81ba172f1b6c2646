internal import Lifecycle
internal import Storage

/// Tells the broker, after each connection and before anything else, everybody who may connect, with the overlaps of tokens
/// that last: it may have forgotten them, or never have heard of them. A pure value.
struct IdentitySync {
    private static let pageSize = 5_000
    /// Messages under way at once.
    private static let windowMax = 3
    private static let retryAfter = TimeSpan.seconds(1)
    /// Used tokens noted in one turn, but for those of one message: the others are told of again.
    private static let usedMax = 10_000

    private var used: [UsedToken] = []
    private var table = AccessControl.Table()
    private var lastUsername: String?
    private var isRead = true
    private var ready: [[UInt8]] = []
    private var tickets: Set<Int> = []
    private(set) var retryAt: Instant?
    private var refusals = RefusalLog()
    /// Whether the broker has acknowledged the whole table.
    private(set) var isDone = false

    /// Begins anew, for a new connection.
    mutating func begin() {
        table = AccessControl.Table()
        lastUsername = nil
        isRead = false
        ready = []
        tickets = []
        retryAt = nil
        isDone = false
    }

    mutating func pump(
        _ database: any StatusDatabase, now: Instant, stamp: Timestamp, _ output: inout StoreOutput
    ) throws(StorageError) {
        guard !isDone, retryAt.map({ $0 <= now }) ?? true else { return }
        if retryAt != nil { begin() }
        while tickets.count < IdentitySync.windowMax {
            if !ready.isEmpty {
                tickets.insert(output.publishTicketed(.accessTable(ready.removeFirst())))
            } else if isRead {
                break
            } else {
                try read(database, stamp)
            }
        }
        isDone = isRead && ready.isEmpty && tickets.isEmpty
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

    private mutating func read(_ database: any StatusDatabase, _ stamp: Timestamp) throws(StorageError) {
        let page = try database.identities(after: lastUsername, limit: IdentitySync.pageSize)
        for identity in page {
            let message = table.add(
                username: identity.username, digest: identity.digest, superseded: identity.overlap?.superseded ?? [],
                until: identity.overlap?.until, now: stamp)
            if let message { ready.append(message) }
        }
        lastUsername = page.last?.username ?? lastUsername
        if page.count < IdentitySync.pageSize {
            ready.append(table.finish())
            isRead = true
        }
    }
}
