internal import Lifecycle
public import Model
public import Storage
public import Wire

/// What a row of the outbox is; its raw value is stored. 13 was another kind once.
enum SQLiteOutboxKind: Sendable {
    case event(PublishedEvent.StatusChange)
    case gatewayEvent
    case answer
    case credential
    case gatewayCleared

    var rawValue: Int {
        switch self {
        case .event(let status): status.rawValue
        case .gatewayEvent: 10
        case .answer: 11
        case .credential: 12
        case .gatewayCleared: 14
        }
    }

    init?(rawValue: Int) {
        switch rawValue {
        case 10: self = .gatewayEvent
        case 11: self = .answer
        case 12: self = .credential
        case 14: self = .gatewayCleared
        default:
            guard let status = PublishedEvent.StatusChange(rawValue: rawValue) else { return nil }
            self = .event(status)
        }
    }
}

private let identityColumns = "username, digest, superseded, overlap_until"

extension SQLiteStatusDatabase {
    public func outbox(after sequence: Int64, limit: Int) throws(StorageError) -> [OutboxEntry] {
        var entries: [OutboxEntry] = []
        try database.query(
            """
            SELECT outbox.sequence, kind, target, payload,
                id, revision, event, reason, time, source, traceparent, record
            FROM outbox LEFT JOIN history ON kind < 10 AND history.sequence = outbox.sequence
            WHERE outbox.sequence > ? ORDER BY outbox.sequence LIMIT ?
            """, .integer(sequence), .integer(limit)
        ) { row throws(StorageError) in
            entries.append(OutboxEntry(sequence: row.integer(0), content: try outboxContent(row)))
        }
        return entries
    }

    private func outboxContent(_ row: borrowing SQLiteRow) throws(StorageError) -> OutboxEntry.Content {
        let number = Int(row.integer(1))
        guard let kind = SQLiteOutboxKind(rawValue: number) else {
            throw StorageError(.content, message: "\(number) is no kind of the outbox", operation: "read the outbox")
        }
        let target = row.text(2)
        switch kind {
        case .event(let status):
            return .event(
                PublishedEvent(
                    id: row.text(4), event: try stored(row.text(6)), agent: try address(target),
                    revision: Int(row.integer(5)), reason: row.optionalText(7),
                    time: Timestamp(millisecondsSince1970: row.integer(8)), source: row.text(9),
                    traceparent: row.optionalText(10), record: row.optionalBlob(11).map { Carried(encoded: $0) },
                    status: status))
        case .gatewayEvent: return .gatewayEvent(try Carried(encoded: row.blob(3)).decoded())
        case .answer: return .answer(provisioner: target, Carried(encoded: row.blob(3)))
        case .credential: return .credential(try Carried(encoded: row.blob(3)).decoded())
        case .gatewayCleared: return .gatewayCleared(target)
        }
    }

    public func lastSequence() throws(StorageError) -> Int64 {
        try database.first("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'") { $0.integer(0) } ?? 0
    }

    public func statuses(
        changedAfter sequence: Int64, upTo last: Int64, limit: Int
    ) throws(StorageError) -> [StatusEntry] {
        var entries: [StatusEntry] = []
        try database.query(
            """
            SELECT address, changed_at_sequence, \(StoredAgent.recordColumns) FROM agents
            WHERE changed_at_sequence > ? AND changed_at_sequence <= ? ORDER BY changed_at_sequence LIMIT ?
            """, .integer(sequence), .integer(last), .integer(limit)
        ) { row throws(StorageError) in
            entries.append(
                StatusEntry(
                    agent: try address(row.text(0)), sequence: row.integer(1),
                    record: Carried(encoded: StoredAgent.recordBytes(row, at: 2))))
        }
        try database.query(
            """
            SELECT address, changed_at_sequence FROM tombstones
            WHERE changed_at_sequence > ? AND changed_at_sequence <= ? ORDER BY changed_at_sequence LIMIT ?
            """, .integer(sequence), .integer(last), .integer(limit)
        ) { row throws(StorageError) in
            entries.append(StatusEntry(agent: try address(row.text(0)), sequence: row.integer(1), record: nil))
        }
        return Array(entries.sorted { $0.sequence < $1.sequence }.prefix(limit))
    }

    public func identities(after username: String?, limit: Int) throws(StorageError) -> [Identity] {
        var identities: [Identity] = []
        try database.query(
            "SELECT \(identityColumns) FROM identities WHERE username > ? ORDER BY username LIMIT ?",
            .text(username ?? ""), .integer(limit)
        ) { row in identities.append(SQLiteStatusDatabase.identity(row)) }
        return identities
    }

    public func noteUse(of tokens: [UsedToken]) throws(StorageError) {
        try database.transaction { () throws(StorageError) in
            for token in tokens {
                guard let identity = try SQLiteStatusDatabase.identity(of: token.username, in: database),
                    let superseded = identity.overlap?.superseded
                else { continue }
                if token.digest == identity.digest {
                    try database.run(
                        "UPDATE identities SET superseded = NULL, overlap_until = NULL WHERE username = ?",
                        .text(token.username))
                } else if let index = superseded.firstIndex(of: token.digest) {
                    try database.run(
                        "UPDATE identities SET superseded = ? WHERE username = ?",
                        .text(superseded[index...].joined(separator: " ")), .text(token.username))
                }
            }
        }
    }

    static func identity(of username: String, in database: SQLiteDatabase) throws(StorageError) -> Identity? {
        try database.first("SELECT \(identityColumns) FROM identities WHERE username = ?", .text(username)) { row in
            identity(row)
        }
    }

    private static func identity(_ row: borrowing SQLiteRow) -> Identity {
        let overlap = row.optionalText(2).map { superseded in
            Identity.Overlap(
                superseded: superseded.split(separator: " ").map(String.init),
                until: Timestamp(millisecondsSince1970: row.integer(3)))
        }
        return Identity(username: row.text(0), digest: row.text(1), overlap: overlap)
    }

    public func orders(after position: Int64, limit: Int) throws(StorageError) -> [OutstandingOrder] {
        var orders: [OutstandingOrder] = []
        try database.query(
            "SELECT position, agent, wake FROM orders WHERE position > ? ORDER BY position LIMIT ?",
            .integer(position), .integer(limit)
        ) { row throws(StorageError) in
            orders.append(
                OutstandingOrder(
                    agent: try address(row.text(1)), position: row.integer(0), order: Carried(encoded: row.blob(2))))
        }
        return orders
    }

    public func order(of agent: AgentAddress) throws(StorageError) -> Carried<WakeOrder>? {
        try database.first("SELECT wake FROM orders WHERE agent = ?", .text(agent.description)) { row in
            Carried(encoded: row.blob(0))
        }
    }
}
