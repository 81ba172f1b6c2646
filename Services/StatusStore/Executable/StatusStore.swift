import API
import Bus
internal import Glibc
import Model
internal import SQLiteStorage
import ServiceHost
internal import StatusStoreCore
internal import Storage
internal import Streams
import Wire

/// Hosts `StoreCore` on the bus and on SQLite: what arrives becomes its inputs, its actions become messages. Nothing is decided
/// here.
final class StatusStore: Service {
    private static let tickInterval = TimeSpan(milliseconds: 200)
    private static let secondInterval = TimeSpan.seconds(1)
    /// How long a lock is waited for before a signal is looked for, in milliseconds.
    private static let lockSlice: Int32 = 250

    private let options: StatusStoreOptions
    private var runtime: ServiceRuntime!
    private var messages: StoreMessages!
    private var publisher: FramePublisher!
    /// `nil` until the database is open.
    private var core: StoreCore?
    private var partitionCount = 0
    private weak var connection: Connection?
    /// The core's ticket of each message under way, by the connection's.
    private var tickets: [Int: Int] = [:]
    private var isDrainedByCore = false
    private var commits = Histogram(bounds: Histogram.commitBounds)

    init(_ options: StatusStoreOptions) {
        self.options = options
    }

    // MARK: Service

    func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        messages = StoreMessages(topics: runtime.topics)
        publisher = FramePublisher(topics: runtime.topics)
        runtime.watch(publisher)
        do throws(StorageError) {
            guard let database = try open() else { return }
            partitionCount = database.partitionCount
            core = try StoreCore(
                database, topics: runtime.topics, instance: runtime.instance, incarnation: runtime.incarnation,
                historyDays: options.historyDays, historyBytesMax: Int64(options.historyMebibytes) << 20,
                access: options.access, now: Clock.now(), wallTime: Clock.wallTime())
        } catch {
            throw failure(error)
        }
        runtime.loop.every(StatusStore.tickInterval) { [unowned self] in handle(.ticked) }
        runtime.loop.every(StatusStore.secondInterval) { [unowned self] in handle(.secondPassed) }
    }

    func connected(_ connection: Connection) {
        self.connection = connection
        tickets = [:]
        handle(.connected)
    }

    func subscribed(refused: [String]) { handle(.subscribed) }

    func received(_ delivery: Delivery) {
        guard let levels = runtime.topics.levels(of: delivery.topic), let first = levels.first else { return }
        switch (first, levels.dropFirst().first) {
        case ("internal", "streams"): handle(.frameReceived(.bytes(delivery.payload)))
        case ("internal", "acknowledgements"):
            // What is no acknowledgement is repeated by nobody.
            guard let acknowledgement = try? WireFormat.decode(StreamAcknowledgement.self, from: delivery.payload)
            else {
                return
            }
            handle(.acknowledgementReceived(acknowledgement))
        case ("internal", "lookups"):
            guard let question = try? WireFormat.decode(RecordQuestion.self, from: delivery.payload) else {
                return runtime.log.event("store.question_unreadable", .error)
            }
            handle(.questionReceived(question))
        case ("internal", "event-questions"):
            guard let question = try? WireFormat.decode(EventQuestion.self, from: delivery.payload) else {
                return runtime.log.event("store.question_unreadable", .error)
            }
            let address = ReplyAddress(topic: delivery.responseTopic ?? "", correlationData: delivery.correlationData)
            handle(.eventsAsked(question, replyTo: address))
        case ("commands", _):
            guard let verb = levels.last.flatMap({ Verb(rawValue: String($0)) }) else { return }
            handle(.lookupReceived(messages.request(verb, delivery)))
        case ("internal", "claims"): claimReceived(delivery.payload)
        case ("internal", "used-secrets"):
            handle(
                .tokensUsed(
                    AccessControl.used(delivery.payload).map { UsedToken(username: $0.username, digest: $0.digest) }))
        case ("internal", "access"): handle(.accessAnswered(String(decoding: delivery.payload, as: UTF8.self)))
        case ("internal", "cursor"):
            guard delivery.isRetained else { return }
            // A note that cannot be read is as good as none.
            handle(.noteFound(try? WireFormat.decode(CursorMessage.self, from: delivery.payload)))
        case ("services", _):
            // An empty payload clears a presence; anything else that is none is another version's.
            guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
            runtime.check(presence, isRetained: delivery.isRetained)
            handle(.presenceReceived(presence, isRetained: delivery.isRetained))
        default: return
        }
    }

    func published(_ ticket: Int, reason: UInt8) {
        guard let ticket = tickets.removeValue(forKey: ticket) else { return }
        let acknowledgement: Acknowledgement =
            switch reason {
            case ReasonCode.success: .heard
            case ..<ReasonCode.failure: .unheard(reason: reason)
            default: .refused(reason: reason)
            }
        handle(.acknowledged(ticket, acknowledgement))
    }

    func disconnected() {
        tickets = [:]
        handle(.disconnected)
    }

    func turnEnded(now: Instant) {
        let (frames, began) = (core?.committedFrames, Clock.now())
        for step in StoreStep.allCases {
            if step == .grant, core?.committedFrames != frames {
                commits.add(nanoseconds: Clock.now().nanoseconds(since: began))
            }
            repeat { handle(.turnEnded(step)) } while core?.isUnfinished ?? false
        }
        runtime.loop.wakeAt = core?.wakeAt
    }

    func isDrained() -> Bool {
        handle(.stopRequested)
        return isDrainedByCore || core == nil
    }

    /// The database is closed with its core: its write-ahead log is copied into the file (sqlite3_close(3)).
    func ended() { core = nil }

    func describe(_ presence: inout Presence) {
        guard let core else { return }
        core.describe(&presence)
        presence.configDigest = "\(runtime.configDigest):\(partitionCount)"
    }

    var metrics: [Metric] {
        (core?.counters.metrics ?? []) + [
            Metric("rollcall_commit_duration_seconds", "What was received in one turn until it was committed.", commits)
        ]
    }

    // MARK: Hosting

    private func claimReceived(_ payload: [UInt8]) {
        do {
            handle(.claimReceived(try WireFormat.decode(KeyClaim.self, from: payload)))
        } catch {
            let (member, detail) = JSON.describe(error)
            runtime.log.event("store.claim_unreadable", .error, ["error": LogValue("\(member): \(detail)")])
        }
    }

    private func handle(_ input: StoreInput) {
        var actions: [StoreAction] = []
        core?.handle(input, now: Clock.now(), wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func carryOut(_ action: StoreAction) {
        switch action {
        case .subscribe: messages.subscribe(connection, as: runtime.name, runtime.instance)
        case .send(let frame): publisher.publish(frame, on: connection)
        case .acknowledgement(let acknowledgement): publish(messages.publication(acknowledgement))
        case .publish(let message, let ticket): publish(messages.publication(message), ticket)
        case .announce: runtime.announce()
        case .log(let log): runtime.log.write(log)
        case .fail(let error): runtime.fail(failure(error))
        case .drained: isDrainedByCore = true
        }
    }

    private func publish(_ publication: Publication, _ ticket: Int? = nil) {
        guard let connection, connection.isConnected else { return }
        do throws(BusError) {
            let given = try connection.publish(publication)
            if let ticket { tickets[given] = ticket }
        } catch {
            // With the connection lost the core starts again.
            guard let ticket, connection.isConnected else { return }
            handle(.publicationFailed(ticket, error: error.description))
        }
    }

    // MARK: The database

    /// Opens the database; waits, as for the broker, while somebody else holds it. `nil`: we are to stop.
    private func open() throws(StorageError) -> SQLiteStatusDatabase? {
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
            case .busy, .full, .inputOutput, .readOnly, .cannotOpen, .replaced, .other: ExitStatus.unreachable
            }
        let advice = error.kind.advice.map { "; \($0)" } ?? ""
        return ServiceFailure("database \(options.databasePath): \(error)\(advice)", status: status)
    }
}
