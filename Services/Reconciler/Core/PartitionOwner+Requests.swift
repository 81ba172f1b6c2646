internal import API
internal import Lifecycle
internal import Model
internal import Wire

/// An answer that waits until a change has come to all of its agents, and no wake of them can follow any more.
struct WaitingAnswer: Sendable {
    /// The newest repeat of it.
    var request: PartitionRequest
    /// Agents that were not drained, or not gone, when it was looked at last.
    var agents: [SlotReference]
    /// The number of the work that must be done first.
    var group: Int?
    let kind: Kind

    enum Kind: Sendable {
        case paused(Int)
        case resumed(Int)
        case deleted(AgentAddress)
        case gatewayRemoved(String, deletedAgents: Int)
        case policyChanged(gateway: String)
    }

    /// Whether it will tell of this agent's deletion.
    func isOfDeletion(of agent: AgentAddress) -> Bool {
        switch kind {
        case .deleted(agent): true
        case .gatewayRemoved(let gateway, _): gateway == agent.gateway
        case .paused, .resumed, .deleted, .policyChanged: false
        }
    }
}

/// A request that is not executed again. Its time runs on the monotonic clock: the wall clock may be stepped, and be another
/// than that of the store or of the owner before.
struct ExecutedRequest: Sendable {
    let digest: String
    let mintedFor: String?
    let forgottenAt: Instant
    /// Secrets that were minted for it and replaced by a repeat's, the newest of them.
    private(set) var replacedSecrets: [String] = []
    private static let replacedSecretsMax = 8

    /// A request that is younger would be known, had it been executed: less by a minute than it is remembered, for clocks that
    /// do not run alike.
    static func surelyRememberedFor(isKeyed: Bool) -> TimeSpan {
        TimeSpan(milliseconds: RememberedRequest.lifetime(isKeyed: isKeyed).milliseconds - 60_000)
    }

    mutating func replaced(_ secret: String) {
        replacedSecrets = (replacedSecrets + [secret]).suffix(ExecutedRequest.replacedSecretsMax)
    }

    init(digest: String, mintedFor: String?, isKeyed: Bool, now: Instant) {
        self.digest = digest
        self.mintedFor = mintedFor
        forgottenAt = now + RememberedRequest.lifetime(isKeyed: isKeyed)
    }

    /// Of the owner before: whatever clocks say, its sender may repeat it for a while.
    init(restored request: RememberedRequest, now: Instant) {
        digest = request.digest
        mintedFor = request.mintedFor
        let longest = RememberedRequest.lifetime(isKeyed: true)
        let left = request.left.map { TimeSpan(milliseconds: $0) } ?? longest
        forgottenAt = now + min(max(left, RememberedRequest.lifetime(isKeyed: false)), longest)
    }
}

extension PartitionOwner {
    /// Executes a command once: a repeat of its id gets the answer of the first.
    ///
    /// - Parameter frameAge: how long ago its frame was made: one that is as old as what is remembered may have been executed, and
    ///   forgotten since.
    mutating func execute(_ request: PartitionRequest, frameAge: TimeSpan) {
        if let known = requests[request.id], known.forgottenAt > now { return repeatAnswer(request, known) }
        // It is being executed: whoever asks now gets the answer.
        if let index = waitingAnswers.firstIndex(where: { $0.request.id == request.id }) {
            guard waitingAnswers[index].request.digest == request.digest else { return refuseOtherUse(of: request) }
            waitingAnswers[index].request = request
            return
        }
        guard frameAge.milliseconds < ExecutedRequest.surelyRememberedFor(isKeyed: request.isKeyed).milliseconds else {
            return answer(
                request, .refused(Problem(.unavailable, "the request is so old that it may have been executed")))
        }
        do {
            try perform(request)
        } catch {
            answer(request, .refused(error))
        }
        settleWaitingAnswers()
    }

    private mutating func perform(_ request: PartitionRequest) throws(Problem) {
        if let revisions = request.revisions, let agent = request.command.agent {
            let revision = record(try changeable(agent)).revision
            guard revisions.contains(revision) else {
                throw Problem(member: "if-match", "the record has revision \(revision)", kind: .conflict)
            }
        }
        switch request.command {
        case .provision(let change): try provision(change, request)
        case .update(let change): try update(change, request)
        case .wake(let agent): try wake(agent, request)
        case .delete(let agent): try delete(agent, request)
        case .rotateAgentToken(let agent, let now): try rotate(agent, now: now, request)
        case .rotateGatewayToken(let gateway, let now): try rotate(gateway: gateway, now: now, request)
        case .pause(let target, let until): try pause(target, until, request)
        case .resume(let target): try resume(target, request)
        case .addGateway(let gateway, let policy): try addGateway(gateway, policy, request)
        case .removeGateway(let gateway, let force): try removeGateway(gateway, force: force, request)
        case .syncTemplates(let sync, let after): try listMembers(sync, after: after, request)
        case .syncAgent(let agent, let sync): try syncTemplates(agent, sync, request)
        }
    }

    // MARK: Answers

    mutating func answer(_ request: PartitionRequest, _ outcome: CommandOutcome) {
        var entry = StoreEntry()
        entry.answer = answerEntry(request, outcome)
        directives.append(.commit(entry))
    }

    /// The answer as part of an entry that also carries its effect; from here on the request counts as executed.
    mutating func answerEntry(_ request: PartitionRequest, _ outcome: CommandOutcome) -> AnswerEntry {
        var isFinal = true
        var mintedFor: String?
        switch outcome {
        case .render, .members: isFinal = false
        // A repeat may already be on its way: what was refused must not be done after all.
        case .refused(let problem): isFinal = request.isKeyed && problem.type != .unavailable
        case .record(let record, true): mintedFor = record.address.description
        case .gateway(let gateway, true): mintedFor = gateway
        case .record, .gateway, .paused, .gatewayRemoved, .templatesSynced: break
        }
        if isFinal {
            requests[request.id] = ExecutedRequest(
                digest: request.digest, mintedFor: mintedFor, isKeyed: request.isKeyed, now: now)
        }
        return AnswerEntry(
            requestID: request.id, requestDigest: request.digest, isKeyed: request.isKeyed,
            provisioner: request.provisioner,
            outcome: outcome, isFinal: isFinal, mintedToken: mintedFor == nil ? nil : request.minted?.id)
    }

    /// The first request keeps the key.
    private mutating func refuseOtherUse(of request: PartitionRequest) {
        let problem = Problem(.conflict, "the idempotency key was used for another request")
        var entry = StoreEntry()
        entry.answer = AnswerEntry(
            requestID: request.id, requestDigest: request.digest, isKeyed: request.isKeyed,
            provisioner: request.provisioner, outcome: .refused(problem), isFinal: false, mintedToken: nil)
        directives.append(.commit(entry))
    }

    private mutating func repeatAnswer(_ request: PartitionRequest, _ known: ExecutedRequest) {
        guard known.digest == request.digest else { return refuseOtherUse(of: request) }
        var minted = false
        if let username = known.mintedFor, let token = request.minted,
            !known.replacedSecrets.contains(token.digest)
        {
            let before = tokenDigest(of: username)
            minted = mintAgain(username, token)
            if minted, let before, before != token.digest { requests[request.id]?.replaced(before) }
        }
        var entry = StoreEntry()
        entry.answer = AnswerEntry(
            requestID: request.id, requestDigest: request.digest, isKeyed: request.isKeyed,
            provisioner: request.provisioner,
            outcome: nil, isFinal: true, mintedToken: minted ? request.minted?.id : nil)
        directives.append(.commit(entry))
    }

    /// A secret whose answer was lost is minted again as long as the first was never used. One that was replaced since is not:
    /// its frame comes once more, behind the repeat that replaced it.
    private mutating func mintAgain(_ username: String, _ token: MintedToken) -> Bool {
        // The request itself once more, from its stream to the next owner: its secret is the one that counts.
        guard token.digest != tokenDigest(of: username) else { return true }
        if let agent = AgentAddress(username) {
            // One that is being deleted gets none.
            guard let index = try? changeable(agent), record(index).lastSeenAt == nil else { return false }
            drive(index) { $0.rotateToken(digest: token.digest, id: token.id, $1, into: &$2) }
        } else {
            guard gateways[username]?.state.connection == .never else { return false }
            gateways[username]?.state.tokenDigest = token.digest
            gateways[username]?.state.tokenID = token.id
            commitGateway(username)
        }
        commitCredential(username, .set(digest: token.digest))
        return true
    }

    private func tokenDigest(of username: String) -> String? {
        guard let agent = AgentAddress(username) else { return gateways[username]?.state.tokenDigest }
        return index(of: agent).flatMap { slots[$0]?.machine.state.tokenDigest }
    }

    mutating func commitCredential(_ username: String, _ change: CredentialChange.Change) {
        var entry = StoreEntry()
        entry.credential = CredentialChange(username: username, change: change)
        directives.append(.commit(entry))
    }

    mutating func commitGateway(_ gateway: String) {
        var entry = StoreEntry()
        entry.gateway = gateways[gateway]?.state
        directives.append(.commit(entry))
    }

    /// Answers what waited for agents to be drained or gone.
    mutating func settleWaitingAnswers() {
        var next = 0
        while next < waitingAnswers.count {
            guard isDone(waitingAnswers[next].group) else {
                next += 1
                continue
            }
            // Each is looked at until it waits no more, then the one before it: not all of them at every input.
            while let reference = waitingAnswers[next].agents.last, !isAwaited(reference, waitingAnswers[next].kind) {
                waitingAnswers[next].agents.removeLast()
            }
            if waitingAnswers[next].agents.isEmpty { finish(waitingAnswers.remove(at: next)) } else { next += 1 }
        }
    }

    private func isAwaited(_ reference: SlotReference, _ kind: WaitingAnswer.Kind) -> Bool {
        guard isThere(reference), let machine = slots[reference.slot]?.machine else { return false }
        switch kind {
        // One that was let go meanwhile may be woken: its pause is over and answers for nothing.
        case .paused: return !machine.isDrained && machine.state.record.isPaused
        case .resumed, .policyChanged: return false
        case .deleted, .gatewayRemoved: return true
        }
    }

    private mutating func finish(_ item: WaitingAnswer) {
        switch item.kind {
        case .paused(let count), .resumed(let count): answer(item.request, .paused(count))
        case .policyChanged(let gateway): answer(item.request, .gateway(gateway, minted: false))
        case .deleted: break  // answered by the entry that erases it
        case .gatewayRemoved(let gateway, let count):
            gateways[gateway] = nil
            pacing.remove(gateway)
            var entry = StoreEntry()
            entry.removedGateway = gateway
            entry.credential = CredentialChange(username: gateway, change: .remove)
            entry.answer = answerEntry(item.request, .gatewayRemoved(gateway, deletedAgents: count))
            directives.append(.commit(entry))
        }
    }

    /// Takes the request out whose answer is the record of an agent that is erased.
    mutating func takeDeletion(of agent: AgentAddress) -> PartitionRequest? {
        let index = waitingAnswers.firstIndex { item in
            if case .deleted(agent) = item.kind { return true }
            return false
        }
        return index.map { waitingAnswers.remove(at: $0).request }
    }

    // MARK: Looking up

    /// The slot of an agent that may be changed. What was begun for it has come to it.
    mutating func changeable(_ agent: AgentAddress) throws(Problem) -> Int {
        guard let index = index(of: agent) else { throw Problem.unknownAgent(agent) }
        guard !isLeaving(index) else {
            throw Problem(member: "agent", "\(agent) is being deleted", kind: .conflict)
        }
        applyPending(index)
        return index
    }

    func record(_ index: Int) -> AgentRecord {
        guard let record = slots[index]?.machine.record else {
            preconditionFailure("slot \(index) of partition \(partition) was looked up and is empty")
        }
        return record
    }
}
