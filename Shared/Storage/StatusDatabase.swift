public import API
public import Lifecycle
public import Model
public import Wire

/// The one place where the system's state survives: what the status store needs of a database.
///
/// One thread owns it. Every method is one transaction of its own and returns once it is durable; reads see what is
/// committed. Every implementation passes the conformance suite in `Tests/StorageTests`.
public protocol StatusDatabase: AnyObject {
    /// How many partitions there are, fixed when the database was made.
    var partitionCount: Int { get }
    /// Names this database: another one, or a copy made anew, has another.
    var identity: String { get }

    // MARK: Frames

    /// Applies frames in order, all in one transaction, each whole or not at all, each once.
    ///
    /// A frame that fails changes nothing and holds back those of its stream behind it; the others are committed.
    /// - Parameter published: everything in the outbox up to here was acknowledged and is deleted.
    /// - Throws: when nothing at all was committed.
    func commit(_ frames: [ReceivedFrame], published: Int64, now: Timestamp) throws(StorageError) -> CommitReport
    /// Puts a frame that never succeeds aside, so that its sender does not repeat it for ever.
    ///
    /// Its sender believes what was not committed, so its epoch ends in the same transaction: all that it sends behind the
    /// frame is refused, until it is granted the partition again with what is really stored.
    /// - Returns: the epochs that ended, none when the sender owned nothing.
    func deadLetter(_ letter: DeadLetter) throws(StorageError) -> [EndedEpoch]
    /// How many there ever were, how many of them are kept, and the newest.
    func deadLetters(limit: Int) throws(StorageError) -> (total: Int, kept: Int, newest: [StoredDeadLetter])

    // MARK: Ownership

    /// Every partition that was ever granted.
    func owners() throws(StorageError) -> [PartitionOwner]
    /// Gives a partition to a reconciler under the next epoch, with all that lies in it. Agents and requests may be a hundred
    /// thousand: it says where they lie, and they are read in pages.
    ///
    /// - Parameter known: the highest epoch that anybody has claimed; the next one lies above it, also when this database is an
    ///   older copy that knows less. Frames of two epochs of one number could not be told apart.
    func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot
    /// Agents of a snapshot. Nobody changes them before its owner knows them: every other epoch is refused.
    func agents(
        of partition: Int, at places: ArraySlice<Int64>
    ) throws(StorageError) -> [Carried<AgentState>]
    /// Requests of a snapshot; those whose time is over meanwhile are left out.
    func requests(of partition: Int, at places: ArraySlice<Int64>) throws(StorageError) -> [RememberedRequest]

    // MARK: Publishing

    /// What is to be published behind `sequence`, in order.
    func outbox(after sequence: Int64, limit: Int) throws(StorageError) -> [OutboxEntry]
    /// The highest sequence that was ever given out, 0 for none.
    func lastSequence() throws(StorageError) -> Int64
    /// The retained status of every agent, present or deleted, whose last change has a sequence above `sequence` and at
    /// most `last`, ordered by it.
    func statuses(changedAfter sequence: Int64, upTo last: Int64, limit: Int) throws(StorageError) -> [StatusEntry]
    /// Who may connect, ordered by username.
    func identities(after username: String?, limit: Int) throws(StorageError) -> [Identity]
    /// These tokens were used, each by its identity: those before it count no more. What is of another identity or time changes
    /// nothing.
    func noteUse(of tokens: [UsedToken]) throws(StorageError)
    /// The outstanding wake orders behind `position`, oldest first.
    func orders(after position: Int64, limit: Int) throws(StorageError) -> [OutstandingOrder]
    /// The outstanding order of an agent, if it has one.
    func order(of agent: AgentAddress) throws(StorageError) -> Carried<WakeOrder>?

    // MARK: Keys

    /// Keeps each idempotency key for the request that claims it, unless another one has it; in one transaction.
    ///
    /// A key is kept for 24 h from its first claim (`Limits.idempotencyHours`).
    /// - Returns: the digest of the request that has each key now.
    func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String]

    // MARK: Alerts

    /// Up to which event a sink of alerts has delivered all; `nil` for one that was never heard of.
    func alertPosition(of sink: String) throws(StorageError) -> Int64?
    /// Keeps that a sink has delivered all up to here.
    func note(alertPosition position: Int64, of sink: String) throws(StorageError)

    // MARK: Lookups

    func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>?
    /// Records by address bytewise: of the next `scanMax` agents behind `after` those that match, at most `limit`.
    ///
    /// - Returns: `end`, the last agent that was looked at; `nil` when there is none behind it.
    func records(
        _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int, scanning scanMax: Int
    ) throws(StorageError) -> (records: [StoredRecord], end: AgentAddress?)
    /// Events by sequence, newest first, below sequence `before`, stamped `since` or later; those of deleted agents too.
    func history(
        of subject: Lookup.HistorySubject, since: Timestamp?, before: Int64?, limit: Int
    ) throws(StorageError) -> [StoredEvent]
    /// All events in the order in which they were committed, behind `sequence`.
    func events(after sequence: Int64, limit: Int) throws(StorageError) -> [StoredEvent]
    /// Whether there is, or was, such an agent.
    func hasKnown(_ agent: AgentAddress) throws(StorageError) -> Bool
    func hasGateway(_ gateway: String) throws(StorageError) -> Bool
    func gateway(_ name: String) throws(StorageError) -> StoredGateway?
    /// Gateways by name, behind `name`.
    func gateways(after name: String?, limit: Int) throws(StorageError) -> [StoredGateway]

    // MARK: Upkeep

    /// About how large the history is.
    func historyBytes() throws(StorageError) -> Int64

    /// The time that was noted last; `nil` in a new database.
    func retentionTime() throws(StorageError) -> RetentionTime?
    /// Notes how late it is by the store's own clock, and, about once an hour, which events were committed by then: that is their
    /// age, whatever they are stamped.
    func note(_ time: RetentionTime) throws(StorageError)
    /// Deletes acknowledged outbox entries, requests and keys that ended before `now`, and the oldest history: what was committed
    /// before `historyBefore`, and what is above `historyBytesMax`; at most `limit` rows of each. Returns whether more is left.
    func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, historyBytesMax: Int64, limit: Int
    ) throws(StorageError) -> Bool
}

/// A reading of the clock of what is kept for a time, with the wall clock's beside it.
public struct RetentionTime: Hashable, Sendable {
    public let kept: Timestamp
    public let wall: Timestamp

    public init(kept: Timestamp, wall: Timestamp) {
        self.kept = kept
        self.wall = wall
    }
}

/// What an event takes in history beside its record, and how often its age is noted.
package enum HistoryUpkeep {
    package static let rowBytes: Int64 = 300
    package static let markEvery = TimeSpan.seconds(3_600)
}

/// A frame as it came from its stream.
public struct ReceivedFrame: Sendable {
    /// Why a frame cannot be read. Whatever is done with it, it fails.
    public struct Defect: Sendable {
        /// The body as it came.
        public let payload: [UInt8]
        public let error: String
        /// Whether its partition and epoch could be read.
        public let hasPlace: Bool
    }

    public let stream: StreamID
    public let seq: Int
    /// Without entries when it has a defect.
    public let frame: StoreFrame
    public let defect: Defect?

    public init(stream: StreamID, seq: Int, frame: StoreFrame) {
        self.stream = stream
        self.seq = seq
        self.frame = frame
        defect = nil
    }

    /// One whose body is no `StoreFrame`.
    public init(
        stream: StreamID, seq: Int, unreadable payload: [UInt8], error: String, place: (partition: Int, epoch: Int)?
    ) {
        self.stream = stream
        self.seq = seq
        frame = StoreFrame(partition: place?.partition ?? -1, epoch: place?.epoch ?? 0, entries: [])
        defect = Defect(payload: payload, error: error, hasPlace: place != nil)
    }
}

/// What became of one frame.
public enum FrameResult: Hashable, Sendable {
    case applied
    /// It was applied before, nothing changed.
    case duplicate
    /// Its sender does not own the partition under this epoch, nothing changed.
    case refused
    /// It cannot be applied, nothing changed.
    case failed(StorageError)
    /// One of its stream before it failed, nothing changed.
    case blocked
}

/// What one transaction came to.
public struct CommitReport: Sendable {
    /// One for each frame, in their order.
    public let results: [FrameResult]
    public let orders: [OrderChange]
    /// What lies in the outbox by it, in order.
    public let outbox: [OutboxEntry]

    public init(results: [FrameResult], orders: [OrderChange], outbox: [OutboxEntry]) {
        self.results = results
        self.orders = orders
        self.outbox = outbox
    }
}

public enum OrderChange: Hashable, Sendable {
    /// The agent's only outstanding order is now this one.
    case issued(AgentAddress, position: Int64)
    case settled(AgentAddress)
}

/// A frame that never succeeded.
public struct DeadLetter: Sendable {
    /// The newest so many are kept; all are counted.
    public static let keptMax = 200

    public let frame: ReceivedFrame
    public let error: String
    public let at: Timestamp

    public init(_ frame: ReceivedFrame, error: String, at: Timestamp) {
        self.frame = frame
        self.error = error
        self.at = at
    }
}

/// A dead letter as it is listed.
public struct StoredDeadLetter: Hashable, Sendable {
    /// They are counted from 1.
    public let number: Int
    public let at: Timestamp
    /// `instance/incarnation/stream` of its sender.
    public let stream: String
    public let seq: Int
    public let error: String

    package init(number: Int, at: Timestamp, stream: String, seq: Int, error: String) {
        self.number = number
        self.at = at
        self.stream = stream
        self.seq = seq
        self.error = error
    }
}
