internal import API
internal import Lifecycle
internal import Model
internal import Wire

/// One input as it is handled: when that is, what may still be done in this slice, and what it has caused so far.
struct Turn {
    let now: Instant
    let wallTime: Timestamp
    /// Agents that may still be handled in this slice.
    var budget: Int
    private(set) var directives: [PartitionDirective] = []
    /// Gateways of which an agent has asked for a permit.
    private var permitsAsked: [String] = []

    init(now: Instant, wallTime: Timestamp, budget: Int) {
        self.now = now
        self.wallTime = wallTime
        self.budget = budget
    }

    /// Until an end that is not given, or still to come.
    func isInForce(_ until: Timestamp?) -> Bool { until.map { $0 > wallTime } ?? true }

    // MARK: What it causes

    mutating func commit(_ changes: StoreChange...) { commit(StoreEntry(changes)) }

    mutating func commit(_ entry: StoreEntry) { directives.append(.commit(entry)) }

    mutating func commit(credential username: String, _ change: CredentialChange.Change) {
        commit(.credential(CredentialChange(username: username, change: change)))
    }

    mutating func answer(_ answer: HeartbeatAnswer) { directives.append(.answer(answer)) }

    mutating func log(_ log: LifecycleLog, _ agent: AgentAddress, generation: Int) {
        directives.append(.log(log, agent: agent, generation: generation))
    }

    mutating func logMissing(_ agent: AgentAddress) { directives.append(.logMissing(agent: agent)) }

    /// Whether it has caused anything but answers: an answer alone has nothing that could be lost.
    var hasCaused: Bool { directives.contains { if case .answer = $0 { false } else { true } } }

    // MARK: Permits

    mutating func askForPermit(_ gateway: String) { permitsAsked.append(gateway) }

    mutating func nextPermitAsked() -> String? { permitsAsked.isEmpty ? nil : permitsAsked.removeFirst() }
}

extension CredentialChange.Change {
    /// The old secret works no more, or until the new one is used.
    static func rotation(to digest: String, now: Bool) -> CredentialChange.Change {
        now
            ? .set(digest: digest)
            : .overlap(digest: digest, seconds: Int(AgentMachine.tokenOverlap.milliseconds / 1_000))
    }
}
