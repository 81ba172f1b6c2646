internal import API
internal import Lifecycle
internal import Model
internal import Wire

// Commands about gateways, and about many agents at once.
extension PartitionOwner {
    mutating func addGateway(_ gateway: String, _ policy: PolicyPatch, _ request: PartitionRequest) throws(Problem) {
        if let slot = gateways[gateway] {
            guard !slot.isLeaving else {
                throw Problem(member: "gateway", "\(gateway) is being removed", kind: .conflict)
            }
            let overrides = try merged(slot.state.policyOverrides, policy)
            gateways[gateway]?.state.policyOverrides = overrides
            gateways[gateway]?.pace.rate = systemPolicy.overridden(by: overrides).wakeRate
            var entry = intentRecord(request, count: slot.agents.count)
            entry.gateway = gateways[gateway]?.state
            directives.append(.commit(entry))
            let agents = slot.agents.values.sorted()
            return begin(.followPolicy, for: agents, awaiting: [], request, .policyChanged(gateway: gateway))
        }
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }
        var state = GatewayState(gateway: gateway)
        state.policyOverrides = try merged(PolicyOverrides(), policy)
        state.tokenDigest = minted.digest
        state.tokenID = minted.id
        gateways[gateway] = GatewaySlot(state: state, rate: systemPolicy.overridden(by: state.policyOverrides).wakeRate)
        commitGateway(gateway)
        commitCredential(gateway, .set(digest: minted.digest))
        answer(request, .gateway(gateway, minted: true))
    }

    mutating func removeGateway(_ gateway: String, force: Bool, _ request: PartitionRequest) throws(Problem) {
        guard let slot = gateways[gateway] else { throw Problem.unknownGateway(gateway) }
        guard !slot.isLeaving else { throw Problem(member: "gateway", "\(gateway) is being removed", kind: .conflict) }
        guard slot.agents.isEmpty || force else {
            let agents = slot.agents.count == 1 ? "1 agent" : "\(slot.agents.count) agents"
            throw Problem(
                member: "force", "gateway \(gateway) has \(agents): they are deleted with it only by force",
                kind: .conflict)
        }
        directives.append(.commit(intentRecord(request, count: slot.agents.count)))
        remove(gateway, count: slot.agents.count, request)
    }

    private mutating func remove(_ gateway: String, count: Int, _ request: PartitionRequest) {
        gateways[gateway]?.isLeaving = true
        let agents = (gateways[gateway]?.agents.values).map { $0.sorted() } ?? []
        begin(.delete, for: agents, awaiting: agents, request, .gatewayRemoved(gateway, deletedAgents: count))
    }

    mutating func rotate(gateway: String, now: Bool, _ request: PartitionRequest) throws(Problem) {
        guard gateways[gateway] != nil else { throw Problem.unknownGateway(gateway) }
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }
        gateways[gateway]?.state.tokenDigest = minted.digest
        gateways[gateway]?.state.tokenID = minted.id
        commitGateway(gateway)
        let seconds = Int(AgentMachine.tokenOverlap.milliseconds / 1_000)
        commitCredential(gateway, now ? .set(digest: minted.digest) : .overlap(digest: minted.digest, seconds: seconds))
        answer(request, .gateway(gateway, minted: true))
    }

    // MARK: Pause and resume

    mutating func pause(_ target: PauseTarget, _ until: Timestamp?, _ request: PartitionRequest) throws(Problem) {
        if let until, until <= wallTime { throw Problem(member: "until", "\(until) is in the past") }
        let agents = try agents(of: target)
        var entry = intentRecord(request, count: agents.count)
        switch target {
        case .agent:
            let first = directives.count
            drive(agents[0], traceparent: request.traceparent) {
                $0.pause(target.cause, until: until, $1, into: &$2)
            }
            recordIntent(request, with: .paused, from: first)
            return waitingAnswers.append(
                WaitingAnswer(request: request, agents: places(agents), kind: .paused(agents.count)))
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = true
            gateways[gateway]?.state.pausedUntil = until
            entry.gateway = gateways[gateway]?.state
        case .board(let board):
            boardPauses[board] = BoardPause(board: board, until: until)
            entry.boardPause = boardPauses[board]
        }
        directives.append(.commit(entry))
        begin(.pause(target.cause, until: until), for: agents, awaiting: agents, request, .paused(agents.count))
    }

    mutating func resume(_ target: PauseTarget, _ request: PartitionRequest) throws(Problem) {
        let agents = try agents(of: target).filter { hold(of: $0, by: target.cause) != nil }
        var entry = intentRecord(request, count: agents.count)
        switch target {
        case .agent:
            let first = directives.count
            for index in agents {
                drive(index, traceparent: request.traceparent) { $0.resume(target.cause, $1, into: &$2) }
            }
            recordIntent(request, with: .resumed, from: first)
            return answer(request, .paused(agents.count))
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = false
            gateways[gateway]?.state.pausedUntil = nil
            entry.gateway = gateways[gateway]?.state
        case .board(let board):
            boardPauses[board] = nil
            entry.resumedBoard = board
        }
        directives.append(.commit(entry))
        begin(.resume(target.cause), for: agents, awaiting: [], request, .resumed(agents.count))
    }

    /// The agents that a pause or a resume is about, those that are being deleted left out.
    private mutating func agents(of target: PauseTarget) throws(Problem) -> [Int] {
        switch target {
        case .agent(let agent): return [try changeable(agent)]
        case .gateway(let gateway):
            guard let slot = gateways[gateway] else { throw Problem.unknownGateway(gateway) }
            return slot.agents.values.filter { !isLeaving($0) }.sorted()
        case .board(let board):
            return slots.indices.filter { slots[$0]?.machine.state.record.board == board && !isLeaving($0) }
        }
    }

    // MARK: IntentRecords

    /// The entry that says that the request was begun, with what it changes at once. It is committed before any other effect:
    /// they come in many entries, or the answer later, and an owner that dies between them has a successor who carries it on.
    func intentRecord(_ request: PartitionRequest, count: Int) -> StoreEntry {
        var entry = StoreEntry()
        entry.intentRecord = IntentRecord(request: request, count: count)
        return entry
    }

    /// Commits together with an event, its only effect, that the request was begun: a successor has nothing to carry on.
    private mutating func recordIntent(_ request: PartitionRequest, with event: LifecycleEvent, from first: Int) {
        for position in directives.indices.dropFirst(first) {
            guard case .commit(var entry) = directives[position], entry.event?.event == event else { continue }
            entry.intentRecord = IntentRecord(request: request, count: 1)
            directives[position] = .commit(entry)
            return
        }
    }

    /// Carries on what the owner before had begun, in that order, as far as it still holds: a gateway or board that was resumed later is not
    /// paused again, nor the other way round. What has come to an agent already does not come to it again.
    mutating func recoverIntents() {
        let unanswered = intentRecords
        intentRecords = []
        for intentRecord in unanswered {
            let (request, count) = (intentRecord.request, intentRecord.count)
            switch request.command {
            case .pause(let target, _):
                let agents = (try? agents(of: target)) ?? []
                let hold = hold(of: target)
                let left = agents.filter { hold != nil && self.hold(of: $0, by: target.cause) != hold }
                begin(
                    .pause(target.cause, until: hold?.until), for: left, awaiting: agents, request, .paused(count))
            case .resume(let target):
                let agents = (try? agents(of: target)) ?? []
                let isHeld = hold(of: target) != nil
                let left = agents.filter { !isHeld && hold(of: $0, by: target.cause) != nil }
                begin(.resume(target.cause), for: left, awaiting: [], request, .resumed(count))
            case .delete(let agent):
                guard let index = index(of: agent) else { continue }
                waitingAnswers.append(
                    WaitingAnswer(request: request, agents: places([index]), kind: .deleted(agent)))
                drive(index, traceparent: request.traceparent) { $0.delete($1, into: &$2) }
            case .removeGateway(let gateway, _): remove(gateway, count: count, request)
            // Its agents have followed as they were restored.
            case .addGateway(let gateway, _):
                waitingAnswers.append(
                    WaitingAnswer(request: request, agents: [], kind: .policyChanged(gateway: gateway)))
            case .provision, .update, .wake, .rotateAgentToken, .rotateGatewayToken, .syncTemplates, .syncAgent:
                continue
            }
        }
        settleWaitingAnswers()
    }

    /// How a gateway or a board is paused; an agent's own pause, or its end, is complete when it was begun.
    private func hold(of target: PauseTarget) -> Hold? {
        switch target {
        case .agent(let agent): return index(of: agent).flatMap { hold(of: $0, by: .agent) }
        case .gateway(let gateway):
            guard let state = gateways[gateway]?.state, state.isPaused, isInForce(state.pausedUntil) else { return nil }
            return Hold(until: state.pausedUntil)
        case .board(let board):
            guard let pause = boardPauses[board], isInForce(pause.until) else { return nil }
            return Hold(until: pause.until)
        }
    }
}
