internal import API
internal import Lifecycle
internal import Model
internal import Wire

// Commands about one agent.
extension PartitionOwner {
    mutating func provision(_ change: ProvisionRequest, _ request: PartitionRequest, _ turn: inout Turn) throws(Problem)
    {
        guard let gateway = gateways[change.agent.gateway] else { throw Problem.unknownGateway(change.agent.gateway) }
        guard !gateway.isLeaving else {
            throw Problem(member: "agent", "gateway \(change.agent.gateway) is being removed", kind: .conflict)
        }
        guard let index = gateway.agents[PackedIdentifier(change.agent.agent)] else {
            return try create(change, request, &turn)
        }
        _ = try changeable(change.agent, &turn)
        try apply(change, to: index, request, &turn) { PartitionOwner.provision(&$0, change, request, $1, &$2) }
    }

    private static func provision(
        _ machine: inout AgentMachine, _ change: ProvisionRequest, _ request: PartitionRequest, _ context: AgentContext,
        _ results: inout [AgentDirective]
    ) {
        if change.wake {
            machine.requestCycle(
                .provision, reason: .provision, traceparent: request.traceparent, context, into: &results)
        } else {
            machine.provisionWithoutWake(context, into: &results)
        }
    }

    private mutating func create(_ change: ProvisionRequest, _ request: PartitionRequest, _ turn: inout Turn)
        throws(Problem)
    {
        guard let role = change.role else { throw Problem(member: "role", "is missing: a new agent needs one") }
        let inputs = RenderInputs(
            role: role, board: change.board, variables: change.variables.compactMapValues { $0 })
        try check(inputs)
        let overrides = try merged(PolicyOverrides(), change.policy)
        guard let digest = digest(of: inputs, request) else { return answer(request, .render(inputs), &turn) }
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }

        var record = AgentRecord(
            address: change.agent, board: inputs.board, role: role, status: .offline,
            policy: policy(gateway: change.agent.gateway, overrides), createdAt: turn.wallTime)
        record.policyOverrides = overrides
        record.variables = inputs.variables
        record.templatesDigest = digest
        record.tokenID = minted.id
        if let tombstone = tombstones.removeValue(forKey: change.agent) {
            record.generation = tombstone.generation
            record.revision = tombstone.revision
        }
        let index = add(
            AgentMachine(new: record, tokenDigest: minted.digest, rejectedAt: unknown.toldAt(change.agent)))
        // Publication ids never restart either: reports of an agent before it may still be on their way. One generation has fewer.
        let generation = record.generation
        agents.change(index) { $0.change { $0.publication = generation << 20 } }
        // Before its first event, so that its first wake already finds its runtime able to connect.
        turn.commit(credential: change.agent.description, .set(digest: minted.digest))
        if let gateway = gateways[change.agent.gateway]?.state, gateway.isPaused, turn.isInForce(gateway.pausedUntil) {
            drive(index, &turn) { $0.pause(.gateway, until: gateway.pausedUntil, $1, into: &$2) }
        }
        joinBoardPause(index, &turn)
        drive(index, &turn, traceparent: request.traceparent) {
            PartitionOwner.provision(&$0, change, request, $1, &$2)
        }
        answer(request, .record(self.record(index), minted: true), &turn)
    }

    mutating func update(_ change: ProvisionRequest, _ request: PartitionRequest, _ turn: inout Turn) throws(Problem) {
        let index = try changeable(change.agent, &turn)
        try apply(change, to: index, request, &turn) { machine, context, results in
            if change.wake {
                machine.requestCycle(
                    .update, reason: .update, traceparent: request.traceparent, context, into: &results)
            } else {
                machine.noteChange("updated", context, into: &results)
            }
        }
    }

    /// Merges a change into an agent, makes its machine act on it, and answers; asks for files rendered from it first.
    private mutating func apply(
        _ change: ProvisionRequest, to index: Int, _ request: PartitionRequest, _ turn: inout Turn,
        _ act: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) throws(Problem) {
        let inputs = try merged(record(index), change)
        let overrides = try merged(record(index).policyOverrides, change.policy)
        guard let digest = digest(of: inputs, request) else { return answer(request, .render(inputs), &turn) }
        apply(index, inputs, overrides, digest)
        joinBoardPause(index, &turn)
        drive(index, &turn, traceparent: request.traceparent, act)
        leaveBoardPause(index, &turn)
        answer(request, .record(record(index), minted: false), &turn)
    }

    mutating func wake(_ agent: AgentAddress, _ request: PartitionRequest, _ turn: inout Turn) throws(Problem) {
        let index = try changeable(agent, &turn)
        drive(index, &turn, traceparent: request.traceparent) {
            $0.requestCycle(.update, reason: .manual, traceparent: request.traceparent, $1, into: &$2)
        }
        answer(request, .record(record(index), minted: false), &turn)
    }

    mutating func delete(_ agent: AgentAddress, _ request: PartitionRequest, _ turn: inout Turn) throws(Problem) {
        if let index = index(of: agent), record(index).status == .deleting,
            !requests.waiting.contains(where: { $0.isOfDeletion(of: agent) })
        {
            // Its removal was asked of an owner before this one, which can answer no more.
            return awaitDeletion(of: agent, index, request)
        }
        let index = try changeable(agent, &turn)
        turn.commit(.intent(IntentRecord(request: request, count: 1)))
        awaitDeletion(of: agent, index, request)
        drive(index, &turn, traceparent: request.traceparent) { $0.delete($1, into: &$2) }
    }

    mutating func awaitDeletion(of agent: AgentAddress, _ index: Int, _ request: PartitionRequest) {
        requests.wait(
            WaitingAnswer(request: request, agents: agents.references(to: [index]), kind: .deleted(agent)))
    }

    mutating func rotate(_ agent: AgentAddress, now: Bool, _ request: PartitionRequest, _ turn: inout Turn)
        throws(Problem)
    {
        let index = try changeable(agent, &turn)
        guard let minted = request.minted else { throw Problem(.unavailable, "the request brought no candidate token") }
        drive(index, &turn, traceparent: request.traceparent) {
            $0.rotateToken(digest: minted.digest, id: minted.id, keepsOld: !now, $1, into: &$2)
        }
        turn.commit(credential: agent.description, .rotation(to: minted.digest, now: now))
        answer(request, .record(record(index), minted: true), &turn)
    }

    // MARK: Merging

    private func merged(_ record: AgentRecord, _ change: ProvisionRequest) throws(Problem) -> RenderInputs {
        let role = change.role ?? record.role
        var variables = record.variables
        for (name, value) in change.variables { variables[name] = value }
        let board = role.needsBoard ? change.board ?? record.board : change.board
        let inputs = RenderInputs(role: role, board: board, variables: variables)
        try check(inputs)
        return inputs
    }

    private func check(_ inputs: RenderInputs) throws(Problem) {
        guard inputs.variables.count <= Limits.variablesMax else {
            throw Problem(
                member: "variables",
                "the agent would have \(inputs.variables.count), at most \(Limits.variablesMax) are kept")
        }
        let size = inputs.variables.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard size <= Limits.variablesBytesMax else {
            throw Problem(
                member: "variables", "they would have \(size) bytes, at most \(Limits.variablesBytesMax) are kept",
                kind: .tooLarge)
        }
        if inputs.role.needsBoard, inputs.board == nil {
            throw Problem(member: "board", "is missing: a \(inputs.role.rawValue) belongs to a board")
        }
        if !inputs.role.needsBoard, inputs.board != nil {
            throw Problem(member: "board", "is not for role \(inputs.role.rawValue): it belongs to no board")
        }
    }

    func merged(_ overrides: PolicyOverrides, _ patch: PolicyPatch) throws(Problem) -> PolicyOverrides {
        do {
            return try patch.applied(to: overrides)
        } catch {
            throw Problem(member: "policy", error.reason)
        }
    }

    /// The digest of the rendered files, when it was made of just these inputs.
    func digest(of inputs: RenderInputs, _ request: PartitionRequest) -> String? {
        guard let rendered = request.rendered, rendered.inputs == inputs else { return nil }
        return rendered.digest
    }

    private mutating func apply(_ index: Int, _ inputs: RenderInputs, _ overrides: PolicyOverrides, _ digest: String) {
        let policy = policy(gateway: record(index).address.gateway, overrides)
        agents.change(index) { machine in
            machine.change { state in
                state.record.role = inputs.role
                state.record.board = inputs.board
                state.record.variables = inputs.variables
                state.record.policyOverrides = overrides
                state.record.policy = policy
                state.record.templatesDigest = digest
            }
        }
    }

    /// An agent is paused with its board: before a cycle begins, so that no wake of it goes out.
    private mutating func joinBoardPause(_ index: Int, _ turn: inout Turn) {
        guard let pause = boardPause(of: index, turn) else { return }
        let state = agents[index]?.machine.state
        let isPaused = record(index).pausedBy.contains(.board)
        if isPaused, state?.pauseEnds[PauseCause.board.rawValue] == pause.until { return }
        drive(index, &turn) { $0.pause(.board, until: pause.until, $1, into: &$2) }
    }

    /// And with no other: after a cycle was asked for, so that no wake of the one before it goes out.
    private mutating func leaveBoardPause(_ index: Int, _ turn: inout Turn) {
        guard record(index).pausedBy.contains(.board), boardPause(of: index, turn) == nil else { return }
        drive(index, &turn) { $0.resume(.board, $1, into: &$2) }
    }

    private func boardPause(of index: Int, _ turn: borrowing Turn) -> BoardPause? {
        record(index).board.flatMap { boardPauses[$0] }.flatMap { turn.isInForce($0.until) ? $0 : nil }
    }
}
