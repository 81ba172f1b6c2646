internal import API
internal import Lifecycle
internal import Model
internal import Wire

// Commands about gateways, and about many agents at once.
extension PartitionOwner {
    mutating func addGateway(
        _ gateway: String, _ policy: PolicyPatch, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        if let slot = gateways[gateway] {
            guard !slot.isLeaving else {
                throw Problem(member: "gateway", "\(gateway) is being removed", kind: .conflict)
            }
            let overrides = try merged(slot.state.policyOverrides, policy)
            gateways[gateway]?.state.policyOverrides = overrides
            gateways[gateway]?.pace.rate = systemPolicy.overridden(by: overrides).wakeRate
            commitGateway(gateway, &turn, with: .intent(IntentRecord(request: request, count: slot.agents.count)))
            let agents = slot.agents.values.sorted()
            return begin(.followPolicy, for: agents, awaiting: [], request, .policyChanged(gateway: gateway), &turn)
        }
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }
        var state = GatewayState(gateway: gateway)
        state.policyOverrides = try merged(PolicyOverrides(), policy)
        state.tokenDigest = minted.digest
        state.tokenID = minted.id
        gateways[gateway] = GatewaySlot(state: state, rate: systemPolicy.overridden(by: state.policyOverrides).wakeRate)
        commitGateway(gateway, &turn)
        turn.commit(credential: gateway, .set(digest: minted.digest))
        answer(request, .gateway(gateway, minted: true), &turn)
    }

    mutating func removeGateway(
        _ gateway: String, force: Bool, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        guard let slot = gateways[gateway] else { throw Problem.unknownGateway(gateway) }
        guard !slot.isLeaving else { throw Problem(member: "gateway", "\(gateway) is being removed", kind: .conflict) }
        guard slot.agents.isEmpty || force else {
            let agents = slot.agents.count == 1 ? "1 agent" : "\(slot.agents.count) agents"
            throw Problem(
                member: "force", "gateway \(gateway) has \(agents): they are deleted with it only by force",
                kind: .conflict)
        }
        turn.commit(.intent(IntentRecord(request: request, count: slot.agents.count)))
        remove(gateway, count: slot.agents.count, request, &turn)
    }

    private mutating func remove(_ gateway: String, count: Int, _ request: PartitionRequest, _ turn: inout Turn) {
        gateways[gateway]?.isLeaving = true
        let agents = (gateways[gateway]?.agents.values).map { $0.sorted() } ?? []
        begin(.delete, for: agents, awaiting: agents, request, .gatewayRemoved(gateway, deletedAgents: count), &turn)
    }

    mutating func rotate(
        gateway: String, now: Bool, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        guard gateways[gateway] != nil else { throw Problem.unknownGateway(gateway) }
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }
        gateways[gateway]?.state.tokenDigest = minted.digest
        gateways[gateway]?.state.tokenID = minted.id
        commitGateway(gateway, &turn)
        turn.commit(credential: gateway, .rotation(to: minted.digest, now: now))
        answer(request, .gateway(gateway, minted: true), &turn)
    }

    // MARK: Pause and resume

    mutating func pause(
        _ target: PauseTarget, _ until: Timestamp?, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        if let until, until <= turn.wallTime { throw Problem(member: "until", "\(until) is in the past") }
        let indices = try self.agents(of: target, &turn)
        let intent = StoreChange.intent(IntentRecord(request: request, count: indices.count))
        switch target {
        case .agent:
            // Its only effect is its event: committed together, a successor has nothing to carry on.
            drive(indices[0], &turn, traceparent: request.traceparent, with: intent) {
                $0.pause(target.cause, until: until, $1, into: &$2)
            }
            return requests.wait(
                WaitingAnswer(request: request, agents: agents.references(to: indices), kind: .paused(indices.count)))
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = true
            gateways[gateway]?.state.pausedUntil = until
            commitGateway(gateway, &turn, with: intent)
        case .board(let board):
            let pause = BoardPause(board: board, until: until)
            boardPauses[board] = pause
            turn.commit(.boardPause(pause), intent)
        }
        begin(
            .pause(target.cause, until: until), for: indices, awaiting: indices, request, .paused(indices.count), &turn)
    }

    mutating func resume(
        _ target: PauseTarget, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        let indices = try agents(of: target, &turn).filter { hold(of: $0, by: target.cause) != nil }
        let intent = StoreChange.intent(IntentRecord(request: request, count: indices.count))
        switch target {
        case .agent:
            for index in indices {
                drive(index, &turn, traceparent: request.traceparent, with: intent) {
                    $0.resume(target.cause, $1, into: &$2)
                }
            }
            return answer(request, .paused(indices.count), &turn)
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = false
            gateways[gateway]?.state.pausedUntil = nil
            commitGateway(gateway, &turn, with: intent)
        case .board(let board):
            boardPauses[board] = nil
            turn.commit(.resumedBoard(board), intent)
        }
        begin(.resume(target.cause), for: indices, awaiting: [], request, .resumed(indices.count), &turn)
    }

    /// The agents that a pause or a resume is about, those that are being deleted left out.
    private mutating func agents(of target: PauseTarget, _ turn: inout Turn) throws(Problem) -> [Int] {
        switch target {
        case .agent(let agent): return [try changeable(agent, &turn)]
        case .gateway(let gateway):
            guard let slot = gateways[gateway] else { throw Problem.unknownGateway(gateway) }
            return slot.agents.values.filter { !isLeaving($0) }.sorted()
        case .board(let board):
            return agents.indices.filter { agents[$0]?.machine.state.record.board == board && !isLeaving($0) }
        }
    }

    // MARK: What the owner before had begun

    // A command whose effects come in many entries, or whose answer comes later, is recorded as begun with its first effect: an
    // owner that dies between them has a successor who carries it on.

    /// Carries on what the owner before had begun, in that order, as far as it still holds: a gateway or board that was resumed later is not
    /// paused again, nor the other way round. What has come to an agent already does not come to it again.
    mutating func recoverIntents(_ turn: inout Turn) {
        for intent in requests.takeIntents() {
            let (request, count) = (intent.request, intent.count)
            switch request.command {
            case .pause(let target, _):
                let indices = (try? agents(of: target, &turn)) ?? []
                let hold = hold(of: target, turn)
                let left = indices.filter { hold != nil && self.hold(of: $0, by: target.cause) != hold }
                begin(
                    .pause(target.cause, until: hold?.until), for: left, awaiting: indices, request, .paused(count),
                    &turn)
            case .resume(let target):
                let indices = (try? agents(of: target, &turn)) ?? []
                let isHeld = hold(of: target, turn) != nil
                let left = indices.filter { !isHeld && hold(of: $0, by: target.cause) != nil }
                begin(.resume(target.cause), for: left, awaiting: [], request, .resumed(count), &turn)
            case .delete(let agent):
                guard let index = index(of: agent) else { continue }
                awaitDeletion(of: agent, index, request)
                drive(index, &turn, traceparent: request.traceparent) { $0.delete($1, into: &$2) }
            case .removeGateway(let gateway, _): remove(gateway, count: count, request, &turn)
            // Its agents have followed as they were restored.
            case .addGateway(let gateway, _):
                requests.wait(WaitingAnswer(request: request, agents: [], kind: .policyChanged(gateway: gateway)))
            case .provision, .update, .wake, .rotateAgentToken, .rotateGatewayToken, .syncTemplates, .syncAgent:
                continue
            }
        }
        settleWaitingAnswers(&turn)
    }

    /// How a gateway or a board is paused; an agent's own pause, or its end, is complete when it was begun.
    private func hold(of target: PauseTarget, _ turn: borrowing Turn) -> Hold? {
        switch target {
        case .agent(let agent): return index(of: agent).flatMap { hold(of: $0, by: .agent) }
        case .gateway(let gateway):
            guard let state = gateways[gateway]?.state, state.isPaused, turn.isInForce(state.pausedUntil) else {
                return nil
            }
            return Hold(until: state.pausedUntil)
        case .board(let board):
            guard let pause = boardPauses[board], turn.isInForce(pause.until) else { return nil }
            return Hold(until: pause.until)
        }
    }
}
