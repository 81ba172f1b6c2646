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
    /// The number of the bulk operation that must be done first.
    var operation: Int?
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
    fileprivate(set) var replacedSecrets: [String] = []
    private static let replacedSecretsMax = 8

    /// A request that is younger would be known, had it been executed: less by a minute than it is remembered, for clocks that
    /// do not run alike.
    static func surelyRememberedFor(isKeyed: Bool) -> TimeSpan {
        TimeSpan(milliseconds: RememberedRequest.lifetime(isKeyed: isKeyed).milliseconds - 60_000)
    }

    fileprivate mutating func replaced(_ secret: String) {
        replacedSecrets = (replacedSecrets + [secret]).suffix(ExecutedRequest.replacedSecretsMax)
    }

    fileprivate init(digest: String, mintedFor: String?, isKeyed: Bool, now: Instant) {
        self.digest = digest
        self.mintedFor = mintedFor
        forgottenAt = now + RememberedRequest.lifetime(isKeyed: isKeyed)
    }

    /// Of the owner before: whatever clocks say, its sender may repeat it for a while.
    fileprivate init(restored request: RememberedRequest, now: Instant) {
        digest = request.digest
        mintedFor = request.mintedFor
        let longest = RememberedRequest.lifetime(isKeyed: true)
        let left = request.left.map { TimeSpan(milliseconds: $0) } ?? longest
        forgottenAt = now + min(max(left, RememberedRequest.lifetime(isKeyed: false)), longest)
    }
}

/// The requests of a partition: those that were executed, those whose answer waits, and those that the owner before had begun.
struct RequestLedger: Sendable {
    private var executed: [String: ExecutedRequest] = [:]
    private(set) var waiting: [WaitingAnswer] = []
    /// Of the owner before, until the snapshot is complete.
    private var intents: [IntentRecord] = []

    /// The request of this id, when it was executed and is remembered.
    func executed(_ id: String, _ now: Instant) -> ExecutedRequest? {
        executed[id].flatMap { $0.forgottenAt > now ? $0 : nil }
    }

    mutating func replaced(_ secret: String, of id: String) { executed[id]?.replaced(secret) }

    mutating func purge(_ now: Instant) { executed = executed.filter { $0.value.forgottenAt > now } }

    // MARK: Snapshot

    mutating func restore(_ request: RememberedRequest, _ now: Instant) {
        if let intent = request.intentRecord {
            intents.append(intent)
        } else {
            executed[request.id] = ExecutedRequest(restored: request, now: now)
        }
    }

    mutating func takeIntents() -> [IntentRecord] {
        defer { intents = [] }
        return intents
    }

    // MARK: Answers

    /// The answer as part of an entry that also carries its effect; from here on the request counts as executed.
    mutating func answer(_ request: PartitionRequest, _ outcome: CommandOutcome, _ now: Instant) -> StoreChange {
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
            executed[request.id] = ExecutedRequest(
                digest: request.digest, mintedFor: mintedFor, isKeyed: request.isKeyed, now: now)
        }
        return RequestLedger.answer(
            request, outcome, isFinal: isFinal, mintedToken: mintedFor == nil ? nil : request.minted?.id)
    }

    /// - Parameter outcome: `nil` for the stored one.
    static func answer(
        _ request: PartitionRequest, _ outcome: CommandOutcome?, isFinal: Bool, mintedToken: String?
    ) -> StoreChange {
        .answer(
            AnswerEntry(
                requestID: request.id, requestDigest: request.digest, isKeyed: request.isKeyed,
                provisioner: request.provisioner, outcome: outcome, isFinal: isFinal, mintedToken: mintedToken))
    }

    // MARK: Answers that wait

    mutating func wait(_ answer: WaitingAnswer) { waiting.append(answer) }

    enum Joining { case new, joined, otherUse }

    /// A request that is being executed already: whoever asks now gets its answer.
    mutating func join(_ request: PartitionRequest) -> Joining {
        guard let index = waiting.firstIndex(where: { $0.request.id == request.id }) else { return .new }
        guard waiting[index].request.digest == request.digest else { return .otherUse }
        waiting[index].request = request
        return .joined
    }

    /// Takes out those that wait for nobody any more.
    mutating func takeSettled(
        isDone: (_ operation: Int?) -> Bool, isAwaited: (SlotReference, WaitingAnswer.Kind) -> Bool
    ) -> [WaitingAnswer] {
        var settled: [WaitingAnswer] = []
        var next = 0
        while next < waiting.count {
            guard isDone(waiting[next].operation) else {
                next += 1
                continue
            }
            // Each is looked at until it waits no more, then the one before it: not all of them at every input.
            while let reference = waiting[next].agents.last, !isAwaited(reference, waiting[next].kind) {
                waiting[next].agents.removeLast()
            }
            if waiting[next].agents.isEmpty { settled.append(waiting.remove(at: next)) } else { next += 1 }
        }
        return settled
    }

    /// Takes the request out whose answer is the record of an agent that is erased.
    mutating func takeDeletion(of agent: AgentAddress) -> PartitionRequest? {
        let index = waiting.firstIndex { item in
            if case .deleted(agent) = item.kind { return true }
            return false
        }
        return index.map { waiting.remove(at: $0).request }
    }
}
