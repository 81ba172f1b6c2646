public import API
public import Lifecycle
public import Model
public import Storage
public import Wire

/// Passes everything on to another database; who inherits from it watches some of that, or changes it.
open class DatabaseProxy: StatusDatabase {
    /// The other database.
    public let inner: any StatusDatabase

    public init(_ inner: any StatusDatabase) {
        self.inner = inner
    }

    public var partitionCount: Int { inner.partitionCount }
    public var identity: String { inner.identity }

    // MARK: Frames

    open func commit(_ frames: [ReceivedFrame], published: Int64, now: Timestamp) throws(StorageError) -> CommitReport {
        try inner.commit(frames, published: published, now: now)
    }
    open func deadLetter(_ letter: DeadLetter) throws(StorageError) -> [EndedEpoch] { try inner.deadLetter(letter) }
    open func deadLetters(limit: Int) throws(StorageError) -> (total: Int, kept: Int, newest: [StoredDeadLetter]) {
        try inner.deadLetters(limit: limit)
    }

    // MARK: Ownership

    open func owners() throws(StorageError) -> [PartitionOwner] { try inner.owners() }
    open func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int
    ) throws(StorageError) -> PartitionSnapshot {
        try inner.grant(partition, instance: instance, incarnation: incarnation, above: known)
    }
    open func agents(of partition: Int, at places: ArraySlice<Int64>) throws(StorageError) -> [Carried<AgentState>] {
        try inner.agents(of: partition, at: places)
    }
    open func requests(of partition: Int, at places: ArraySlice<Int64>) throws(StorageError) -> [RememberedRequest] {
        try inner.requests(of: partition, at: places)
    }

    // MARK: Publishing

    open func outbox(after sequence: Int64, limit: Int) throws(StorageError) -> [OutboxEntry] {
        try inner.outbox(after: sequence, limit: limit)
    }
    open func lastSequence() throws(StorageError) -> Int64 { try inner.lastSequence() }
    open func statuses(changedAfter sequence: Int64, upTo last: Int64, limit: Int) throws(StorageError) -> [StatusEntry]
    {
        try inner.statuses(changedAfter: sequence, upTo: last, limit: limit)
    }
    open func identities(after username: String?, limit: Int) throws(StorageError) -> [Identity] {
        try inner.identities(after: username, limit: limit)
    }
    open func noteUse(of tokens: [UsedToken]) throws(StorageError) { try inner.noteUse(of: tokens) }
    open func orders(after position: Int64, limit: Int) throws(StorageError) -> [OutstandingOrder] {
        try inner.orders(after: position, limit: limit)
    }
    open func order(of agent: AgentAddress) throws(StorageError) -> Carried<WakeOrder>? { try inner.order(of: agent) }

    // MARK: Keys

    open func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String] {
        try inner.claim(claims, now: now)
    }

    // MARK: Lookups

    open func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>? {
        try inner.record(of: agent)
    }
    open func records(
        _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int, scanning scanMax: Int
    ) throws(StorageError) -> (records: [StoredRecord], end: AgentAddress?) {
        try inner.records(filter, after: after, limit: limit, scanning: scanMax)
    }
    open func history(
        of subject: Lookup.HistorySubject, since: Timestamp?, before: Int64?, limit: Int
    ) throws(StorageError) -> [StoredEvent] {
        try inner.history(of: subject, since: since, before: before, limit: limit)
    }
    open func events(after sequence: Int64, limit: Int) throws(StorageError) -> [StoredEvent] {
        try inner.events(after: sequence, limit: limit)
    }
    open func hasKnown(_ agent: AgentAddress) throws(StorageError) -> Bool { try inner.hasKnown(agent) }
    open func hasGateway(_ gateway: String) throws(StorageError) -> Bool { try inner.hasGateway(gateway) }
    open func gateway(_ name: String) throws(StorageError) -> StoredGateway? { try inner.gateway(name) }
    open func gateways(after name: String?, limit: Int) throws(StorageError) -> [StoredGateway] {
        try inner.gateways(after: name, limit: limit)
    }

    // MARK: Upkeep

    open func retentionTime() throws(StorageError) -> RetentionTime? { try inner.retentionTime() }
    open func alertPosition(of sink: String) throws(StorageError) -> Int64? { try inner.alertPosition(of: sink) }
    open func note(alertPosition position: Int64, of sink: String) throws(StorageError) {
        try inner.note(alertPosition: position, of: sink)
    }
    open func note(_ time: RetentionTime) throws(StorageError) { try inner.note(time) }
    open func historyBytes() throws(StorageError) -> Int64 { try inner.historyBytes() }
    open func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, historyBytesMax: Int64, limit: Int
    ) throws(StorageError) -> Bool {
        try inner.tidy(
            published: published, now: now, historyBefore: historyBefore, historyBytesMax: historyBytesMax, limit: limit
        )
    }
}
