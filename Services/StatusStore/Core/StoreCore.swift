public import API
public import Model
public import Storage
internal import Streams

/// The only writer of the database: all that the status store decides, its streams and the order of its end included.
///
/// Inputs and the time go in, actions come out; in between it calls its database. Its hosts are `StatusStore` and the simulator.
/// At the end of each turn it takes what has arrived, commits it in one transaction, and only then publishes what follows. What it
/// promises lies in the database; everything here may be lost at any moment.
public struct StoreCore {
    /// Rows deleted in one step of the upkeep, so that no step holds up a turn.
    private static let tidyLimit = 100
    private static let tidyAgainAfter = TimeSpan(milliseconds: 10)
    /// How often its clock is noted: a store that is killed goes on from there.
    private static let noteEvery = TimeSpan.seconds(60)
    /// Dead letters that presence tells of.
    private static let lettersListed = 20

    private let database: any StatusDatabase
    private let historyDays: Int
    private let historyBytesMax: Int64
    private let keeping: RetentionClock
    private var historyBytes: Int64 = 0
    private var intake: FrameIntake
    private var outbox: OutboxPublisher
    private var age = OutboxAge()
    private var identities: IdentitySync
    private var cursor: CursorKeeper
    private var grants: GrantDelivery
    private var orders: OrderDelivery
    private var lookups: LookupHandler
    private var keys = KeyClaims()
    private var deadLetters: DeadLetterReport?
    private var isConnected = false
    private var isStopping = false
    private var tidyAt: Instant?
    private var noteAt: Instant?
    /// Of failures outside of commits of frames.
    private var reported = CommitTrouble()
    private var tidyReported = CommitTrouble()
    private var output = StoreOutput()
    /// The step that was handled has more to do, and the turn has time for it.
    public private(set) var isUnfinished = false

    // The time of the input that is handled.
    private var now: Instant
    private var wallTime: Timestamp

    /// - Parameters:
    ///   - incarnation: names this incarnation.
    ///   - historyDays: how long history is kept, by the store's own clock.
    ///   - historyBytesMax: how much of it, beyond which the oldest goes.
    ///   - access: who keeps strangers out of the broker.
    ///   - chunkBytesMax: about how large a message of a grant becomes.
    /// - Throws: when the database cannot be read.
    public init(
        _ database: any StatusDatabase, topics: Topics, instance: String, incarnation: String, historyDays: Int,
        historyBytesMax: Int64 = .max, access: AccessMode = .plugin, chunkBytesMax: Int = GrantChunks.bytesMax,
        now: Instant, wallTime: Timestamp
    ) throws(StorageError) {
        self.database = database
        self.historyDays = historyDays
        self.historyBytesMax = historyBytesMax
        self.now = now
        self.wallTime = wallTime
        keeping = RetentionClock(startedAt: now, wallTime: wallTime, noted: try database.retentionTime())
        let owners = try database.owners()
        intake = FrameIntake(owners: owners, now: now)
        outbox = try OutboxPublisher(database, access)
        identities = IdentitySync(access, name: incarnation)
        cursor = CursorKeeper(identity: database.identity)
        grants = GrantDelivery(
            senders: StreamSenders(service: .statusStore, instance: instance, incarnation: incarnation), owners: owners,
            partitionCount: database.partitionCount, chunkBytesMax: chunkBytesMax, now: now)
        orders = try OrderDelivery(database)
        lookups = LookupHandler(repliesPrefix: topics.repliesPrefix)
        readDeadLetters()
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: StoreInput, now: Instant, wallTime: Timestamp, into actions: inout [StoreAction]
    ) {
        self.now = now
        self.wallTime = wallTime
        switch input {
        case .connected: connected()
        case .subscribed: cursor.subscribed(now: now)
        case .disconnected: disconnected()
        case .frameReceived, .acknowledgementReceived, .presenceReceived, .claimReceived, .tokensUsed, .lookupReceived,
            .questionReceived, .eventsAsked, .noteFound:
            if !isStopping { received(input) }
        case .accessAnswered(let question): identities.answered(question)
        case .acknowledged(let ticket, let acknowledgement): acknowledged(ticket, acknowledgement)
        case .publicationFailed(let ticket, let error):
            if outbox.failed(ticket, error, &output) || identities.failed(ticket) || lookups.settled(ticket) { break }
            cursor.acknowledged(ticket)
        case .ticked: if isConnected { grants.tick(now: now) }
        case .secondPassed:
            tidy()
            attempt { core throws(StorageError) in
                // What was there at the start, and what a commit wrote whose report is lost.
                let last = try core.database.lastSequence()
                if last > core.outbox.published { core.age.committed(upTo: last, now: core.now) }
            }
        case .turnEnded(let step): endTurn(step)
        case .stopRequested: stop()
        }
        // Those that there is no connection for are kept, and sent on the next one.
        for frame in grants.takeFrames() where isConnected { output.act(.send(frame)) }
        actions += output.take()
    }

    /// When a turn is to end again.
    public var wakeAt: Instant? {
        let hasMore = identities.isProven && (grants.hasMore || lookups.hasMore) || keys.hasMore
        if intake.hasMore || isConnected && hasMore { return now }
        let connected = isConnected ? [outbox.retryAt, identities.wakeAt, cursor.wakeAt] : []
        // What was to be done by now and failed waits for the next turn.
        return (connected + [intake.wakeAt, tidyAt]).compactMap { $0 }.filter { $0 > now }.min()
    }

    /// Of the outbox everything up to here has reached the broker.
    public var published: Int64 { outbox.published }

    /// What its presence says besides.
    public func describe(_ presence: inout Presence) {
        presence.partitionCount = database.partitionCount
        presence.deadLetters = deadLetters
        presence.trouble = intake.trouble.reason ?? reported.reason
        presence.unserved = identities.trouble
        let outbox = age.age(published: outbox.published, now: now)
        if outbox > ServiceWarning.patience {
            let count = age.entries(published: self.outbox.published)
            presence.warn(
                ServiceWarning(.outboxOld, "\(count) entries wait, the oldest for \(outbox.milliseconds / 1_000) s"))
        }
        presence.warn(lookups.overdrafts.warning("more requests at once than are taken came from", now: now))
        if historyBytes > historyBytesMax / 10 * 9 {
            presence.warn(
                ServiceWarning(
                    .historyFull,
                    "history fills \(historyBytes * 100 / historyBytesMax) % of \(historyBytesMax >> 20) MiB"))
        }
    }

    public var committedFrames: Int64 { intake.committedFrames }

    /// What it counted since its start.
    public var counters: StoreCounters {
        StoreCounters(
            frames: intake.committedFrames, published: outbox.publishedEntries, orders: orders.publishedOrders,
            lookups: lookups.answered, lookupsRefused: lookups.refused,
            outboxEntries: age.entries(published: outbox.published),
            outboxAge: age.age(published: outbox.published, now: now), outboxWaits: age.waits,
            grantsUnacknowledged: Int64(grants.unacknowledgedCount), deadLetters: Int64(deadLetters?.kept ?? 0),
            isInTrouble: (intake.trouble.reason ?? reported.reason) != nil, partitions: Int64(database.partitionCount))
    }

    // MARK: The connection

    private mutating func connected() {
        isConnected = true
        identities.begin()
        attempt { core throws(StorageError) in
            core.cursor.connected(published: core.outbox.published, last: try core.database.lastSequence())
        }
        output.act(.subscribe)
        grants.connected(now: now)
        orders.connected(now: now)
    }

    private mutating func disconnected() {
        isConnected = false
        intake.disconnected()
        outbox.disconnected()
        cursor.disconnected()
        lookups.disconnected()
        keys.disconnected()
    }

    private mutating func received(_ input: StoreInput) {
        switch input {
        case .frameReceived(let message): intake.received(message)
        case .acknowledgementReceived(let acknowledgement): grants.received(acknowledgement, now: now, &output)
        case .presenceReceived(let presence, let isRetained):
            grants.heard(presence, isRetained: isRetained, now: now)
            orders.heard(presence, isRetained: isRetained, now: now)
        case .claimReceived(let claim): keys.received(claim)
        case .tokensUsed(let tokens): identities.received(tokens)
        case .lookupReceived(let request): lookups.received(request, now: now, &output)
        case .questionReceived(let question): lookups.received(question)
        case .eventsAsked(let question, let address): lookups.received(question, address)
        case .noteFound(let note): cursor.received(note, &output)
        case .connected, .subscribed, .disconnected, .accessAnswered, .acknowledged, .publicationFailed, .ticked,
            .secondPassed,
            .turnEnded, .stopRequested:
            break
        }
    }

    private mutating func acknowledged(_ ticket: Int, _ acknowledgement: Acknowledgement) {
        if outbox.acknowledged(ticket, acknowledgement, now: now, &output) {
            return age.published(upTo: outbox.published, now: now)
        }
        if identities.acknowledged(ticket, acknowledgement, now: now, &output)
            || lookups.settled(ticket)
        {
            return
        }
        cursor.acknowledged(ticket)
    }

    // MARK: Turns

    private mutating func endTurn(_ step: StoreStep) {
        isUnfinished = false
        switch step {
        case .commit:
            isUnfinished = intake.judgeNext(now: now, &output)
            if !isUnfinished { commit() }
        case .grant: if isConnected { grant() }
        case .publish: if isConnected { publish() }
        case .answer:
            if isConnected { answer() }
            if !isUnfinished, let tidyAt, tidyAt <= now { tidy() }
        }
    }

    private mutating func commit() {
        let keptSince = keeping.wallTime(at: now)
        attempt { core throws(StorageError) in
            let outcome = try core.intake.commit(
                core.database, published: core.outbox.published, keptSince: keptSince, now: core.now,
                wallTime: core.wallTime, &core.output)
            if let outcome { core.committed(outcome) }
        }
        attempt { core throws(StorageError) in try core.identities.note(in: core.database) }
        attempt { core throws(StorageError) in try core.keys.commit(core.database, keptSince: keptSince) }
    }

    private mutating func committed(_ outcome: FrameIntake.Outcome) {
        if outcome.followsFailure {
            outbox.reportLost()
            attempt { core throws(StorageError) in try core.orders.readAll(core.database) }
        }
        outbox.committed(outcome.outbox)
        if let last = outcome.outbox.last { age.committed(upTo: last.sequence, now: now) }
        orders.committed(outcome.orders)
        for frame in outcome.refused { grants.refused(frame, now: now, &output) }
        guard outcome.hasDeadLettered else { return }
        readDeadLetters()
        output.act(.announce)
    }

    private mutating func grant() {
        for acknowledgement in intake.takeAcknowledgements() { output.act(.acknowledgement(acknowledgement)) }
        // On a broker that lets everybody in nobody is served.
        guard identities.isProven else { return }
        attempt { core throws(StorageError) in
            core.isUnfinished = try core.grants.pumpNext(
                core.database, now: core.now, kept: core.keeping.wallTime(at: core.now), &core.output)
        }
    }

    private mutating func publish() {
        attempt { core throws(StorageError) in
            try core.orders.pump(core.database, now: core.now, &core.output)
        }
        attempt { core throws(StorageError) in
            try core.identities.pump(
                core.database, now: core.now, wallTime: core.keeping.wallTime(at: core.now), &core.output)
        }
        // Whoever may connect is known before anything is said of anybody.
        guard identities.isDone else { return }
        attempt { core throws(StorageError) in
            try core.outbox.pump(core.database, now: core.now, &core.output)
        }
        attempt { core throws(StorageError) in
            try core.cursor.pump(
                core.database, published: core.outbox.published, now: core.now, &core.output)
        }
    }

    private mutating func answer() {
        if let trouble = identities.trouble { lookups.refuse(Problem(.unavailable, trouble), &output) }
        if identities.isProven { isUnfinished = lookups.answerNext(database, now: now, &output) }
        if !isUnfinished { keys.answer(&output) }
    }

    private mutating func stop() {
        isStopping = true
        if isConnected {
            guard intake.isEmpty, outbox.isEmpty else { return }
            cursor.note(published: outbox.published, now: now, &output)
            // So that the next start has nothing to repeat.
            noteAt = nil
            tidy()
        }
        output.act(.drained)
    }

    // MARK: The database

    /// Does one thing of a turn. What fails in it is tried again in the next turn, and holds up nothing else.
    private mutating func attempt(_ work: (inout StoreCore) throws(StorageError) -> Void) {
        do throws(StorageError) {
            try work(&self)
        } catch {
            report(error)
        }
    }

    /// A damaged database ends the service.
    private mutating func report(_ error: StorageError) {
        guard error.kind != .corrupt else { return output.act(.fail(error)) }
        guard reported.failed(error.message, now: now) else { return }
        output.log(.databaseFailed(error))
        output.act(.announce)
    }

    private mutating func readDeadLetters() {
        attempt { core throws(StorageError) in
            let (total, kept, newest) = try core.database.deadLetters(limit: StoreCore.lettersListed)
            core.deadLetters = DeadLetterReport.of(total: total, kept: kept, newest: newest)
        }
    }

    private mutating func tidy() {
        tidyAt = nil
        do throws(StorageError) {
            let kept = keeping.wallTime(at: now)
            // In trouble it is also what shows that the database takes something again.
            if reported.reason != nil || noteAt.map({ $0 <= now }) ?? true {
                try database.note(RetentionTime(kept: kept, wall: wallTime))
                noteAt = now + StoreCore.noteEvery
                if let length = reported.worked(now: now) {
                    output.log(.commitsAgain(length))
                    output.act(.announce)
                }
            }
            let isMoreLeft = try database.tidy(
                published: outbox.published, now: keeping.forgetBefore(at: now),
                historyBefore: kept - .seconds(Int64(historyDays) * 86_400), historyBytesMax: historyBytesMax,
                limit: StoreCore.tidyLimit)
            historyBytes = try database.historyBytes()
            readDeadLetters()
            if isMoreLeft { tidyAt = now + StoreCore.tidyAgainAfter }
        } catch {
            if error.kind == .corrupt { return report(error) }
            if tidyReported.failed(error.message, now: now) { output.log(.tidyFailed(error)) }
        }
    }
}
