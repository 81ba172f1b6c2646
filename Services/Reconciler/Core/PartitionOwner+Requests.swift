internal import API
internal import Lifecycle
internal import Model
internal import Wire

extension PartitionOwner {
    /// Executes a command once: a repeat of its id gets the answer of the first.
    ///
    /// - Parameter frameAge: how long ago its frame was made: one that is as old as what is remembered may have been executed, and
    ///   forgotten since.
    mutating func execute(_ request: PartitionRequest, frameAge: TimeSpan, _ turn: inout Turn) {
        if let known = requests.executed(request.id, turn.now) { return repeatAnswer(request, known, &turn) }
        switch requests.join(request) {
        case .new: break
        case .joined: return
        case .otherUse: return refuseOtherUse(of: request, &turn)
        }
        guard frameAge.milliseconds < ExecutedRequest.surelyRememberedFor(isKeyed: request.isKeyed).milliseconds else {
            return answer(
                request, .refused(Problem(.unavailable, "the request is so old that it may have been executed")), &turn)
        }
        do {
            try perform(request, &turn)
        } catch {
            answer(request, .refused(error), &turn)
        }
        settleWaitingAnswers(&turn)
    }

    private mutating func perform(_ request: PartitionRequest, _ turn: inout Turn) throws(Problem) {
        if let revisions = request.revisions, let agent = request.command.agent {
            let revision = record(try changeable(agent, &turn)).revision
            guard revisions.contains(revision) else {
                throw Problem(member: "if-match", "the record has revision \(revision)", kind: .conflict)
            }
        }
        switch request.command {
        case .provision(let change): try provision(change, request, &turn)
        case .update(let change): try update(change, request, &turn)
        case .wake(let agent): try wake(agent, request, &turn)
        case .delete(let agent): try delete(agent, request, &turn)
        case .rotateAgentToken(let agent, let now): try rotate(agent, now: now, request, &turn)
        case .rotateGatewayToken(let gateway, let now): try rotate(gateway: gateway, now: now, request, &turn)
        case .pause(let target, let until): try pause(target, until, request, &turn)
        case .resume(let target): try resume(target, request, &turn)
        case .addGateway(let gateway, let policy): try addGateway(gateway, policy, request, &turn)
        case .removeGateway(let gateway, let force): try removeGateway(gateway, force: force, request, &turn)
        case .syncTemplates(let sync, let after): try listMembers(sync, after: after, request, &turn)
        case .syncAgent(let agent, let sync): try syncTemplates(agent, sync, request, &turn)
        }
    }

    // MARK: Answers

    mutating func answer(_ request: PartitionRequest, _ outcome: CommandOutcome, _ turn: inout Turn) {
        turn.commit(requests.answer(request, outcome, turn.now))
    }

    /// The first request keeps the key.
    private mutating func refuseOtherUse(of request: PartitionRequest, _ turn: inout Turn) {
        let problem = Problem(.conflict, "the idempotency key was used for another request")
        turn.commit(RequestLedger.answer(request, .refused(problem), isFinal: false, mintedToken: nil))
    }

    private mutating func repeatAnswer(_ request: PartitionRequest, _ known: ExecutedRequest, _ turn: inout Turn) {
        guard known.digest == request.digest else { return refuseOtherUse(of: request, &turn) }
        var minted = false
        if let username = known.mintedFor, let token = request.minted,
            !known.replacedSecrets.contains(token.digest)
        {
            let before = tokenDigest(of: username)
            minted = mintAgain(username, token, &turn)
            if minted, let before, before != token.digest { requests.replaced(before, of: request.id) }
        }
        turn.commit(
            RequestLedger.answer(request, nil, isFinal: true, mintedToken: minted ? request.minted?.id : nil))
    }

    /// A secret whose answer was lost is minted again as long as the first was never used. One that was replaced since is not:
    /// its frame comes once more, behind the repeat that replaced it.
    private mutating func mintAgain(_ username: String, _ token: MintedToken, _ turn: inout Turn) -> Bool {
        // The request itself once more, from its stream to the next owner: its secret is the one that counts.
        guard token.digest != tokenDigest(of: username) else { return true }
        if let agent = AgentAddress(username) {
            // One that is being deleted gets none.
            guard let index = try? changeable(agent, &turn), record(index).lastSeenAt == nil else { return false }
            drive(index, &turn) { $0.rotateToken(digest: token.digest, id: token.id, $1, into: &$2) }
        } else {
            guard gateways[username]?.state.connection == .never else { return false }
            gateways[username]?.state.tokenDigest = token.digest
            gateways[username]?.state.tokenID = token.id
            commitGateway(username, &turn)
        }
        turn.commit(credential: username, .set(digest: token.digest))
        return true
    }

    private func tokenDigest(of username: String) -> String? {
        guard let agent = AgentAddress(username) else { return gateways[username]?.state.tokenDigest }
        return index(of: agent).flatMap { agents[$0]?.machine.state.tokenDigest }
    }

    /// Commits what a gateway is, with what belongs to it.
    mutating func commitGateway(_ gateway: String, _ turn: inout Turn, with companion: StoreChange? = nil) {
        guard let state = gateways[gateway]?.state else { return }
        turn.commit(StoreEntry([.gateway(state), companion].compactMap { $0 }))
    }

    /// Answers what waited for agents to be drained or gone.
    mutating func settleWaitingAnswers(_ turn: inout Turn) {
        guard !requests.waiting.isEmpty else { return }
        let settled = requests.takeSettled(isDone: operations.isDone) { [agents] reference, kind in
            PartitionOwner.isAwaited(reference, kind, in: agents)
        }
        for item in settled { finish(item, &turn) }
    }

    private static func isAwaited(
        _ reference: SlotReference, _ kind: WaitingAnswer.Kind, in agents: AgentTable
    ) -> Bool {
        guard agents.contains(reference), let machine = agents[reference.slot]?.machine else { return false }
        switch kind {
        // One that was let go meanwhile may be woken: its pause is over and answers for nothing.
        case .paused: return !machine.isDrained && machine.state.record.isPaused
        case .resumed, .policyChanged: return false
        case .deleted, .gatewayRemoved: return true
        }
    }

    private mutating func finish(_ item: WaitingAnswer, _ turn: inout Turn) {
        switch item.kind {
        case .paused(let count), .resumed(let count): answer(item.request, .paused(count), &turn)
        case .policyChanged(let gateway): answer(item.request, .gateway(gateway, minted: false), &turn)
        case .deleted: break  // answered by the entry that erases it
        case .gatewayRemoved(let gateway, let count):
            gateways[gateway] = nil
            pacing.remove(gateway)
            turn.commit(
                .credential(CredentialChange(username: gateway, change: .remove)), .removedGateway(gateway),
                requests.answer(item.request, .gatewayRemoved(gateway, deletedAgents: count), turn.now))
        }
    }

    // MARK: Looking up

    /// The slot of an agent that may be changed. What was begun for it has come to it.
    mutating func changeable(_ agent: AgentAddress, _ turn: inout Turn) throws(Problem) -> Int {
        guard let index = index(of: agent) else { throw Problem.unknownAgent(agent) }
        guard !isLeaving(index) else {
            throw Problem(member: "agent", "\(agent) is being deleted", kind: .conflict)
        }
        applyPending(index, &turn)
        grantAskedPermits(&turn)
        return index
    }

    func record(_ index: Int) -> AgentRecord {
        guard let record = agents[index]?.machine.record else {
            preconditionFailure("slot \(index) of partition \(partition) was looked up and is empty")
        }
        return record
    }
}
