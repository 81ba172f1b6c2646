public import API
public import Lifecycle
public import Model
public import Wire

/// What the owner of a partition is told.
public enum PartitionEvent: Sendable {
    /// A chunk of the snapshot that came with the grant.
    case granted(GrantChunk)
    /// `frameAge`: how long ago its frame was made.
    case requestReceived(PartitionRequest, frameAge: TimeSpan = .zero)
    /// `frameAge`: how long the report was on its way.
    case reportReceived(WakeReport, frameAge: TimeSpan)
    /// `ingest` names who received it, for the order of what came by one; 0 for nobody.
    case batchReceived(HeartbeatBatch, frameAge: TimeSpan, ingest: Int = 0)
    /// `nil`: what was retained of the gateway was cleared.
    case gatewayStatusReceived(gateway: String, GatewayStatusMessage?)
    /// A new session at the broker: what is retained of gateways is told anew.
    case sessionBegan
    /// Check-ins can no longer be received or counted.
    case observabilityLost
    /// They can again.
    case observabilityRestored
    /// Something has waited for its commit for longer than `Observability.storeLimit`. Told again and again until it is committed.
    case commitsAreLate
    /// `nextDue` has come: what is too old is forgotten.
    case timePassed
    /// Every heartbeat that was received before this instant has been handed in: what was due by then is to be judged.
    case barrierPassed(asOf: Instant)
    /// There is room for what a slice of the work commits, and `nextWork` has come.
    case roomCame
}

/// What the owner of a partition wants done, in this order.
public enum PartitionDirective: Sendable {
    /// Sent to the store; what caused it is acknowledged once it is committed.
    case commit(StoreEntry)
    /// Told to who handed the heartbeat in, once all that the input caused is committed.
    case answer(HeartbeatAnswer)
    case log(LifecycleLog, agent: AgentAddress, generation: Int)
    /// An input that names an agent that is not there.
    case logMissing(agent: AgentAddress)
}

/// The owner of one partition: the only writer of its gateways and of their agents.
///
/// A pure value: it assigns generations and attempts, keeps the deadlines, paces wakes and decides. What it decides counts
/// once the store has committed it under this owner's epoch; a fenced owner is thrown away whole.
public struct PartitionOwner: Sendable {
    /// Events of one gateway are told at most so often; what was left out is counted.
    static let gatewayEventInterval = TimeSpan.seconds(1)
    /// Agents that one slice of the work is about: about a frame of entries, a few milliseconds.
    public static let sliceMax = 100
    static let purgeInterval = TimeSpan.seconds(60)

    public let partition: Int
    public let epoch: Int
    let source: String
    let systemPolicy: Policy
    private let boot: String?
    private let sliceMax: Int

    package var agents = AgentTable()
    var gateways: [String: GatewaySlot] = [:]
    var boardPauses: [String: BoardPause] = [:]
    var tombstones: [AgentAddress: Tombstone] = [:]
    var requests = RequestLedger()
    var operations = BulkOperations()
    var deadlines = Deadlines()
    var pacing = WakePacing()
    var lastSeen = LastSeenBuffer()
    var unknown = UnknownAgents()
    private var rejectionMeter = RejectionMeter()
    var work = OpenWork()
    var purgeDue: Instant?
    /// When something is to be told of a gateway, or is no longer believed of it.
    var gatewayDues: [String: Instant] = [:]
    /// Until then orders that were given up may still be published.
    private var drainFloor: Instant?
    /// Events that no agent's revision numbers.
    private var numberedEvents = 0
    public internal(set) var isSuspended = true
    /// When check-ins could be counted again.
    private(set) var observableAt: Instant?
    /// Counted since this owner began.
    public internal(set) var counters = PartitionCounters()

    /// How many inputs were handled.
    public private(set) var step = 0
    /// The newest step with whose entries the last input may be acknowledged. Heartbeats depend on what they, and their agents, have
    /// caused: in a mass change of others their stream goes on. Whatever else comes may have found what is under way, and depends on
    /// all before it.
    public internal(set) var dependence = 0

    /// - Parameters:
    ///   - instance: names the source of its events, `rollcall/reconciler/INSTANCE`.
    ///   - boot: names this start of this machine (see random(4), `boot_id`); `nil` when it is not known.
    public init(
        partition: Int, epoch: Int, instance: String, systemPolicy: Policy, boot: String? = nil,
        sliceMax: Int = PartitionOwner.sliceMax
    ) {
        self.boot = boot
        self.partition = partition
        self.epoch = epoch
        source = "rollcall/reconciler/\(instance)"
        self.systemPolicy = systemPolicy
        self.sliceMax = sliceMax
    }

    public var agentCount: Int { agents.count }

    public var tally: FleetTally {
        var tally = agents.tally
        tally.deadlines = Int64(deadlines.judged.count)
        for gateway in gateways.values { tally.add(gateway: gateway.state.connection) }
        return tally
    }

    /// Handles one input; the directives are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ event: PartitionEvent, now: Instant, wallTime: Timestamp, into output: inout [PartitionDirective]
    ) {
        var turn = Turn(now: now, wallTime: wallTime, budget: sliceMax)
        step += 1
        dependence = step
        switch event {
        case .granted(let chunk): restore(chunk, &turn)
        case .requestReceived(let request, let frameAge): execute(request, frameAge: frameAge, &turn)
        case .reportReceived(let report, let frameAge): take(report, frameAge, &turn)
        case .batchReceived(let batch, let frameAge, let ingest): take(batch, frameAge, ingest: ingest, &turn)
        case .gatewayStatusReceived(let gateway, let message): hear(gateway, message, &turn)
        case .sessionBegan: forgetConfirmations()
        case .observabilityLost: loseObservability()
        case .observabilityRestored:
            guard isSuspended else { break }
            work.nextObservable = 0
            observableAt = now
        case .commitsAreLate: drainFloor = now + AgentMachine.orderDrainedAfter
        case .timePassed: passTime(&turn)
        case .barrierPassed(let instant): if !isSuspended { work.judgedUpTo = instant }
        case .roomCame: runSlice(&turn)
        }
        grantAskedPermits(&turn)
        output.append(contentsOf: turn.directives)
    }

    /// When something is to be judged next: behind a barrier. Nothing is while suspended.
    public var nextVerdict: Instant? { isSuspended || work.judgedUpTo != nil ? nil : deadlines.judged.next }

    /// When `timePassed` is to be handled next.
    public var nextDue: Instant? { gatewayDues.values.reduce(purgeDue) { min($0 ?? $1, $1) } }

    /// When `roomCame` has something to do next.
    public var nextWork: Instant? {
        let isOpen = !isSuspended && (work.judgedUpTo != nil || work.nextReturned < work.returned.count)
        if isOpen || work.nextObservable != nil || operations.oldest != nil { return Instant(nanoseconds: 0) }
        var due = [deadlines.clock.next, lastSeen.due].compactMap { $0 }.min()
        for gateway in pacing.gateways {
            if let next = gateways[gateway]?.pace.next { due = due.map { min($0, next) } ?? next }
        }
        return due
    }

    // MARK: Time

    private mutating func passTime(_ turn: inout Turn) {
        if let due = purgeDue, due <= turn.now { purge(turn.now) }
        for gateway in gatewayDues.filter({ $0.value <= turn.now }).keys.sorted() { comeDue(gateway, &turn) }
        settleWaitingAnswers(&turn)
    }

    private mutating func purge(_ now: Instant) {
        purgeDue = now + PartitionOwner.purgeInterval
        requests.purge(now)
        unknown.purge(now)
    }

    // MARK: Agents

    package func index(of agent: AgentAddress) -> Int? {
        gateways[agent.gateway]?.agents[PackedIdentifier(agent.agent)]
    }

    func context(_ gateway: String, _ turn: borrowing Turn) -> AgentContext {
        let slot = gateways[gateway]
        return AgentContext(
            now: turn.now, wallTime: turn.wallTime, isGatewayLost: slot?.state.connection == .lost,
            hostReturn: slot?.hostReturn, drainFloor: drainFloor, boot: boot,
            tellsRejections: rejectionMeter.mayTell(gateway, turn.now))
    }

    mutating func add(_ machine: AgentMachine) -> Int {
        let address = machine.record.address
        let index = agents.add(machine)
        gateways[address.gateway]?.agents[PackedIdentifier(address.agent)] = index
        return index
    }

    /// Lets an agent's machine handle an input, behind what was begun for it, and carries out what it says.
    mutating func drive(
        _ index: Int, _ turn: inout Turn, traceparent: String? = nil, with companion: StoreChange? = nil,
        _ body: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) {
        applyPending(index, &turn)
        act(index, &turn, traceparent: traceparent, with: companion, body)
        grantAskedPermits(&turn)
    }

    /// The same at once, whatever was begun for the agent; permits that it asks for are granted later.
    ///
    /// - Parameter companion: committed with the first event that follows, or not at all.
    mutating func act(
        _ index: Int, _ turn: inout Turn, traceparent: String? = nil, with companion: StoreChange? = nil,
        _ body: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) {
        guard let address = agents[index]?.address else { return }
        let context = context(address.gateway, turn)
        var results: [AgentDirective] = []
        agents.change(index) { body(&$0, context, &results) }
        var companion = companion
        for result in results { carryOut(result, index, address, traceparent, &companion, &turn) }
        deadlines.arm(index, of: &agents)
    }

    private mutating func carryOut(
        _ directive: AgentDirective, _ index: Int, _ address: AgentAddress, _ traceparent: String?,
        _ companion: inout StoreChange?, _ turn: inout Turn
    ) {
        switch directive {
        case .emit(let event, let reason, let state):
            let entry = record(event, reason: reason, state, index, traceparent, &turn)
            turn.commit(StoreEntry([.agent(Carried(state), entry), companion].compactMap { $0 }))
            companion = nil
        case .order(let order, let state):
            counters.orders += 1
            agents[index]?.changedIn = step
            turn.commit(.agent(Carried(state), nil), .order(Carried(order)))
        case .settleOrder:
            agents[index]?.changedIn = step
            turn.commit(.settledOrder(address))
        case .requestPermit: queueForPermit(index, address.gateway, &turn)
        case .noteLastSeen: noteLastSeen(index, &turn)
        case .erase(let tombstone, let state):
            let entry = record(.deleted, reason: nil, state, index, traceparent, &turn)
            erase(index, .removal(Carried(state), entry, tombstone), tombstone, &turn)
        case .log(let log): turn.log(log, address, generation: agents[index]?.machine.record.generation ?? 0)
        case .countSequence(let lost, let isRepeated):
            if let before = gateways[address.gateway]?.lostHeartbeats {
                gateways[address.gateway]?.lostHeartbeats = before.plus(lost)
            }
            if isRepeated { gateways[address.gateway]?.repeatedHeartbeats += 1 }
            counters.noteSequence(lost: lost, isRepeated: isRepeated)
        }
    }

    /// The event's entry, counted.
    private mutating func record(
        _ event: LifecycleEvent, reason: String?, _ state: AgentState, _ index: Int, _ traceparent: String?,
        _ turn: inout Turn
    ) -> AgentEventEntry {
        agents[index]?.changedIn = step
        let address = state.record.address
        if event == .heartbeatRejected { rejectionMeter.noteTold(address.gateway, turn.now) }
        counters.note(event, state.record)
        if let trace = state.cycle?.traceparent ?? traceparent { agents[index]?.traceparent = trace }
        let entry = AgentEventEntry(
            id: "\(address)#\(state.record.revision)", event: event, agent: address, reason: reason,
            time: state.record.updatedAt, source: source, traceparent: agents[index]?.traceparent)
        // A cycle that no command began carries none.
        if event == .lapsed || (state.cycle == nil && event != .online) { agents[index]?.traceparent = nil }
        return entry
    }

    private mutating func erase(_ index: Int, _ removal: StoreChange, _ tombstone: Tombstone, _ turn: inout Turn) {
        let agent = tombstone.agent
        tombstones[agent] = tombstone
        unknown.remember(agent, toldAt: agents[index]?.machine.rejectionPublishedAt)
        gateways[agent.gateway]?.agents[PackedIdentifier(agent.agent)] = nil
        var entry = StoreEntry(
            removal, .credential(CredentialChange(username: agent.description, change: .remove)))
        if let request = requests.takeDeletion(of: agent) {
            entry.append(requests.answer(request, .record(record(index), minted: false), turn.now))
        }
        agents.remove(index)
        turn.commit(entry)
    }

    mutating func noteLastSeen(_ index: Int, _ turn: inout Turn) { lastSeen.note(index, of: &agents, turn.now) }

    // MARK: Rejections

    /// A heartbeat of nobody we know: published at most once a second for each name.
    mutating func rejectUnknown(_ agent: AgentAddress, _ turn: inout Turn) {
        counters.count(rejected: .unknownAgent)
        guard unknown.mayTell(agent, turn.now), rejectionMeter.mayTell(agent.gateway, turn.now) else { return }
        rejectionMeter.noteTold(agent.gateway, turn.now)
        unknown.noteTold(agent, turn.now)
        turn.commit(
            .event(
                AgentEventEntry(
                    id: nextEventID(of: agent.description), event: .heartbeatRejected, agent: agent,
                    reason: RejectionReason.unknownAgent.rawValue, time: turn.wallTime, source: source,
                    traceparent: nil)))
        turn.log(.rejected(.unknownAgent, detail: nil), agent, generation: 0)
    }

    /// The id of an event that no revision numbers.
    mutating func nextEventID(of subject: String) -> String {
        numberedEvents += 1
        return "\(subject)!\(epoch).\(numberedEvents)"
    }
}
