internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Tells the broker, after each connection and before anything else, everybody who may connect, with the overlaps of tokens
/// that last: it may have forgotten them, or never have heard of them.
final class IdentitySync {
    private static let pageSize = 5_000
    /// Messages under way at once.
    private static let windowMax = 3
    private static let retryAfter = TimeSpan.seconds(1)
    /// Used tokens noted in one turn, but for those of one message: the others are told of again.
    private static let usedMax = 10_000
    private static let logAgainAfter = TimeSpan.seconds(60)

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var used: [UsedToken] = []
    private var table = AccessControl.Table()
    private var lastUsername: String?
    private var isRead = true
    private var ready: [[UInt8]] = []
    private var tickets: Set<Int> = []
    private var retryAt: Instant?
    private var refusalLoggedAt: Instant?
    /// Whether the broker has acknowledged the whole table.
    private(set) var isDone = false

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase) {
        self.runtime = runtime
        self.database = database
    }

    /// Begins anew, for a new connection.
    func begin() {
        table = AccessControl.Table()
        lastUsername = nil
        isRead = false
        ready = []
        tickets = []
        retryAt = nil
        isDone = false
    }

    func pump(on connection: Connection, now: Instant) throws(StorageError) {
        guard !isDone, connection.isConnected, retryAt.map({ $0 <= now }) ?? true else { return }
        if retryAt != nil { begin() }
        while tickets.count < IdentitySync.windowMax {
            if ready.isEmpty {
                guard !isRead else { break }
                try read()
                continue
            }
            do {
                let message = ready.removeFirst()
                tickets.insert(try connection.publish(Publication(topic: Topics.accessControl, payload: message)))
            } catch {
                return  // the connection is lost, the next one begins anew
            }
        }
        isDone = isRead && ready.isEmpty && tickets.isEmpty
    }

    /// The plugin tells that new tokens were used. What is not noted, it tells again after the next table.
    func received(_ payload: [UInt8]) {
        guard used.count < IdentitySync.usedMax else { return }
        used += AccessControl.used(payload).map { UsedToken(username: $0.username, digest: $0.digest) }
    }

    /// Notes what was used since the last turn.
    func note() throws(StorageError) {
        guard !used.isEmpty else { return }
        defer { used = [] }
        try database.noteUse(of: used)
    }

    /// An acknowledgement of the broker; whether it was for one of ours.
    func acknowledged(_ ticket: Int, reason: UInt8, now: Instant) -> Bool {
        guard tickets.remove(ticket) != nil else { return false }
        guard reason != ReasonCode.success else { return true }
        retryAt = now + IdentitySync.retryAfter
        tickets = []
        runtime.loop.after(IdentitySync.retryAfter) {}
        guard refusalLoggedAt.map({ now.milliseconds(since: $0) >= IdentitySync.logAgainAfter.milliseconds }) ?? true
        else { return true }
        refusalLoggedAt = now
        runtime.log.event("store.access_refused", .error, ["reason": LogValue(Int(reason))])
        return true
    }

    private func read() throws(StorageError) {
        let page = try database.identities(after: lastUsername, limit: IdentitySync.pageSize)
        let now = Clock.stamp()
        for identity in page {
            let message = table.add(
                username: identity.username, digest: identity.digest, superseded: identity.overlap?.superseded ?? [],
                until: identity.overlap?.until, now: now)
            if let message { ready.append(message) }
        }
        lastUsername = page.last?.username ?? lastUsername
        if page.count < IdentitySync.pageSize {
            ready.append(table.finish())
            isRead = true
        }
    }
}
