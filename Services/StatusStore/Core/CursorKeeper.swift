internal import Model
internal import Storage

/// Keeps a retained note on the broker of what was published, and publishes statuses again where the broker knows less: a pure
/// value.
struct CursorKeeper {
    /// How long the note is waited for once the subscription stands.
    private static let waitingTime = TimeSpan.seconds(1)
    private static let interval = TimeSpan.seconds(1)
    private static let pageSize = 200

    private enum Phase {
        case disconnected
        /// Waiting for the retained note, until then.
        case reading(until: Instant?)
        /// Publishing statuses again: those behind the first sequence, up to the second.
        case republishing(after: Int64, upTo: Int64)
        case keeping
    }

    private let identity: String
    private var phase = Phase.disconnected
    private var tickets: Set<Int> = []
    /// What was published before this connection, and the highest sequence there was.
    private var past: (published: Int64, last: Int64) = (0, 0)
    private var noted: Int64 = -1
    private var notedAt = Instant(nanoseconds: 0)

    /// - Parameter identity: the database's.
    init(identity: String) {
        self.identity = identity
    }

    /// When a turn is wanted.
    var wakeAt: Instant? { if case .reading(let until) = phase { until } else { nil } }

    mutating func connected(published: Int64, last: Int64) {
        past = (published, last)
        phase = .reading(until: nil)
        tickets = []
        noted = -1
    }

    mutating func disconnected() {
        phase = .disconnected
        tickets = []
    }

    mutating func subscribed(now: Instant) {
        guard case .reading(until: nil) = phase else { return }
        phase = .reading(until: now + CursorKeeper.waitingTime)
    }

    mutating func received(_ note: CursorMessage?, _ output: inout StoreOutput) {
        guard case .reading = phase else { return }
        found(note, &output)
    }

    mutating func acknowledged(_ ticket: Int) {
        tickets.remove(ticket)
    }

    mutating func pump(
        _ database: any StatusDatabase, published: Int64, now: Instant, _ output: inout StoreOutput
    ) throws(StorageError) {
        switch phase {
        case .disconnected: return
        case .reading(let until):
            if let until, until <= now { found(nil, &output) }
        case .republishing(let after, let last):
            guard tickets.count < CursorKeeper.pageSize else { return }
            let page = try database.statuses(changedAfter: after, upTo: last, limit: CursorKeeper.pageSize)
            for entry in page { tickets.insert(output.publishTicketed(.status(entry.agent, entry.record))) }
            if let sequence = page.last?.sequence {
                phase = .republishing(after: sequence, upTo: last)
            } else if tickets.isEmpty {
                output.log(.statusesRepublished)
                phase = .keeping
            }
        case .keeping:
            guard now.milliseconds(since: notedAt) >= CursorKeeper.interval.milliseconds else { return }
            note(published: published, now: now, &output)
        }
    }

    /// Notes what was published, at once: the last word before a stop.
    mutating func note(published: Int64, now: Instant, _ output: inout StoreOutput) {
        guard case .keeping = phase, published != noted else { return }
        noted = published
        notedAt = now
        // A note that is lost is followed by a newer one.
        output.publish(.note(CursorMessage(published: published, database: identity)))
    }

    private mutating func found(_ cursor: CursorMessage?, _ output: inout StoreOutput) {
        if let cursor, cursor.isAhead(of: past.last, database: identity) {
            // What was answered since is gone: nobody but its operators can know whether that is meant.
            output.log(.databaseWentBack(published: cursor.published, stored: past.last))
        }
        let first = CursorMessage.republishing(
            found: cursor, published: past.published, last: past.last, database: identity)
        guard let first else {
            phase = .keeping
            return
        }
        output.log(.republishingStatuses(after: first, upTo: past.published))
        phase = .republishing(after: first, upTo: past.published)
    }
}
