public import Bus
public import Contract
internal import Glibc
public import Lifecycle
public import ServiceKit
internal import SQLiteStorage
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
    /// How long a lock is waited for before a signal is looked for, in milliseconds.
    private static let lockSlice: Int32 = 250

    /// Dead letters that presence tells of.
    private static let lettersListed = 20

    private let options: StatusStoreOptions
    private var parts: Parts?
    private var isStopping = false
    /// What was logged of failures outside of commits.
    private var reported = CommitTrouble()
    private var tidyReported = CommitTrouble()
    private var deadLetters: DeadLetterReport?

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
        let keys: KeyDesk
        let keeping: KeepingClock
        var connection: Connection?
    }

    public init(_ options: StatusStoreOptions) {
        self.options = options
    }

    // MARK: Service

    public func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        do throws(StorageError) {
            guard let database = try open(runtime) else { return }
            let owners = try database.owners()
            let keeping = KeepingClock(startedAt: Clock.now(), stamp: Clock.stamp())
            let parts = Parts(
                runtime: runtime, database: database, intake: FrameIntake(runtime, database, keeping, owners: owners),
                outbox: try OutboxPublisher(runtime, database), identities: IdentitySync(runtime, database),
                cursor: CursorKeeper(runtime, database), grants: GrantDelivery(runtime, database, owners: owners),
                orders: try OrderDelivery(runtime, database), lookups: LookupDesk(runtime, database),
                keys: KeyDesk(runtime, database, keeping), keeping: keeping)
            let grants = parts.grants
            parts.intake.refused = { [unowned runtime] frame in grants.refused(frame, now: runtime.loop.now) }
            parts.intake.buried = { [unowned self, unowned runtime] in
                readDeadLetters()
                runtime.announce()
            }
            self.parts = parts
        } catch {
            throw failure(error)
        }
        readDeadLetters()
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
            topics.stream(to: .store), topics.allPresence, topics.lookups, topics.claims, topics.usedSecrets,
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
        case ("internal", "claims"): parts.keys.received(delivery.payload)
        case ("internal", "used-secrets"): parts.identities.received(delivery.payload)
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
        parts.keys.disconnected()
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
        presence.deadLetters = deadLetters
        presence.trouble = parts.intake.trouble.reason
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
        try parts.identities.note()
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
        try parts.keys.pump(on: connection)
    }

    /// Opens the database; waits, as for the broker, while somebody else holds it. `nil`: we are to stop.
    private func open(_ runtime: ServiceRuntime) throws(StorageError) -> SQLiteStatusDatabase? {
        let end = Clock.now() + runtime.options.connectTimeout
        var isWaiting = false
        while true {
            do throws(StorageError) {
                return try SQLiteStatusDatabase(
                    path: options.databasePath, partitions: options.partitions, newIdentity: runtime.incarnation,
                    waitingAtMost: StatusStore.lockSlice)
            } catch  where error.kind == .busy && Clock.now() < end {
                if !isWaiting {
                    runtime.log.event("store.waiting_for_database", .warning, ["error": LogValue(error)])
                }
                isWaiting = true
            }
            if SignalDescriptor.isPending([SIGTERM, SIGINT]) { return nil }
        }
    }

    /// How the program ends: 2 when it was told wrongly, 1 when a person has to look at the file, 69 for what may pass.
    private func failure(_ error: StorageError) -> ServiceFailure {
        let status =
            switch error.kind {
            case .configuration: ExitStatus.usage
            case .corrupt, .schema, .constraint, .content: ExitStatus.failed
            case .busy, .full, .inputOutput, .readOnly, .cannotOpen, .other: ExitStatus.unreachable
            }
        let advice = error.kind.advice.map { "; \($0)" } ?? ""
        return ServiceFailure("database \(options.databasePath): \(error)\(advice)", status: status)
    }

    /// A damaged database ends the service; anything else is tried again in the next turn.
    private func report(_ error: StorageError) {
        guard let runtime = parts?.runtime else { return }
        guard error.kind != .corrupt else { return runtime.fail(failure(error)) }
        guard reported.failed(error.message, now: runtime.loop.now) else { return }
        runtime.log.event("store.database_failed", .error, ["error": LogValue(error)])
    }

    private func readDeadLetters() {
        guard let parts else { return }
        do throws(StorageError) {
            let (total, kept, newest) = try parts.database.deadLetters(limit: StatusStore.lettersListed)
            deadLetters = DeadLetterReport.of(total: total, kept: kept, newest: newest)
        } catch {
            report(error)
        }
    }

    private func heard(_ delivery: Delivery, _ parts: Parts, _ now: Instant) {
        // An empty payload clears a presence; anything else that is none is another version's.
        guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
        parts.runtime.check(presence, isRetained: delivery.isRetained)
        parts.grants.heard(presence, isRetained: delivery.isRetained, now: now)
        parts.orders.heard(presence, isRetained: delivery.isRetained, now: now)
    }

    private func tick() {
        guard let parts, let connection = parts.connection, connection.isConnected else { return }
        parts.grants.tick(on: connection, now: parts.runtime.loop.now)
    }

    private func tidy() {
        guard let parts else { return }
        do throws(StorageError) {
            let isMoreLeft = try parts.database.tidy(
                published: parts.outbox.published, now: parts.keeping.forgetBefore(at: parts.runtime.loop.now),
                historyBefore: Clock.stamp() - .seconds(Int64(options.historyDays) * 86_400),
                limit: StatusStore.tidyLimit)
            readDeadLetters()
            if isMoreLeft { parts.runtime.loop.after(TimeSpan(milliseconds: 50)) { [unowned self] in tidy() } }
        } catch {
            if error.kind == .corrupt { return report(error) }
            guard tidyReported.failed(error.message, now: parts.runtime.loop.now) else { return }
            parts.runtime.log.event("store.tidy_failed", .warning, ["error": LogValue(error)])
        }
    }
}
