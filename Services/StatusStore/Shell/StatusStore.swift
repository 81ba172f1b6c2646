public import Bus
public import Contract
public import Lifecycle
public import ServiceKit
internal import StatusStoreCore
internal import Storage

/// The status store: the only writer of the database.
///
/// In each turn of its loop it takes what has arrived, commits it in one transaction, and only then publishes what
/// follows. What it promises lies in the database; everything here may be lost at any moment.
public final class StatusStore: Service {
    private static let tickInterval = TimeSpan(milliseconds: 200)
    private static let tidyInterval = TimeSpan.seconds(1)
    /// Rows deleted in one step of the upkeep, so that no step holds up a turn.
    private static let tidyLimit = 500

    private let options: StatusStoreOptions
    private var parts: Parts?
    private var isStopping = false

    /// What works once the database is open.
    private struct Parts {
        let runtime: ServiceRuntime
        let database: any StatusDatabase
        let intake: FrameIntake
        let outbox: OutboxPublisher
        let identities: IdentitySync
        let cursor: CursorKeeper
        let grants: GrantDelivery
        let orders: OrderDelivery
        let lookups: LookupDesk
        var connection: Connection?
    }

    public init(_ options: StatusStoreOptions) {
        self.options = options
    }

    // MARK: Service

    public func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        do throws(StorageError) {
            let database = try SQLiteStatusDatabase(
                path: options.databasePath, partitions: options.partitions, newIdentity: runtime.incarnation)
            let owners = try database.owners()
            let parts = Parts(
                runtime: runtime, database: database, intake: FrameIntake(runtime, database, owners: owners),
                outbox: try OutboxPublisher(runtime, database), identities: IdentitySync(runtime, database),
                cursor: CursorKeeper(runtime, database), grants: GrantDelivery(runtime, database, owners: owners),
                orders: try OrderDelivery(runtime, database), lookups: LookupDesk(runtime, database))
            let grants = parts.grants
            parts.intake.refused = { [unowned runtime] frame in grants.refused(frame, now: runtime.loop.now) }
            self.parts = parts
        } catch {
            let status = error.kind == .configuration ? ExitStatus.usage : ExitStatus.unreachable
            throw ServiceFailure("database \(options.databasePath): \(error)", status: status)
        }
        runtime.loop.every(StatusStore.tickInterval) { [unowned self] in tick() }
        runtime.loop.every(StatusStore.tidyInterval) { [unowned self] in tidy() }
    }

    public func connected(_ connection: Connection) {
        guard var parts else { return }
        parts.connection = connection
        self.parts = parts
        let (topics, runtime) = (parts.runtime.topics, parts.runtime)
        parts.identities.begin()
        do throws(StorageError) {
            try parts.cursor.connected(connection, published: parts.outbox.published)
        } catch {
            report(error)
        }
        connection.subscribe([
            topics.stream(to: .store), topics.allPresence, topics.lookups,
            topics.receipts(service: runtime.name.rawValue, instance: runtime.instance),
        ])
        connection.subscribe(
            LookupDesk.verbs.map { topics.shared(topics.command($0.rawValue), by: ServiceName.statusStore.rawValue) })
        parts.grants.connected(connection, now: runtime.loop.now)
        parts.orders.connected(now: runtime.loop.now)
    }

    public func subscribed(refused: [String]) {
        guard let parts else { return }
        parts.cursor.subscribed(now: parts.runtime.loop.now)
    }

    public func received(_ delivery: Delivery) {
        guard let parts, let connection = parts.connection, !isStopping else { return }
        let topics = parts.runtime.topics
        let now = parts.runtime.loop.now
        guard let levels = topics.levels(of: delivery.topic), let first = levels.first else { return }
        switch (first, levels.dropFirst().first) {
        case ("internal", "streams"): parts.intake.received(delivery.payload)
        case ("internal", "receipts"):
            // What is no receipt is repeated by nobody.
            guard let receipt = try? JSON.decode(StreamReceipt.self, from: delivery.payload) else { return }
            _ = parts.grants.received(receipt, on: connection, now: now)
        case ("internal", "lookups"), ("commands", _): parts.lookups.received(delivery, on: connection)
        case ("internal", "cursor"): parts.cursor.received(delivery)
        case ("services", _): heard(delivery, parts, now)
        default: return
        }
    }

    public func published(_ ticket: Int, reason: UInt8) {
        guard let parts else { return }
        let now = parts.runtime.loop.now
        _ =
            parts.outbox.acknowledged(ticket, reason: reason, now: now)
            || parts.identities.acknowledged(ticket, reason: reason, now: now) || parts.cursor.acknowledged(ticket)
    }

    public func disconnected() {
        guard let parts else { return }
        parts.intake.disconnected()
        parts.outbox.disconnected()
        parts.cursor.disconnected()
        parts.lookups.disconnected()
    }

    public func turnEnded(now: Instant) {
        guard let parts else { return }
        do throws(StorageError) {
            try work(parts, now)
        } catch {
            report(error)
        }
    }

    public func describe(_ presence: inout Presence) {
        guard let parts else { return }
        presence.partitionCount = parts.database.partitionCount
        presence.configDigest = "\(parts.runtime.configDigest):\(parts.database.partitionCount)"
    }

    public func isDrained() -> Bool {
        isStopping = true
        guard let parts, let connection = parts.connection, connection.isConnected else { return true }
        guard parts.intake.isEmpty, parts.outbox.isEmpty else { return false }
        parts.cursor.note(on: connection, published: parts.outbox.published, now: parts.runtime.loop.now)
        // So that the next start has nothing to repeat.
        tidy()
        return true
    }

    public var counters: [String: Int64] {
        guard let parts else { return [:] }
        return [
            "frames": parts.intake.committedFrames, "published": parts.outbox.publishedEntries,
            "orders": parts.orders.publishedOrders, "answers": parts.lookups.answered,
        ]
    }

    // MARK: Inside

    private func work(_ parts: Parts, _ now: Instant) throws(StorageError) {
        if let report = try parts.intake.commit(published: parts.outbox.published, now: now) {
            parts.outbox.committed()
            parts.orders.committed(report.orders)
        }
        guard let connection = parts.connection, connection.isConnected else { return }
        parts.intake.publishReceipts(on: connection)
        try parts.grants.pump(on: connection, now: now)
        try parts.orders.pump(on: connection, now: now)
        try parts.identities.pump(on: connection, now: now)
        if parts.identities.isDone {
            try parts.outbox.pump(on: connection, now: now)
            try parts.cursor.pump(on: connection, published: parts.outbox.published, now: now)
        }
        parts.lookups.pump(on: connection)
    }

    /// A damaged database ends the service; anything else is tried again in the next turn.
    private func report(_ error: StorageError) {
        guard error.kind == .corrupt else {
            parts?.runtime.log.event("store.read_failed", .error, ["error": LogValue(error)])
            return
        }
        parts?.runtime.fail(
            ServiceFailure("database \(options.databasePath): \(error)", status: ExitStatus.unreachable))
    }

    private func heard(_ delivery: Delivery, _ parts: Parts, _ now: Instant) {
        // An empty payload clears a presence; anything else that is none is another version's.
        guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
        parts.runtime.check(presence)
        parts.grants.heard(presence, isRetained: delivery.isRetained, now: now)
        parts.orders.heard(presence, isRetained: delivery.isRetained, now: now)
    }

    private func tick() {
        guard let parts, let connection = parts.connection, connection.isConnected else { return }
        parts.grants.tick(on: connection, now: parts.runtime.loop.now)
    }

    private func tidy() {
        guard let parts else { return }
        let now = Clock.stamp()
        do throws(StorageError) {
            let isMoreLeft = try parts.database.tidy(
                published: parts.outbox.published, now: now,
                historyBefore: now - .seconds(Int64(options.historyDays) * 86_400), limit: StatusStore.tidyLimit)
            if isMoreLeft { parts.runtime.loop.after(TimeSpan(milliseconds: 50)) { [unowned self] in tidy() } }
        } catch {
            parts.runtime.log.event("store.tidy_failed", .warning, ["error": LogValue(error)])
        }
    }
}
