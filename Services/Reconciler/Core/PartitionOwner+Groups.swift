internal import Contract
internal import Lifecycle

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
            commitGateway(gateway)
            for index in slot.agents.values.sorted() { followPolicy(index) }
            return answer(request, .gateway(gateway, minted: false))
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
        undertake(request, count: slot.agents.count)
        remove(gateway, count: slot.agents.count, request)
    }

    private mutating func remove(_ gateway: String, count: Int, _ request: PartitionRequest) {
        gateways[gateway]?.isLeaving = true
        let agents = (gateways[gateway]?.agents.values).map { $0.sorted() } ?? []
        waitingAnswers.append(
            WaitingAnswer(
                request: request, agents: agents.map { record($0).address },
                kind: .gatewayRemoved(gateway, deletedAgents: count)))
        for index in agents { drive(index, traceparent: request.traceparent) { $0.delete($1, into: &$2) } }
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

    /// The agent's policy follows its gateway's.
    private mutating func followPolicy(_ index: Int) {
        let record = record(index)
        let wanted = policy(gateway: record.address.gateway, record.policyOverrides)
        guard wanted != record.policy else { return }
        drive(index) { machine, around, results in
            machine.change { $0.record.policy = wanted }
            machine.noteChange("policy", around, into: &results)
        }
    }

    // MARK: Pause and resume

    mutating func pause(_ target: PauseTarget, _ until: Timestamp?, _ request: PartitionRequest) throws(Problem) {
        if let until, until <= stamp { throw Problem(member: "until", "\(until) is in the past") }
        let agents = try agents(of: target)
        undertake(request, count: agents.count)
        pause(agents, count: agents.count, target, until, request)
    }

    private mutating func pause(
        _ agents: [Int], count: Int, _ target: PauseTarget, _ until: Timestamp?, _ request: PartitionRequest
    ) {
        switch target {
        case .agent: break
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = true
            gateways[gateway]?.state.pausedUntil = until
            commitGateway(gateway)
        case .board(let board):
            boardPauses[board] = BoardPause(board: board, until: until)
            var entry = StoreEntry()
            entry.boardPause = boardPauses[board]
            directives.append(.commit(entry))
        }
        for index in agents {
            drive(index, traceparent: request.traceparent) { $0.pause(target.cause, until: until, $1, into: &$2) }
        }
        waitingAnswers.append(
            WaitingAnswer(request: request, agents: agents.map { record($0).address }, kind: .paused(count)))
    }

    mutating func resume(_ target: PauseTarget, _ request: PartitionRequest) throws(Problem) {
        let agents = try agents(of: target).filter { record($0).pausedBy.contains(target.cause) }
        undertake(request, count: agents.count)
        resume(agents, count: agents.count, target, request)
    }

    private mutating func resume(_ agents: [Int], count: Int, _ target: PauseTarget, _ request: PartitionRequest) {
        switch target {
        case .agent: break
        case .gateway(let gateway):
            gateways[gateway]?.state.isPaused = false
            gateways[gateway]?.state.pausedUntil = nil
            commitGateway(gateway)
        case .board(let board):
            boardPauses[board] = nil
            var entry = StoreEntry()
            entry.resumedBoard = board
            directives.append(.commit(entry))
        }
        for index in agents {
            drive(index, traceparent: request.traceparent) { $0.resume(target.cause, $1, into: &$2) }
        }
        answer(request, .paused(count))
    }

    // MARK: Undertakings

    /// Commits that the request was begun, before anything that it changes: its effect comes in many entries, or its
    /// answer later, and an owner that dies between them has a successor who carries it on.
    mutating func undertake(_ request: PartitionRequest, count: Int) {
        var entry = StoreEntry()
        entry.undertaking = Undertaking(request: request, count: count)
        directives.append(.commit(entry))
    }

    /// Carries on what the owner before had begun, in that order: of two pauses of one gateway the later one counts. What it
    /// has changed already is not changed again.
    mutating func carryOn() {
        let begun = undertakings
        undertakings = []
        for undertaking in begun {
            let (request, count) = (undertaking.request, undertaking.count)
            switch request.command {
            case .pause(let target, let until):
                let agents = (try? agents(of: target)) ?? []
                let left = agents.filter { !record($0).pausedBy.contains(target.cause) }
                pause(left, count: count, target, until, request)
                waitingAnswers[waitingAnswers.count - 1].agents = agents.map { record($0).address }
            case .resume(let target):
                let agents = (try? agents(of: target)) ?? []
                resume(agents.filter { record($0).pausedBy.contains(target.cause) }, count: count, target, request)
            case .delete(let agent):
                guard let index = index(of: agent) else { continue }
                waitingAnswers.append(WaitingAnswer(request: request, agents: [agent], kind: .deleted(agent)))
                drive(index, traceparent: request.traceparent) { $0.delete($1, into: &$2) }
            case .removeGateway(let gateway, _): remove(gateway, count: count, request)
            case .provision, .update, .wake, .rotateAgentToken, .rotateGatewayToken, .addGateway: continue
            }
        }
        settleWaitingAnswers()
    }

    /// The agents that a pause or a resume is about, those that are being deleted left out.
    private func agents(of target: PauseTarget) throws(Problem) -> [Int] {
        switch target {
        case .agent(let agent): return [try changeable(agent)]
        case .gateway(let gateway):
            guard let slot = gateways[gateway] else { throw Problem.unknownGateway(gateway) }
            return slot.agents.values.filter { record($0).status != .deleting }.sorted()
        case .board(let board):
            return slots.indices.filter { index in
                guard let record = slots[index]?.machine.record else { return false }
                return record.board == board && record.status != .deleting
            }
        }
    }
}
