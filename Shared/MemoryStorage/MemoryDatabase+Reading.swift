public import API
public import Lifecycle
public import Model
public import Storage
public import Wire

extension MemoryDatabase {
    public func deadLetters(limit: Int) throws(StorageError) -> (total: Int, kept: Int, newest: [StoredDeadLetter]) {
        (lettersTotal, letters.count, letters.suffix(limit).reversed())
    }

    // MARK: Ownership

    public func owners() throws(StorageError) -> [PartitionOwner] {
        ownership.sorted { $0.key < $1.key }.map { partition, owner in
            PartitionOwner(
                partition: partition, epoch: owner.epoch, instance: owner.instance, incarnation: owner.incarnation,
                stream: owner.stream, appliedSeq: owner.appliedSeq)
        }
    }

    public func agents(
        of partition: Int, at places: ArraySlice<Int64>
    ) throws(StorageError) -> [Carried<AgentState>] {
        let wanted = Set(places)
        return agents.values.filter { $0.partition == partition && wanted.contains($0.place) }
            .sorted { $0.place < $1.place }.map { Carried($0.state) }
    }

    public func requests(of partition: Int, at places: ArraySlice<Int64>) throws(StorageError) -> [RememberedRequest] {
        let wanted = Set(places)
        return requests.filter { $0.key.partition == partition && wanted.contains($0.value.place) }
            .sorted { $0.value.place < $1.value.place }.map(\.value.remembered)
    }

    // MARK: Publishing

    public func outbox(after sequence: Int64, limit: Int) throws(StorageError) -> [OutboxEntry] {
        // All of it follows on what was published: the first that is wanted lies at its front, or not far behind.
        Array(outbox.drop { $0.sequence <= sequence }.prefix(limit))
    }

    public func lastSequence() throws(StorageError) -> Int64 { sequence }

    public func statuses(
        changedAfter sequence: Int64, upTo last: Int64, limit: Int
    ) throws(StorageError) -> [StatusEntry] {
        var entries: [StatusEntry] = []
        for (agent, stored) in agents where stored.changedAt > sequence && stored.changedAt <= last {
            entries.append(
                StatusEntry(agent: agent, sequence: stored.changedAt, record: Carried(stored.state.record)))
        }
        for (agent, gone) in deleted where gone.changedAt > sequence && gone.changedAt <= last {
            entries.append(StatusEntry(agent: agent, sequence: gone.changedAt, record: nil))
        }
        return Array(entries.sorted { $0.sequence < $1.sequence }.prefix(limit))
    }

    public func identities(after username: String?, limit: Int) throws(StorageError) -> [Identity] {
        Array(
            credentials.values.filter { $0.username > username ?? "" }.sorted { $0.username < $1.username }
                .prefix(limit))
    }

    public func noteUse(of tokens: [UsedToken]) throws(StorageError) {
        for token in tokens {
            guard let identity = credentials[token.username], let overlap = identity.overlap else { continue }
            var left: Identity.Overlap?
            if token.digest != identity.digest {
                guard let index = overlap.superseded.firstIndex(of: token.digest) else { continue }
                left = Identity.Overlap(superseded: Array(overlap.superseded[index...]), until: overlap.until)
            }
            credentials[token.username] = Identity(
                username: token.username, digest: identity.digest, overlap: left)
        }
    }

    public func orders(after position: Int64, limit: Int) throws(StorageError) -> [OutstandingOrder] {
        Array(orders.values.filter { $0.position > position }.sorted { $0.position < $1.position }.prefix(limit))
    }

    public func order(of agent: AgentAddress) throws(StorageError) -> Carried<WakeOrder>? { orders[agent]?.order }

    // MARK: Keys

    public func claim(_ claims: [KeyClaim], now: Timestamp) throws(StorageError) -> [String] {
        let until = now + RememberedRequest.lifetime(isKeyed: true)
        return claims.map { claim in
            if let holder = keys[claim.requestID], holder.until >= now { return holder.digest }
            keys[claim.requestID] = Key(digest: claim.digest, until: until)
            return claim.digest
        }
    }

    // MARK: Lookups

    public func record(of agent: AgentAddress) throws(StorageError) -> Carried<AgentRecord>? {
        agents[agent].map { Carried($0.state.record) }
    }

    public func records(
        _ filter: Lookup.AgentFilter, after: AgentAddress?, limit: Int, scanning scanMax: Int
    ) throws(StorageError) -> (records: [StoredRecord], end: AgentAddress?) {
        func matches(_ record: AgentRecord) -> Bool {
            (filter.gateway.map { $0 == record.address.gateway } ?? true)
                && (filter.board.map { $0 == record.board } ?? true) && (filter.role.map { $0 == record.role } ?? true)
                && (filter.statuses?.contains(record.status) ?? true)
                && (filter.hasStaleTemplates.map { $0 == record.hasStaleTemplates } ?? true)
        }
        let behind = agents.keys.filter { agent in after.map { $0 < agent } ?? true }.sorted()
        var found: [StoredRecord] = []
        for (index, agent) in behind.prefix(scanMax).enumerated() {
            if let record = agents[agent]?.state.record, matches(record) {
                found.append(StoredRecord(agent: agent, record: Carried(record)))
            }
            if found.count == limit || index + 1 == scanMax { return (found, index + 1 < behind.count ? agent : nil) }
        }
        return (found, nil)
    }

    public func history(
        of subject: Lookup.HistorySubject, since: Timestamp?, before: Int64?, limit: Int
    ) throws(StorageError) -> [StoredEvent] {
        let found = history.lazy.filter { sequence, event in
            let isSought =
                switch subject {
                case .everybody: true
                case .gateway(let gateway): event.gateway == gateway
                case .agent(let agent): event.agent == agent
                }
            return isSought && sequence < before ?? .max && since.map { $0 <= event.time } ?? true
        }
        return found.suffix(limit).reversed().map { $0.event.stored($0.sequence) }
    }

    public func events(after sequence: Int64, limit: Int) throws(StorageError) -> [StoredEvent] {
        history.lazy.filter { $0.sequence > sequence }.prefix(limit).map { $0.event.stored($0.sequence) }
    }

    public func hasKnown(_ agent: AgentAddress) throws(StorageError) -> Bool {
        agents[agent] != nil || deleted[agent] != nil || history.contains { $0.event.agent == agent }
    }

    public func hasGateway(_ gateway: String) throws(StorageError) -> Bool { gatewayStates[gateway] != nil }

    public func gateway(_ name: String) throws(StorageError) -> StoredGateway? {
        gatewayStates[name].map { state in
            var counts: [AgentStatus: Int] = [:]
            for (agent, stored) in agents where agent.gateway == name {
                counts[stored.state.record.status, default: 0] += 1
            }
            return StoredGateway(gateway: name, state: Carried(state), counts: counts)
        }
    }

    public func gateways(after name: String?, limit: Int) throws(StorageError) -> [StoredGateway] {
        var found: [StoredGateway] = []
        for gateway in gatewayStates.keys.filter({ $0 > name ?? "" }).sorted().prefix(limit) {
            if let stored = try self.gateway(gateway) { found.append(stored) }
        }
        return found
    }

    // MARK: Upkeep

    public func retentionTime() throws(StorageError) -> RetentionTime? { kept }

    public func note(_ time: RetentionTime) throws(StorageError) {
        kept = time
        let newest = historyMarks.last
        guard newest.map({ $0.at + HistoryUpkeep.markEvery <= time.kept && $0.sequence < sequence }) ?? true else {
            return
        }
        historyMarks.append((sequence, time.kept))
    }

    public func alertPosition(of sink: String) throws(StorageError) -> Int64? { alertPositions[sink] }

    public func note(alertPosition position: Int64, of sink: String) throws(StorageError) {
        alertPositions[sink] = position
    }

    public func historyBytes() -> Int64 {
        history.reduce(0) { $0 + HistoryUpkeep.rowBytes + $1.event.bytes }
    }

    public func tidy(
        published: Int64, now: Timestamp, historyBefore: Timestamp, historyBytesMax: Int64, limit: Int
    ) throws(StorageError) -> Bool {
        forgetOutbox(upTo: published)
        let overRequests = requests.filter { $0.value.remembered.until < now }
            .sorted { ($0.value.remembered.until, $0.value.place) < ($1.value.remembered.until, $1.value.place) }
            .prefix(limit)
        for (key, _) in overRequests { requests[key] = nil }
        let overKeys = keys.filter { $0.value.until < now }
            .sorted { ($0.value.until, $0.key) < ($1.value.until, $1.key) }.prefix(limit)
        for (id, _) in overKeys { keys[id] = nil }
        let events = tidyHistory(before: historyBefore, bytesMax: historyBytesMax, limit: limit)
        return overRequests.count == limit || overKeys.count == limit || events == limit
    }

    /// An unpublished event is kept.
    private func tidyHistory(before limitTime: Timestamp, bytesMax: Int64, limit: Int) -> Int {
        let old = historyMarks.last { $0.at < limitTime }?.sequence ?? 0
        let unpublished = outbox.first?.sequence ?? .max
        // Without a bound nothing is encoded to be measured.
        let isOver = bytesMax < .max && historyBytes() > bytesMax
        let gone = history.prefix(limit).prefix { $0.sequence < unpublished && ($0.sequence <= old || isOver) }
        for row in gone { eventIDs.remove(row.event.id) }
        history.removeFirst(gone.count)
        if let first = history.first?.sequence, let mark = historyMarks.last(where: { $0.sequence < first }) {
            historyMarks.removeAll { $0.sequence < mark.sequence }
        }
        return gone.count
    }
}
