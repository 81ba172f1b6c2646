internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Keeps a retained note on the broker of what was published, and publishes statuses again where the broker knows less.
final class CursorKeeper {
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

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var phase = Phase.disconnected
    private var tickets: Set<Int> = []
    /// What was published before this connection, and the highest sequence there was.
    private var past: (published: Int64, last: Int64) = (0, 0)
    private var noted: Int64 = -1
    private var notedAt = Instant(nanoseconds: 0)

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase) {
        self.runtime = runtime
        self.database = database
    }

    func connected(_ connection: Connection, published: Int64) throws(StorageError) {
        past = (published, try database.lastSequence())
        phase = .reading(until: nil)
        tickets = []
        noted = -1
        connection.subscribe([runtime.topics.cursor], options: .noLocal)
    }

    func disconnected() {
        phase = .disconnected
        tickets = []
    }

    func subscribed(now: Instant) {
        guard case .reading(until: nil) = phase else { return }
        phase = .reading(until: now + CursorKeeper.waitingTime)
        runtime.loop.after(CursorKeeper.waitingTime) {}
    }

    func received(_ delivery: Delivery) {
        guard case .reading = phase, delivery.isRetained else { return }
        // A note that cannot be read is as good as none.
        found(try? JSON.decode(CursorMessage.self, from: delivery.payload))
    }

    func acknowledged(_ ticket: Int) -> Bool {
        tickets.remove(ticket) != nil
    }

    func pump(on connection: Connection, published: Int64, now: Instant) throws(StorageError) {
        guard connection.isConnected else { return }
        switch phase {
        case .disconnected: return
        case .reading(let until):
            if let until, until <= now { found(nil) }
        case .republishing(let after, let last):
            guard tickets.count < CursorKeeper.pageSize else { return }
            let page = try database.statuses(changedAfter: after, upTo: last, limit: CursorKeeper.pageSize)
            for entry in page {
                let publication = OutboxMessages.status(entry.agent, entry.record?.bytes, runtime.topics)
                // Refused only when the connection is lost: the next one begins anew.
                if let ticket = try? connection.publish(publication) { tickets.insert(ticket) }
            }
            if let sequence = page.last?.sequence {
                phase = .republishing(after: sequence, upTo: last)
            } else if tickets.isEmpty {
                runtime.log.event("store.statuses_republished")
                phase = .keeping
            }
        case .keeping:
            guard published != noted, now.milliseconds(since: notedAt) >= CursorKeeper.interval.milliseconds else {
                return
            }
            note(on: connection, published: published, now: now)
        }
    }

    /// Notes what was published, at once: the last word before a stop.
    func note(on connection: Connection, published: Int64, now: Instant) {
        guard case .keeping = phase, published != noted else { return }
        noted = published
        notedAt = now
        var publication = Publication(
            topic: runtime.topics.cursor,
            payload: JSON.bytes(CursorMessage(published: published, database: database.identity)))
        publication.isRetained = true
        publication.contentType = jsonContentType
        // A note that is lost is followed by a newer one.
        _ = try? connection.publish(publication)
    }

    private func found(_ cursor: CursorMessage?) {
        if let cursor, cursor.isAhead(of: past.last, database: database.identity) {
            // What was answered since is gone: nobody but its operators can know whether that is meant.
            runtime.log.event(
                "store.database_went_back", .error,
                ["published": .integer(cursor.published), "stored": .integer(past.last)])
        }
        let first = CursorMessage.republishing(
            found: cursor, published: past.published, last: past.last, database: database.identity)
        guard let first else {
            phase = .keeping
            return
        }
        runtime.log.event(
            "store.republishing_statuses", .info, ["after": .integer(first), "up_to": .integer(past.published)])
        phase = .republishing(after: first, upTo: past.published)
    }
}
