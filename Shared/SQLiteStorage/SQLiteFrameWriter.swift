internal import API
internal import Lifecycle
internal import Model
internal import Storage
internal import Wire

/// Applies frames inside one open transaction.
///
/// What changes of agents is gathered (`SQLiteAgentChanges`), everything else is written as it comes.
final class SQLiteFrameWriter {
    private let database: SQLiteDatabase
    private let partitionCount: Int
    private let now: Timestamp
    private var owners: [Int: Owner] = [:]
    private let agents: SQLiteAgentChanges
    private(set) var orders: [OrderChange] = []
    private(set) var outbox: [OutboxEntry] = []
    private var historyBytes: Int64 = 0

    private struct Owner {
        let epoch: Int
        let instance: String
        let incarnation: String
        var stream: String
        var appliedSeq: Int
        var isChanged = false
    }

    init(_ database: SQLiteDatabase, partitionCount: Int, now: Timestamp) {
        self.database = database
        self.partitionCount = partitionCount
        self.now = now
        agents = SQLiteAgentChanges(database)
    }

    // MARK: Frames

    /// Applies all; one that fails fails them all.
    func applyTogether(_ frames: [ReceivedFrame]) throws(StorageError) -> [FrameResult] {
        var results: [FrameResult] = []
        results.reserveCapacity(frames.count)
        for frame in frames {
            let result = try judge(frame)
            if result == .applied { try apply(frame) }
            results.append(result)
        }
        try agents.write()
        return results
    }

    /// Applies each on its own; one that fails holds back those of its stream behind it.
    func applyOneByOne(_ frames: [ReceivedFrame]) throws(StorageError) -> [FrameResult] {
        var results: [FrameResult] = []
        var blocked: Set<StreamID> = []
        for frame in frames {
            guard !blocked.contains(frame.stream) else {
                results.append(.blocked)
                continue
            }
            var result = try judge(frame)
            if result == .applied {
                let before = (owners, orders, outbox, historyBytes)
                do throws(StorageError) {
                    try database.savepoint { () throws(StorageError) in
                        try apply(frame)
                        try agents.write()
                    }
                } catch {
                    (owners, orders, outbox, historyBytes) = before
                    agents.forget()
                    guard database.isInTransaction, error.kind.isOfContent else { throw error }
                    blocked.insert(frame.stream)
                    result = .failed(error)
                }
            }
            results.append(result)
        }
        return results
    }

    /// Notes how far each stream was applied, and how history has grown.
    func finish() throws(StorageError) {
        if historyBytes > 0 { try SQLiteStatusDatabase.addToHistory(historyBytes, in: database) }
        for (number, owner) in owners.sorted(by: { $0.key < $1.key }) where owner.isChanged {
            try database.run(
                "UPDATE partitions SET stream = ?, applied_seq = ? WHERE number = ?",
                .text(owner.stream), .integer(owner.appliedSeq), .integer(number))
        }
    }

    /// Whether the frame is new and its sender the owner: `applied`, `duplicate` or `refused`. So is one behind a gap: what came
    /// between was committed, and is not here. The database is an older copy, of which its owner knows nothing.
    private func judge(_ received: ReceivedFrame) throws(StorageError) -> FrameResult {
        let frame = received.frame
        // Of whose partition it is nothing is known: it must fail, not be refused, or it would come again for ever.
        if received.defect?.hasPlace == false { return .applied }
        guard let owner = try owner(of: frame.partition), owner.epoch == frame.epoch,
            owner.instance == received.stream.instance, owner.incarnation == received.stream.incarnation
        else { return .refused }
        let appliedSeq = owner.stream == received.stream.stream ? owner.appliedSeq : 0
        guard received.seq > appliedSeq else { return .duplicate }
        return received.seq == appliedSeq + 1 ? .applied : .refused
    }

    private func owner(of partition: Int) throws(StorageError) -> Owner? {
        if let owner = owners[partition] { return owner }
        let owner = try database.first(
            "SELECT epoch, instance, incarnation, stream, applied_seq FROM partitions WHERE number = ?",
            .integer(partition)
        ) { row in
            Owner(
                epoch: Int(row.integer(0)), instance: row.text(1), incarnation: row.text(2), stream: row.text(3),
                appliedSeq: Int(row.integer(4)))
        }
        owners[partition] = owner
        return owner
    }

    private func apply(_ received: ReceivedFrame) throws(StorageError) {
        if let defect = received.defect {
            throw StorageError(.content, message: defect.error, operation: "read a frame")
        }
        let partition = received.frame.partition
        for entry in received.frame.entries {
            for change in entry.changes { try apply(change, partition) }
        }
        owners[partition]?.stream = received.stream.stream
        owners[partition]?.appliedSeq = received.seq
        owners[partition]?.isChanged = true
    }

    // MARK: Changes

    private func apply(_ change: StoreChange, _ partition: Int) throws(StorageError) {
        switch change {
        case .agent(let state, let event):
            try set(state, partition)
            if let event { try add(event, status: .set, partition) }
        case .event(let event): try add(event, status: .none, partition)
        case .removal(let state, let event, let tombstone):
            try set(state, partition)
            try add(event, status: .clear, partition)
            try remove(tombstone, partition)
        case .lastSeen(let updates): for update in updates { try note(update, partition) }
        case .seen(let seen): try note(seen, partition)
        case .order(let order): try issue(order.bytes, partition)
        case .settledOrder(let agent): try settle(agent)
        case .gateway(let gateway): try set(gateway, partition)
        case .removedGateway(let gateway): try remove(gateway: gateway, partition)
        case .gatewayEvent(let event): try add(event, partition)
        case .boardPause(let pause):
            try database.run(
                "INSERT OR REPLACE INTO board_pauses VALUES(?, ?, ?)", .integer(partition), .text(pause.board),
                .integer(pause.until?.millisecondsSince1970))
        case .resumedBoard(let board):
            try database.run(
                "DELETE FROM board_pauses WHERE partition = ? AND board = ?", .integer(partition), .text(board))
        case .credential(let change): try apply(change)
        case .intent(let intent): try remember(intent, partition)
        case .answer(let answer): try add(answer, partition)
        }
    }

    private func set(_ state: Carried<AgentState>, _ partition: Int) throws(StorageError) {
        let state = try StoredState(state.bytes)
        try checkPartition(state.address.gateway, partition)
        agents.set(state, partition)
    }

    private func set(_ gateway: GatewayState, _ partition: Int) throws(StorageError) {
        try checkPartition(gateway.gateway, partition)
        try database.run(
            "INSERT OR REPLACE INTO gateways VALUES(?, ?, ?)", .text(gateway.gateway), .integer(partition),
            .blob(JSON.bytes(gateway)))
    }

    private func remove(gateway: String, _ partition: Int) throws(StorageError) {
        try checkPartition(gateway, partition)
        try database.run("DELETE FROM gateways WHERE gateway = ?", .text(gateway))
        try publish(.gatewayCleared, target: gateway, .gatewayCleared(gateway))
    }

    private func issue(_ order: [UInt8], _ partition: Int) throws(StorageError) {
        let agent = try StoredState.address(inOrder: order)
        try checkPartition(agent.gateway, partition)
        try database.run(
            "INSERT OR REPLACE INTO orders(agent, wake) VALUES(?, ?)", .text(agent.description), .blob(order))
        orders.append(.issued(agent, position: database.lastInsertedKey))
    }

    private func checkPartition(_ gateway: String, _ partition: Int) throws(StorageError) {
        guard Partition.of(gateway: gateway, count: partitionCount) == partition else {
            throw StorageError(
                .content, message: "gateway \(gateway) does not lie in partition \(partition)",
                operation: "apply a frame")
        }
    }

    private func add(
        _ event: AgentEventEntry, status: PublishedEvent.StatusChange, _ partition: Int
    ) throws(StorageError) {
        try checkPartition(event.agent.gateway, partition)
        let sequence = try insert(.event(status), target: event.agent.description, payload: nil)
        let (record, revision) = try agents.record(of: event.agent)
        try database.run(
            "INSERT INTO history VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", .integer(sequence), .text(event.id),
            .text(event.agent.description), .integer(revision), .text(event.event.rawValue), .text(event.reason),
            .integer(event.time.millisecondsSince1970), .text(event.source), .text(event.traceparent), .blob(record))
        outbox.append(
            OutboxEntry(
                sequence: sequence,
                content: .event(
                    PublishedEvent(
                        id: event.id, event: event.event, agent: event.agent, revision: revision, reason: event.reason,
                        time: event.time, source: event.source, traceparent: event.traceparent,
                        record: record.map { Carried(encoded: $0) }, status: status))))
        historyBytes += HistoryUpkeep.rowBytes + Int64(record?.count ?? 0)
        if status != .none { agents.changed(event.agent, at: sequence, partition) }
    }

    private func remove(_ tombstone: Tombstone, _ partition: Int) throws(StorageError) {
        try checkPartition(tombstone.agent.gateway, partition)
        agents.deadLetter(tombstone, partition)
        try settle(tombstone.agent)
    }

    private func add(_ event: GatewayEventEntry, _ partition: Int) throws(StorageError) {
        let gateway = event.message.gateway
        try checkPartition(gateway, partition)
        let sequence = try publish(.gatewayEvent, target: gateway, payload: JSON.bytes(event), .gatewayEvent(event))
        let message = JSON.bytes(event.message)
        try database.run(
            "INSERT INTO history VALUES(?, ?, ?, 0, ?, NULL, ?, ?, NULL, ?)", .integer(sequence), .text(event.id),
            .text(gateway + "/"), .text(event.message.event.rawValue), .integer(event.time.millisecondsSince1970),
            .text(event.source), .blob(message))
        historyBytes += HistoryUpkeep.rowBytes + Int64(message.count)
    }

    private func note(_ seen: SeenAgents, _ partition: Int) throws(StorageError) {
        for (text, at) in zip(seen.agents, seen.at) {
            guard let agent = AgentAddress(text) else { continue }  // no such agent can be stored
            try checkPartition(agent.gateway, partition)
            agents.note(agent, seenAt: Timestamp(millisecondsSince1970: at), rejection: nil, partition)
        }
    }

    private func note(_ lastSeenUpdate: LastSeenUpdate, _ partition: Int) throws(StorageError) {
        try checkPartition(lastSeenUpdate.agent.gateway, partition)
        agents.note(
            lastSeenUpdate.agent, seenAt: lastSeenUpdate.lastSeenAt, rejection: lastSeenUpdate.lastRejection, partition)
    }

    private func settle(_ agent: AgentAddress) throws(StorageError) {
        if try database.run("DELETE FROM orders WHERE agent = ?", .text(agent.description)) > 0 {
            orders.append(.settled(agent))
        }
    }

    private func apply(_ credential: CredentialChange) throws(StorageError) {
        guard credential.isWellFormed else {
            // The broker would refuse it for ever, and everything behind it would wait.
            throw StorageError(
                .content, message: "a credential change that no broker takes", operation: "apply a frame")
        }
        switch credential.change {
        case .set(let digest):
            try database.run(
                "INSERT OR REPLACE INTO identities VALUES(?, ?, NULL, NULL)", .text(credential.username), .text(digest))
        case .overlap(let digest, let seconds):
            try rotate(credential.username, to: digest, until: now + .seconds(Int64(seconds)))
        case .remove:
            try database.run("DELETE FROM identities WHERE username = ?", .text(credential.username))
        }
        try publish(
            .credential, target: credential.username, payload: JSON.bytes(credential), .credential(credential))
    }

    private func rotate(_ username: String, to digest: String, until: Timestamp) throws(StorageError) {
        let before = try SQLiteStatusDatabase.identity(of: username, in: database)
        guard let identity = Identity.rotating(before, username, to: digest, until: until, now: now) else { return }
        try database.run(
            "INSERT OR REPLACE INTO identities VALUES(?, ?, ?, ?)", .text(username), .text(digest),
            .text(identity.overlap?.superseded.joined(separator: " ")),
            .integer(identity.overlap?.until.millisecondsSince1970))
    }

    private func add(_ answer: AnswerEntry, _ partition: Int) throws(StorageError) {
        let outcome: CommandOutcome
        if let given = answer.outcome {
            outcome = given
            if answer.isFinal { try remember(answer, given, partition) }
        } else {
            outcome = try storedOutcome(answer, partition)
        }
        let message = ProvisionerMessage.answer(
            requestID: answer.requestID, digest: answer.requestDigest, outcome: outcome,
            mintedToken: answer.mintedToken)
        let bytes = JSON.bytes(message)
        try publish(
            .answer, target: answer.provisioner, payload: bytes,
            .answer(provisioner: answer.provisioner, Carried(encoded: bytes)))
    }

    private func remember(_ answer: AnswerEntry, _ outcome: CommandOutcome, _ partition: Int) throws(StorageError) {
        let until = now + RememberedRequest.lifetime(isKeyed: answer.isKeyed)
        try database.run(
            "INSERT OR REPLACE INTO requests VALUES(?, ?, ?, ?, ?, ?, NULL)", .integer(partition),
            .text(answer.requestID), .text(answer.requestDigest),
            .integer(until.millisecondsSince1970), .text(outcome.mintedFor),
            .blob(JSON.bytes(outcome)))
    }

    /// Until its answer replaces it.
    private func remember(_ intentRecord: IntentRecord, _ partition: Int) throws(StorageError) {
        let until = now + RememberedRequest.lifetime(isKeyed: true)
        try database.run(
            "INSERT OR REPLACE INTO requests VALUES(?, ?, ?, ?, NULL, NULL, ?)", .integer(partition),
            .text(intentRecord.request.id), .text(intentRecord.request.digest), .integer(until.millisecondsSince1970),
            .blob(JSON.bytes(intentRecord)))
    }

    private func storedOutcome(_ answer: AnswerEntry, _ partition: Int) throws(StorageError) -> CommandOutcome {
        let bytes = try database.first(
            "SELECT outcome FROM requests WHERE partition = ? AND id = ? AND outcome IS NOT NULL", .integer(partition),
            .text(answer.requestID)
        ) { $0.blob(0) }
        guard let bytes else {
            return .refused(Problem(.unavailable, "the answer to this request is no longer kept"))
        }
        return try Carried<CommandOutcome>(encoded: bytes).decoded().with(minted: answer.mintedToken != nil)
    }

    /// The sequence that it is published under.
    @discardableResult
    private func publish(
        _ kind: SQLiteOutboxKind, target: String, payload: [UInt8]? = nil, _ content: OutboxEntry.Content
    ) throws(StorageError) -> Int64 {
        let sequence = try insert(kind, target: target, payload: payload)
        outbox.append(OutboxEntry(sequence: sequence, content: content))
        return sequence
    }

    private func insert(_ kind: SQLiteOutboxKind, target: String, payload: [UInt8]?) throws(StorageError) -> Int64 {
        try database.run(
            "INSERT INTO outbox(kind, target, payload) VALUES(?, ?, ?)", .integer(kind.rawValue), .text(target),
            .blob(payload))
        return database.lastInsertedKey
    }
}
