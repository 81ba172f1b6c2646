import Contract
import Lifecycle

/// What survives: a model of `StatusDatabase`. A commit is one step, whole or not at all.
struct DatabaseModel {
    struct Owner {
        let epoch: Int
        let instance: String
        let incarnation: String
        var stream = ""
        var appliedSeq = 0
    }

    struct Executed {
        let request: RememberedRequest
        /// `nil` while it is begun and not answered.
        let outcome: CommandOutcome?
        /// In the order in which they were written, as SQLite's rowid.
        let place: Int
    }

    enum Content {
        case event(AgentEventEntry, revision: Int, hasStatus: Bool, isCleared: Bool)
        case answer(provisioner: String, ProvisionerMessage)
        case credential(CredentialChange)
        case gatewayEvent
    }

    struct OutboxEntry {
        let sequence: Int64
        let content: Content
    }

    struct Received {
        let id: StreamID
        let seq: Int
        let frame: StoreFrame
    }

    enum Result { case applied, duplicate, refused }

    enum OrderChange {
        case issued(AgentAddress, position: Int64)
        case settled(AgentAddress)
    }

    var owners: [Int: Owner] = [:]
    var agents: [AgentAddress: AgentState] = [:]
    var tombstones: [AgentAddress: Tombstone] = [:]
    var gateways: [String: GatewayState] = [:]
    var boardPauses: [Int: [String: BoardPause]] = [:]
    var requests: [Int: [String: Executed]] = [:]
    private var keys: [String: (digest: String, until: Timestamp)] = [:]
    var outbox: [OutboxEntry] = []
    var orders: [AgentAddress: (position: Int64, order: WakeOrder)] = [:]
    /// The sequence of each agent's last change of status.
    var changedAt: [AgentAddress: Int64] = [:]
    private(set) var lastSequence: Int64 = 0
    private var lastPosition: Int64 = 0
    private var lastPlace = 0
    let partitionCount: Int

    init(partitionCount: Int) {
        self.partitionCount = partitionCount
    }

    mutating func grant(
        _ partition: Int, instance: String, incarnation: String, above known: Int, _ world: World
    ) -> GrantChunk {
        let stored = owners[partition]?.epoch ?? 0
        let isNew = stored == 0 || !world.isBroken(.epochsAreNew)
        let epoch = isNew ? max(stored, known) + 1 : stored
        owners[partition] = Owner(epoch: epoch, instance: instance, incarnation: incarnation)
        var all = GrantChunk(partition: partition, epoch: epoch, incarnation: incarnation, index: 0, isLast: true)
        all.agents = agents.filter { lies($0.key.gateway, partition) }.sorted { $0.key < $1.key }.map(\.value)
        if !world.isBroken(.tombstonesAreKept) {
            all.tombstones = tombstones.filter { lies($0.key.gateway, partition) }.sorted { $0.key < $1.key }
                .map(\.value)
        }
        all.gateways = gateways.filter { lies($0.key, partition) }.sorted { $0.key < $1.key }.map(\.value)
        all.boardPauses = (boardPauses[partition] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
        if !world.isBroken(.requestsAreRemembered) {
            all.requests = (requests[partition] ?? [:]).values.sorted { $0.place < $1.place }.map(\.request)
            if world.isBroken(.undertakingsSurvive) { all.requests.removeAll { $0.undertaking != nil } }
        }
        return all
    }

    mutating func commit(
        _ frames: [Received], published: Int64, now: Timestamp, _ oracle: Oracle
    ) -> (results: [Result], orders: [OrderChange]) {
        outbox.removeAll { $0.sequence <= published }
        var changes: [OrderChange] = []
        let results = frames.map { frame in
            let result = judge(frame, oracle.world)
            if result == .applied { apply(frame, now, oracle, &changes) }
            return result
        }
        return (results, changes)
    }

    /// The digest of the request that has the key now.
    mutating func claim(_ claim: KeyClaim, now: Timestamp) -> String {
        if let holder = keys[claim.requestID], holder.until >= now { return holder.digest }
        keys[claim.requestID] = (claim.digest, until(now, isKeyed: true))
        return claim.digest
    }

    private func lies(_ gateway: String, _ partition: Int) -> Bool {
        Partition.of(gateway: gateway, count: partitionCount) == partition
    }

    private func judge(_ received: Received, _ world: World) -> Result {
        guard let owner = owners[received.frame.partition] else { return .refused }
        if !world.isBroken(.epochIsChecked) {
            guard owner.epoch == received.frame.epoch, owner.instance == received.id.instance,
                owner.incarnation == received.id.incarnation || world.isBroken(.incarnationsDiffer)
            else { return .refused }
        }
        if world.isBroken(.framesApplyOnce) { return .applied }
        let appliedSeq = owner.stream == received.id.stream ? owner.appliedSeq : 0
        guard received.seq > appliedSeq else { return .duplicate }
        return received.seq == appliedSeq + 1 ? .applied : .refused
    }

    private mutating func apply(
        _ received: Received, _ now: Timestamp, _ oracle: Oracle, _ changes: inout [OrderChange]
    ) {
        let frame = received.frame
        for entry in frame.entries {
            apply(entry, frame.partition, now, &changes)
            oracle.committed(entry, epoch: frame.epoch, partition: frame.partition, self)
        }
        owners[frame.partition]?.stream = received.id.stream
        owners[frame.partition]?.appliedSeq = received.seq
    }

    private mutating func apply(
        _ entry: StoreEntry, _ partition: Int, _ now: Timestamp, _ changes: inout [OrderChange]
    ) {
        if let state = entry.state?.value {
            agents[state.record.address] = state
            tombstones[state.record.address] = nil
        }
        if let event = entry.event {
            let revision = agents[event.agent]?.record.revision ?? tombstones[event.agent]?.revision ?? 0
            let sequence = publish(
                .event(event, revision: revision, hasStatus: entry.state != nil, isCleared: entry.tombstone != nil))
            if entry.state != nil || entry.tombstone != nil { changedAt[event.agent] = sequence }
        }
        if let tombstone = entry.tombstone {
            agents[tombstone.agent] = nil
            tombstones[tombstone.agent] = tombstone
            if entry.event == nil {
                let gone = AgentEventEntry(
                    id: "", event: .deleted, agent: tombstone.agent, reason: nil, time: now, source: "",
                    traceparent: nil)
                changedAt[tombstone.agent] = publish(
                    .event(gone, revision: tombstone.revision, hasStatus: false, isCleared: true))
            }
            settle(tombstone.agent, &changes)
        }
        note(entry)
        if let order = entry.order?.value {
            lastPosition += 1
            orders[order.agent] = (lastPosition, order)
            changes.append(.issued(order.agent, position: lastPosition))
        }
        if let agent = entry.settledOrder { settle(agent, &changes) }
        if let gateway = entry.gateway { gateways[gateway.gateway] = gateway }
        if let gateway = entry.removedGateway { gateways[gateway] = nil }
        if entry.gatewayEvent != nil { publish(.gatewayEvent) }
        if let pause = entry.boardPause { boardPauses[partition, default: [:]][pause.board] = pause }
        if let board = entry.resumedBoard { boardPauses[partition]?[board] = nil }
        if let change = entry.credential { publish(.credential(change)) }
        if let undertaking = entry.undertaking {
            let request = undertaking.request
            var remembered = RememberedRequest(
                id: request.id, digest: request.digest, until: until(now, isKeyed: request.isKeyed), mintedFor: nil)
            remembered.undertaking = undertaking
            lastPlace += 1
            requests[partition, default: [:]][request.id] = Executed(
                request: remembered, outcome: nil, place: lastPlace)
        }
        if let answer = entry.answer { add(answer, partition, now) }
    }

    private mutating func note(_ entry: StoreEntry) {
        for sighting in entry.sightings ?? [] {
            if let at = sighting.lastSeenAt { agents[sighting.agent]?.record.lastSeenAt = at }
            if let rejection = sighting.lastRejection { agents[sighting.agent]?.record.lastRejection = rejection }
        }
        guard let seen = entry.seen else { return }
        for (text, at) in zip(seen.agents, seen.at) {
            guard let agent = AgentAddress(text) else { continue }
            agents[agent]?.record.lastSeenAt = Timestamp(millisecondsSince1970: at)
        }
    }

    private mutating func settle(_ agent: AgentAddress, _ changes: inout [OrderChange]) {
        guard orders.removeValue(forKey: agent) != nil else { return }
        changes.append(.settled(agent))
    }

    private mutating func add(_ answer: AnswerEntry, _ partition: Int, _ now: Timestamp) {
        let outcome: CommandOutcome
        if let given = answer.outcome {
            outcome = given
            var mintedFor: String?
            if case .record(let record, minted: true) = given { mintedFor = record.address.description }
            if case .gateway(let gateway, minted: true) = given { mintedFor = gateway }
            if answer.isFinal {
                let until = until(now, isKeyed: answer.isKeyed)
                lastPlace += 1
                requests[partition, default: [:]][answer.requestID] = Executed(
                    request: RememberedRequest(
                        id: answer.requestID, digest: answer.requestDigest, until: until, mintedFor: mintedFor),
                    outcome: given, place: lastPlace)
            }
        } else {
            outcome =
                requests[partition]?[answer.requestID]?.outcome
                ?? .refused(Problem(.unavailable, "the answer to this request is no longer kept"))
        }
        publish(
            .answer(
                provisioner: answer.provisioner,
                .answer(
                    requestID: answer.requestID, digest: answer.requestDigest, outcome: outcome,
                    mintedToken: answer.mintedToken)))
    }

    private func until(_ now: Timestamp, isKeyed: Bool) -> Timestamp {
        now + RememberedRequest.lifetime(isKeyed: isKeyed)
    }

    @discardableResult
    private mutating func publish(_ content: Content) -> Int64 {
        lastSequence += 1
        outbox.append(OutboxEntry(sequence: lastSequence, content: content))
        return lastSequence
    }
}
