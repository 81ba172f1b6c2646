internal import Model
internal import Storage

/// Publishes the outbox in its order and remembers what the broker has acknowledged: a pure value.
///
/// What was committed just now is published as it is. The table is read at the start, after a lost connection, and when
/// more waits than memory is to hold.
struct OutboxPublisher {
    private static let retryAfter = TimeSpan.seconds(1)
    /// Entries kept in memory; of more the table is read.
    static let freshMax = 4_000

    private let access: AccessMode
    private var window: OutboxWindow
    private var mayHaveMore = true
    /// All entries that are still to be published; `nil` when the table alone knows.
    private var fresh: Queue<OutboxEntry>?
    private(set) var retryAt: Instant?
    private var refusals = RefusalLog()
    private(set) var publishedEntries: Int64 = 0

    init(_ database: any StatusDatabase, _ access: AccessMode) throws(StorageError) {
        self.access = access
        // Whatever is gone from the outbox was acknowledged.
        let lowest = try database.outbox(after: 0, limit: 1).first?.sequence
        let last = try database.lastSequence()
        window = OutboxWindow(published: lowest.map { $0 - 1 } ?? last)
    }

    /// Everything up to here was acknowledged by the broker.
    var published: Int64 { window.published }
    /// Whether all that is known of is acknowledged.
    var isEmpty: Bool { !mayHaveMore && window.sent == window.published }

    /// Something was committed.
    mutating func committed(_ entries: [OutboxEntry]) {
        mayHaveMore = true
        for entry in entries {
            let newest = fresh?.last?.sequence ?? window.sent
            guard let count = fresh?.count, count < OutboxPublisher.freshMax, entry.sequence == newest + 1 else {
                fresh = nil
                return
            }
            fresh?.append(entry)
        }
    }

    /// A commit may have worked whose report is lost: the table alone knows.
    mutating func reportLost() {
        mayHaveMore = true
        fresh = nil
    }

    mutating func disconnected() {
        startAgain()
        retryAt = nil
    }

    private mutating func startAgain() {
        window.startAgain()
        reportLost()
    }

    /// Publishes what there is room for.
    mutating func pump(
        _ database: any StatusDatabase, now: Instant, _ output: inout StoreOutput
    ) throws(StorageError) {
        guard mayHaveMore, retryAt.map({ $0 <= now }) ?? true else { return }
        retryAt = nil
        while window.room > 0 {
            let limit = window.room
            let entries =
                if let fresh { fresh.prefix(limit) } else { try database.outbox(after: window.sent, limit: limit) }
            let count = publish(entries, &output)
            fresh?.removeFirst(count)
            if count < entries.count { return }  // they wait for a credential
            if entries.count < limit {
                mayHaveMore = false
                if fresh == nil { fresh = Queue() }
                return
            }
        }
    }

    /// An acknowledgement of the broker; whether it was for one of ours.
    mutating func acknowledged(
        _ ticket: Int, _ acknowledgement: Acknowledgement, now: Instant, _ output: inout StoreOutput
    ) -> Bool {
        guard window.has(ticket: ticket) else { return false }
        switch acknowledgement {
        // A credential counts only when the plugin has taken it.
        case .unheard(let reason) where window.isOfCredentials(ticket), .refused(let reason):
            refused(isCredential: window.isOfCredentials(ticket), reason, now, &output)
        case .heard, .unheard:
            window.acknowledged(ticket)
            mayHaveMore = true
        }
        return true
    }

    /// What is too large never goes out, and nothing waits for it; credentials are tried again. Whether it was one of ours.
    mutating func failed(_ ticket: Int, _ error: String, _ output: inout StoreOutput) -> Bool {
        guard window.has(ticket: ticket) else { return false }
        if window.isOfCredentials(ticket) { window.credentialsFailed() } else { window.acknowledged(ticket) }
        output.log(.publishFailed(error))
        return true
    }

    // MARK: Inside

    /// Publishes a page as far as its credentials are in force; how many of it.
    private mutating func publish(_ entries: [OutboxEntry], _ output: inout StoreOutput) -> Int {
        publishCredentials(of: entries, &output)
        for (index, entry) in entries.enumerated() {
            let messages = OutboxPublisher.messages(of: entry.content)
            if messages.isEmpty {
                guard access == .none || window.isInForce(entry.sequence) else { return index }
            } else {
                publishedEntries += 1
            }
            window.published(entry.sequence, tickets: messages.map { output.publishTicketed($0) })
        }
        return entries.count
    }

    /// All of them at once, in their order: what is behind one waits for the broker to know it.
    private mutating func publishCredentials(of entries: [OutboxEntry], _ output: inout StoreOutput) {
        guard access == .plugin, window.mayPublishCredentials, let last = entries.last else { return }
        let changes = entries.compactMap { entry in
            if case .credential(let change) = entry.content, !window.isInForce(entry.sequence) { return change }
            return nil
        }
        guard !changes.isEmpty else { return }
        window.publishedCredentials(upTo: last.sequence, ticket: output.publishTicketed(.credentials(changes)))
    }

    /// What follows from an entry; nothing from a credential, which is published ahead.
    private static func messages(of content: OutboxEntry.Content) -> [StoreMessage] {
        switch content {
        case .event(let event):
            switch event.status {
            case .none: [.event(event)]
            case .set: [.event(event), .status(event.agent, event.record)]
            case .clear: [.event(event), .status(event.agent, nil)]
            }
        case .gatewayEvent(let event): [.gatewayEvent(event)]
        case .answer(let provisioner, let message): [.answer(message, provisioner: provisioner)]
        case .gatewayCleared(let gateway): [.gatewayCleared(gateway)]
        case .credential: []
        }
    }

    /// The broker does not take it: nothing is dropped, all that is unacknowledged goes out again after a while.
    private mutating func refused(isCredential: Bool, _ reason: UInt8, _ now: Instant, _ output: inout StoreOutput) {
        startAgain()
        retryAt = now + OutboxPublisher.retryAfter
        guard refusals.isToBeLogged(now: now) else { return }
        output.log(isCredential ? .accessRefused(reason: reason) : .publishRefused(reason: reason))
    }
}

/// Lets a refusal that comes again every second be logged once in a while.
struct RefusalLog {
    private static let againAfter = TimeSpan.seconds(60)
    private var loggedAt: Instant?

    mutating func isToBeLogged(now: Instant) -> Bool {
        if let loggedAt, now.milliseconds(since: loggedAt) < RefusalLog.againAfter.milliseconds { return false }
        loggedAt = now
        return true
    }
}
