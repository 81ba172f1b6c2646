internal import API
internal import Lifecycle
internal import Model
internal import Storage
internal import Wire

// What a frame changes, once it is known that all of it can be.
extension MemoryDatabase {
    // MARK: Looking through

    /// - Throws: when some entry cannot be applied.
    func lookThrough(_ received: ReceivedFrame) throws(StorageError) {
        if let defect = received.defect {
            throw StorageError(.content, message: defect.error, operation: "read a frame")
        }
        var events: Set<String> = []
        for change in received.frame.entries.flatMap(\.changes) {
            try lookThrough(change, received.frame.partition, &events)
        }
    }

    private func lookThrough(
        _ change: StoreChange, _ partition: Int, _ events: inout Set<String>
    ) throws(StorageError) {
        switch change {
        case .agent(let state, let event):
            try check(state.decoded().record.address.gateway, partition)
            if let event { try check(event, partition, &events) }
        case .event(let event): try check(event, partition, &events)
        case .removal(let state, let event, let tombstone):
            try check(state.decoded().record.address.gateway, partition)
            try check(event, partition, &events)
            try check(tombstone.agent.gateway, partition)
        case .lastSeen(let updates): for update in updates { try check(update.agent.gateway, partition) }
        case .seen(let seen):
            for text in seen.agents { if let agent = AgentAddress(text) { try check(agent.gateway, partition) } }
        case .order(let order): try check(order.decoded().agent.gateway, partition)
        case .gateway(let gateway): try check(gateway.gateway, partition)
        case .removedGateway(let gateway): try check(gateway, partition)
        case .gatewayEvent(let event): try check(event.message.gateway, partition)
        case .credential(let change):
            guard change.isWellFormed else {
                throw StorageError(
                    .content, message: "a credential change that no broker takes", operation: "apply a frame")
            }
        case .settledOrder, .boardPause, .resumedBoard, .intent, .answer: break
        }
    }

    private func check(_ gateway: String, _ partition: Int) throws(StorageError) {
        guard lies(gateway, in: partition) else {
            throw StorageError(
                .content, message: "gateway \(gateway) does not lie in partition \(partition)",
                operation: "apply a frame")
        }
    }

    private func check(
        _ event: AgentEventEntry, _ partition: Int, _ events: inout Set<String>
    ) throws(StorageError) {
        try check(event.agent.gateway, partition)
        guard !eventIDs.contains(event.id), events.insert(event.id).inserted else {
            throw StorageError(.constraint, message: "an event's id is not unique", operation: "apply a frame")
        }
    }

    // MARK: Applying

    /// - Precondition: it was looked through.
    func apply(_ change: StoreChange, _ partition: Int, _ now: Timestamp, _ changes: inout [OrderChange]) {
        switch change {
        case .agent(let state, let event):
            set(state, partition)
            if let event { add(event, status: .set) }
        case .event(let event): add(event, status: .none)
        case .removal(let state, let event, let tombstone):
            set(state, partition)
            remove(tombstone, partition, changedAt: add(event, status: .clear))
            settle(tombstone.agent, &changes)
        case .lastSeen(let updates): for update in updates { note(update) }
        case .seen(let seen): note(seen)
        case .order(let carried):
            guard let order = carried.value else { return }
            let issued = OutstandingOrder(agent: order.agent, position: nextPosition(), order: carried)
            orders[order.agent] = issued
            changes.append(.issued(order.agent, position: issued.position))
        case .settledOrder(let agent): settle(agent, &changes)
        case .gateway(let gateway): gatewayStates[gateway.gateway] = gateway
        case .removedGateway(let gateway):
            gatewayStates[gateway] = nil
            publish(.gatewayCleared(gateway))
        case .gatewayEvent(let event): history.append((publish(.gatewayEvent(event)), .gateway(event)))
        case .boardPause(let pause): boardPauses[partition, default: [:]][pause.board] = pause
        case .resumedBoard(let board): boardPauses[partition]?[board] = nil
        case .credential(let change): apply(change, now)
        case .intent(let intent): remember(intent, partition, now)
        case .answer(let answer): add(answer, partition, now)
        }
    }

    private func set(_ carried: Carried<AgentState>, _ partition: Int) {
        guard let state = carried.value else { return }
        let agent = state.record.address
        let known = agents[agent]
        agents[agent] = Agent(
            place: known?.place ?? nextPlace(), partition: partition, state: state, changedAt: known?.changedAt ?? 0)
        deleted[agent] = nil
    }

    /// The event's sequence.
    @discardableResult
    private func add(_ event: AgentEventEntry, status: PublishedEvent.StatusChange) -> Int64 {
        let record = agents[event.agent]?.state.record
        let published = PublishedEvent(
            id: event.id, event: event.event, agent: event.agent, revision: record?.revision ?? 0,
            reason: event.reason, time: event.time, source: event.source, traceparent: event.traceparent,
            record: record.map { Carried($0) }, status: status)
        let sequence = publish(.event(published))
        history.append((sequence, .agent(published)))
        eventIDs.insert(event.id)
        if status != .none { agents[event.agent]?.changedAt = sequence }
        return sequence
    }

    private func remove(_ tombstone: Tombstone, _ partition: Int, changedAt: Int64) {
        agents[tombstone.agent] = nil
        deleted[tombstone.agent] = Deleted(tombstone: tombstone, partition: partition, changedAt: changedAt)
    }

    private func note(_ update: LastSeenUpdate) {
        if let at = update.lastSeenAt { agents[update.agent]?.state.record.lastSeenAt = at }
        if let rejection = update.lastRejection { agents[update.agent]?.state.record.lastRejection = rejection }
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
