internal import API
internal import Lifecycle
internal import Model
internal import Storage
internal import Wire

// What a frame changes, once it is known that all of it can be.
extension MemoryDatabase {
    /// An entry of which all that is carried was read.
    struct ReadEntry {
        let entry: StoreEntry
        let state: AgentState?
        let order: WakeOrder?
    }

    // MARK: Looking through

    /// - Throws: when some entry cannot be applied.
    func lookThrough(_ received: ReceivedFrame) throws(StorageError) -> [ReadEntry] {
        if let defect = received.defect {
            throw StorageError(.content, message: defect.error, operation: "read a frame")
        }
        var events: Set<String> = []
        var entries: [ReadEntry] = []
        for entry in received.frame.entries {
            entries.append(try lookThrough(entry, received.frame.partition))
            guard let event = entry.event else { continue }
            guard !eventIDs.contains(event.id), events.insert(event.id).inserted else {
                throw StorageError(
                    .constraint, message: "an event's id is not unique", operation: "apply a frame")
            }
        }
        return entries
    }

    private func lookThrough(_ entry: StoreEntry, _ partition: Int) throws(StorageError) -> ReadEntry {
        let read = ReadEntry(entry: entry, state: try entry.state?.decoded(), order: try entry.order?.decoded())
        var gateways = [
            read.state?.record.address.gateway, entry.event?.agent.gateway, entry.tombstone?.agent.gateway,
            read.order?.agent.gateway, entry.gateway?.gateway, entry.removedGateway,
            entry.gatewayEvent?.message.gateway,
        ]
        for lastSeenUpdate in entry.lastSeenUpdates ?? [] { gateways.append(lastSeenUpdate.agent.gateway) }
        for text in entry.seen?.agents ?? [] { gateways.append(AgentAddress(text)?.gateway) }
        for case let gateway? in gateways where !lies(gateway, in: partition) {
            throw StorageError(
                .content, message: "gateway \(gateway) does not lie in partition \(partition)",
                operation: "apply a frame")
        }
        guard entry.credential?.isWellFormed ?? true else {
            throw StorageError(
                .content, message: "a credential change that no broker takes", operation: "apply a frame")
        }
        return read
    }

    // MARK: Applying

    /// What the entry changes, in the order in which it is to be seen.
    func apply(_ read: ReadEntry, _ partition: Int, _ now: Timestamp, _ changes: inout [OrderChange]) {
        let entry = read.entry
        if let state = read.state { set(state, partition) }
        let changedAt = entry.event.map { add($0, of: entry) }
        if let tombstone = entry.tombstone {
            delete(tombstone, partition, changedAt: changedAt)
            settle(tombstone.agent, &changes)
        }
        for lastSeenUpdate in entry.lastSeenUpdates ?? [] {
            if let at = lastSeenUpdate.lastSeenAt { agents[lastSeenUpdate.agent]?.state.record.lastSeenAt = at }
            if let rejection = lastSeenUpdate.lastRejection {
                agents[lastSeenUpdate.agent]?.state.record.lastRejection = rejection
            }
        }
        if let seen = entry.seen { note(seen) }
        if let order = read.order {
            let issued = OutstandingOrder(agent: order.agent, position: nextPosition(), order: Carried(order))
            orders[order.agent] = issued
            changes.append(.issued(order.agent, position: issued.position))
        }
        if let agent = entry.settledOrder { settle(agent, &changes) }
        applyGateway(entry, partition)
        if let change = entry.credential { apply(change, now) }
        // After its credential is gone it can say nothing more.
        if let gateway = entry.removedGateway { publish(.gatewayCleared(gateway)) }
        if let intentRecord = entry.intentRecord { remember(intentRecord, partition, now) }
        if let answer = entry.answer { add(answer, partition, now) }
    }

    private func set(_ state: AgentState, _ partition: Int) {
        let agent = state.record.address
        let known = agents[agent]
        agents[agent] = Agent(
            place: known?.place ?? nextPlace(), partition: partition, state: state, changedAt: known?.changedAt ?? 0)
        deleted[agent] = nil
    }

    /// The event's sequence.
    private func add(_ event: AgentEventEntry, of entry: StoreEntry) -> Int64 {
        let status: PublishedEvent.StatusChange =
            entry.tombstone != nil ? .clear : entry.state != nil ? .set : .none
        var record = agents[event.agent]?.state.record
        if entry.state == nil, let tombstone = entry.tombstone {
            record?.revision = tombstone.revision
            record?.updatedAt = event.time
        }
        let published = PublishedEvent(
            id: event.id, event: event.event, agent: event.agent, revision: record?.revision ?? 0,
            reason: event.reason, time: event.time, source: event.source, traceparent: event.traceparent,
            record: record.map { Carried($0) }, status: status)
        let sequence = publish(.event(published))
        history.append((sequence, published))
        eventIDs.insert(event.id)
        if status != .none { agents[event.agent]?.changedAt = sequence }
        return sequence
    }

    private func delete(_ tombstone: Tombstone, _ partition: Int, changedAt: Int64?) {
        agents[tombstone.agent] = nil
        deleted[tombstone.agent] = Deleted(
            tombstone: tombstone, partition: partition, changedAt: changedAt ?? publish(.cleared(tombstone.agent)))
    }

    private func note(_ seen: SeenAgents) {
        for (text, at) in zip(seen.agents, seen.at) {
            guard let agent = AgentAddress(text) else { continue }  // no such agent can be stored
            agents[agent]?.state.record.lastSeenAt = Timestamp(millisecondsSince1970: at)
        }
    }

    private func settle(_ agent: AgentAddress, _ changes: inout [OrderChange]) {
        if orders.removeValue(forKey: agent) != nil { changes.append(.settled(agent)) }
    }

    private func applyGateway(_ entry: StoreEntry, _ partition: Int) {
        if let gateway = entry.gateway { gatewayStates[gateway.gateway] = gateway }
        if let gateway = entry.removedGateway { gatewayStates[gateway] = nil }
        if let event = entry.gatewayEvent { publish(.gatewayEvent(event)) }
        if let pause = entry.boardPause { boardPauses[partition, default: [:]][pause.board] = pause }
        if let board = entry.resumedBoard { boardPauses[partition]?[board] = nil }
    }

    private func apply(_ credential: CredentialChange, _ now: Timestamp) {
        let username = credential.username
        switch credential.change {
        case .set(let digest):
            credentials[username] = Identity(username: username, digest: digest, overlap: nil)
        case .overlap(let digest, let seconds):
            let rotated = Identity.rotating(
                credentials[username], username, to: digest, until: now + .seconds(Int64(seconds)), now: now)
            if let rotated { credentials[username] = rotated }
        case .remove: credentials[username] = nil
        }
        publish(.credential(credential))
    }

    // MARK: Requests

    private func add(_ answer: AnswerEntry, _ partition: Int, _ now: Timestamp) {
        let key = RequestKey(partition: partition, id: answer.requestID)
        let outcome: CommandOutcome
        if let given = answer.outcome {
            outcome = given
            if answer.isFinal {
                let until = now + RememberedRequest.lifetime(isKeyed: answer.isKeyed)
                requests[key] = Request(
                    place: nextPlace(),
                    remembered: RememberedRequest(
                        id: answer.requestID, digest: answer.requestDigest, until: until, mintedFor: given.mintedFor),
                    outcome: given)
            }
        } else {
            outcome =
                requests[key]?.outcome?.with(minted: answer.mintedToken != nil)
                ?? .refused(Problem(.unavailable, "the answer to this request is no longer kept"))
        }
        let message = ProvisionerMessage.answer(
            requestID: answer.requestID, digest: answer.requestDigest, outcome: outcome,
            mintedToken: answer.mintedToken)
        publish(.answer(provisioner: answer.provisioner, Carried(message)))
    }

    /// Until its answer replaces it.
    private func remember(_ intentRecord: IntentRecord, _ partition: Int, _ now: Timestamp) {
        let request = intentRecord.request
        var remembered = RememberedRequest(
            id: request.id, digest: request.digest, until: now + RememberedRequest.lifetime(isKeyed: true),
            mintedFor: nil)
        remembered.intentRecord = intentRecord
        requests[RequestKey(partition: partition, id: request.id)] = Request(
            place: nextPlace(), remembered: remembered, outcome: nil)
    }
}
