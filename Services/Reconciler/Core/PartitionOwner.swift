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
    /// Changes without an event are handed to the store this often, at most, and when there is room: while the store is
    /// behind, the newest of each agent waits.
    public static let lastSeenInterval = TimeSpan.seconds(2)
    /// Unknown agents whose rejections are held back to one a second; beyond it the memory of them is cleared.
    static let unknownAgentsMax = 10_000
    /// LastSeenUpdates in one entry, and entries of them in one slice: writing a hundred thousand takes many.
    static let lastSeenUpdatesMax = 500
    static let lastSeenEntriesMax = 20
    /// Events of one gateway are told at most so often; what was left out is counted.
    static let gatewayEventInterval = TimeSpan.seconds(1)
    /// Agents that one slice of the work is about: about a frame of entries, a few milliseconds.
    public static let sliceMax = 100

    public let partition: Int
    public let epoch: Int
    let source: String
    let systemPolicy: Policy
    let boot: String?
    let sliceMax: Int

    package var slots: [AgentSlot?] = []
    var freeSlots: [Int] = []
    var gateways: [String: GatewaySlot] = [:]
    var boardPauses: [String: BoardPause] = [:]
    var tombstones: [AgentAddress: Tombstone] = [:]
    var requests: [String: ExecutedRequest] = [:]
    var waitingAnswers: [WaitingAnswer] = []
    /// Of the owner before, until the snapshot is complete.
    var intentRecords: [IntentRecord] = []
    /// Deadlines that heartbeats decide, which are not judged while suspended, and those that time alone decides.
    var queue = DeadlineQueue()
    var clockQueue = DeadlineQueue()
    var pacing: Set<String> = []
    var lastSeenUpdates: [Int] = []
    var lastSeenUpdatesDue: Instant?
    var purgeDue: Instant?
    /// When something is to be told of a gateway, or is no longer believed of it.
    var gatewayDues: [String: Instant] = [:]
    /// Until then orders that were given up may still be published.
    var drainFloor: Instant?
    var unknownRejections: [AgentAddress: Instant] = [:]
    var rejectionMeter = RejectionMeter()
    var unknownCount = 0
    var nextGeneration = 0
    public internal(set) var isSuspended = true
    /// When check-ins could be counted again.
    private(set) var observableAt: Instant?
    var work = OpenWork()
    /// Agents that may still be handled in this slice.
    var budget = 0
    /// Counted since this owner began.
    public private(set) var counters = PartitionCounters()
    private var agentTally = FleetTally()

    /// How many inputs were handled.
    public private(set) var step = 0
    /// The newest step with whose entries the last input may be acknowledged. Heartbeats depend on what they, and their agents, have
    /// caused: in a mass change of others their stream goes on. Whatever else comes may have found what is under way, and depends on
    /// all before it.
    public internal(set) var dependence = 0

    // The context of the input that is handled.
    var now = Instant(nanoseconds: 0)
    var wallTime = Timestamp(millisecondsSince1970: 0)
    var directives: [PartitionDirective] = []

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

    public var agentCount: Int { slots.count - freeSlots.count }

    /// Handles one input; the directives are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ event: PartitionEvent, now: Instant, wallTime: Timestamp, into output: inout [PartitionDirective]
    ) {
        self.now = now
        self.wallTime = wallTime
        budget = sliceMax
        step += 1
        dependence = step
        switch event {
        case .granted(let chunk): restore(chunk)
        case .requestReceived(let request, let frameAge): execute(request, frameAge: frameAge)
        case .reportReceived(let report, let frameAge): take(report, frameAge)
        case .batchReceived(let batch, let frameAge, let ingest): take(batch, frameAge, ingest: ingest)
        case .gatewayStatusReceived(let gateway, let message): hear(gateway, message)
        case .sessionBegan: forgetConfirmations()
        case .observabilityLost: loseObservability()
        case .observabilityRestored:
            guard isSuspended else { break }
            work.nextObservable = 0
            observableAt = now
        case .commitsAreLate: drainFloor = now + AgentMachine.orderDrainedAfter
        case .timePassed: passTime()
        case .barrierPassed(let instant): if !isSuspended { work.judgedUpTo = instant }
        case .roomCame: runSlice()
        }
        output.append(contentsOf: directives)
        directives.removeAll(keepingCapacity: true)
    }

    /// When something is to be judged next: behind a barrier. Nothing is while suspended.
    public var nextVerdict: Instant? { isSuspended || work.judgedUpTo != nil ? nil : queue.next }

    /// When `timePassed` is to be handled next.
    public var nextDue: Instant? { gatewayDues.values.reduce(purgeDue) { min($0 ?? $1, $1) } }

    // MARK: Time

    private mutating func passTime() {
        if let due = purgeDue, due <= now { purge() }
        for gateway in gatewayDues.filter({ $0.value <= now }).keys.sorted() { comeDue(gateway) }
        settleWaitingAnswers()
    }

    private mutating func purge() {
        purgeDue = now + .seconds(60)
        requests = requests.filter { $0.value.forgottenAt > now }
        unknownRejections = unknownRejections.filter { now < $0.value + AgentMachine.rejectionEventInterval }
    }

    // MARK: Agents

    /// Lets an agent's machine handle an input, behind what was begun for it, and carries out what it says.
    mutating func drive(
        _ index: Int, traceparent: String? = nil,
        _ body: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) {
        applyPending(index)
        act(index, traceparent: traceparent, body)
    }

    /// The same at once, whatever was begun for the agent.
    mutating func act(
        _ index: Int, traceparent: String? = nil,
        _ body: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) {
        guard let address = slots[index]?.machine.state.record.address else { return }
        let context = AgentContext(
            now: now, wallTime: wallTime, isGatewayLost: gateways[address.gateway]?.state.connection == .lost,
            hostReturn: gateways[address.gateway]?.hostReturn, drainFloor: drainFloor, boot: boot,
            tellsRejections: rejectionMeter.mayTell(address.gateway, now))
        let place = FleetTally.Place(slots[index]!.machine.record)
        var results: [AgentDirective] = []
        body(&slots[index]!.machine, context, &results)
        for result in results { carryOut(result, index, address, traceparent) }
        let newPlace = (slots[index]?.machine.record).map(FleetTally.Place.init)
        if newPlace != place { agentTally.moved(from: place, to: newPlace) }
        if slots[index] != nil { arm(index) }
    }

    private mutating func carryOut(
        _ directive: AgentDirective, _ index: Int, _ address: AgentAddress, _ traceparent: String?
    ) {
        switch directive {
        case .emit(let event, let reason, let state):
            slots[index]?.changedIn = step
            if event == .heartbeatRejected { rejectionMeter.noteTold(address.gateway, now) }
            if let trace = state.cycle?.traceparent ?? traceparent { slots[index]?.traceparent = trace }
            commit(event, reason: reason, state, traceparent: slots[index]?.traceparent)
            // A cycle that no command began carries none.
            if event == .lapsed || (state.cycle == nil && event != .online) { slots[index]?.traceparent = nil }
        case .order(let order, let state):
            counters.orders += 1
            slots[index]?.changedIn = step
            var entry = StoreEntry()
            entry.state = Carried(state)
            entry.order = Carried(order)
            directives.append(.commit(entry))
        case .settleOrder:
            slots[index]?.changedIn = step
            var entry = StoreEntry()
            entry.settledOrder = address
            directives.append(.commit(entry))
        case .requestPermit: queueForPermit(index, address.gateway)
        case .noteLastSeen: noteLastSeen(index)
        case .erase(let tombstone): erase(index, tombstone)
        case .log(let log):
            directives.append(.log(log, agent: address, generation: slots[index]?.machine.record.generation ?? 0))
        case .countSequence(let lost, let isRepeated):
            if let before = gateways[address.gateway]?.lostHeartbeats {
                gateways[address.gateway]?.lostHeartbeats = before.plus(lost)
            }
            if isRepeated { gateways[address.gateway]?.repeatedHeartbeats += 1 }
        }
    }

    private mutating func commit(_ event: LifecycleEvent, reason: String?, _ state: AgentState, traceparent: String?) {
        counters.eventsByKind[event, default: 0] += 1
        if event == .offline, let cause = state.record.offlineReason {
            counters.offlinesByReason[cause, default: 0] += 1
        }
        var entry = StoreEntry()
        entry.state = Carried(state)
        entry.event = AgentEventEntry(
            id: "\(state.record.address)#\(state.record.revision)", event: event, agent: state.record.address,
            reason: reason,
            time: state.record.updatedAt, source: source, traceparent: traceparent)
        directives.append(.commit(entry))
    }

    /// Puts the agent's deadline into its queue unless an entry comes up early enough.
    mutating func arm(_ index: Int) {
        guard let due = slots[index]?.machine.due, let generation = slots[index]?.generation else { return }
        let queued: WritableKeyPath<AgentSlot, [Instant]> =
            slots[index]?.machine.isDueJudged == true ? \.queuedDues : \.queuedClockDues
        if let earliest = slots[index]?[keyPath: queued].last, earliest <= due { return }
        slots[index]?[keyPath: queued].append(due)
        let entry = DeadlineQueue.Entry(due: due, slot: index, generation: generation)
        if queued == \.queuedDues { queue.push(entry) } else { clockQueue.push(entry) }
    }

    mutating func add(_ machine: AgentMachine) -> Int {
        nextGeneration += 1
        let slot = AgentSlot(machine: machine, generation: nextGeneration)
        let index: Int
        if let free = freeSlots.popLast() {
            index = free
            slots[index] = slot
        } else {
            index = slots.count
            slots.append(slot)
        }
        gateways[slot.address.gateway]?.agents[PackedIdentifier(slot.address.agent)] = index
        agentTally.moved(from: nil, to: FleetTally.Place(machine.record))
        return index
    }

    private mutating func erase(_ index: Int, _ tombstone: Tombstone) {
        tombstones[tombstone.agent] = tombstone
        unknownRejections[tombstone.agent] = slots[index]?.machine.rejectionPublishedAt
        gateways[tombstone.agent.gateway]?.agents[PackedIdentifier(tombstone.agent.agent)] = nil
        var entry = takeDeletedEvent(of: tombstone.agent)
        entry.tombstone = tombstone
        entry.credential = CredentialChange(username: tombstone.agent.description, change: .remove)
        if let request = takeDeletion(of: tombstone.agent) {
            entry.answer = answerEntry(request, .record(record(index), minted: false))
        }
        slots[index] = nil
        freeSlots.append(index)
        directives.append(.commit(entry))
    }

    /// The entry of the event `deleted`, so that it is committed with the tombstone or not at all.
    private mutating func takeDeletedEvent(of agent: AgentAddress) -> StoreEntry {
        guard case .commit(let entry)? = directives.last, entry.event?.event == .deleted, entry.event?.agent == agent
        else { return StoreEntry() }
        directives.removeLast()
        return entry
    }

    package func index(of agent: AgentAddress) -> Int? {
        gateways[agent.gateway]?.agents[PackedIdentifier(agent.agent)]
    }

    // MARK: LastSeenUpdates

    mutating func noteLastSeen(_ index: Int) {
        guard slots[index]?.beginsLastSeenUpdate() == true else { return }
        lastSeenUpdates.append(index)
        if lastSeenUpdatesDue == nil { lastSeenUpdatesDue = now + PartitionOwner.lastSeenInterval }
    }

    /// Hands what changed without an event to the store.
    mutating func flushLastSeenUpdates() {
        let count = min(lastSeenUpdates.count, PartitionOwner.lastSeenUpdatesMax * PartitionOwner.lastSeenEntriesMax)
        var seen = SeenAgents()
        var rejected: [LastSeenUpdate] = []
        for index in lastSeenUpdates.prefix(count) {
            guard let (address, at, rejection) = slots[index]?.endLastSeenUpdate() else { continue }
            if let rejection {
                rejected.append(LastSeenUpdate(agent: address, lastSeenAt: at, lastRejection: rejection))
            } else if let at {
                seen.agents.append(address.description)
                seen.at.append(at.millisecondsSince1970)
            }
            if seen.agents.count + rejected.count == PartitionOwner.lastSeenUpdatesMax { commit(&seen, &rejected) }
        }
        commit(&seen, &rejected)
        lastSeenUpdates.removeFirst(count)
        // The rest is due, in the next slice.
        if lastSeenUpdates.isEmpty { lastSeenUpdatesDue = nil }
    }

    private mutating func commit(_ seen: inout SeenAgents, _ rejected: inout [LastSeenUpdate]) {
        guard !seen.agents.isEmpty || !rejected.isEmpty else { return }
        var entry = StoreEntry()
        if !seen.agents.isEmpty { entry.seen = seen }
        if !rejected.isEmpty { entry.lastSeenUpdates = rejected }
        directives.append(.commit(entry))
        seen = SeenAgents()
        rejected = []
    }

    mutating func countAccepted(_ count: Int) { counters.heartbeats += Int64(count) }
    mutating func countRejected(_ reason: RejectionReason) { counters.rejectionsByReason[reason, default: 0] += 1 }
    mutating func countJudged(due: Instant) {
        counters.lateness.add(seconds: Double(now.nanoseconds(since: due)) / 1e9)
    }

    public var tally: FleetTally {
        var tally = agentTally
        for gateway in gateways.values { tally.add(gateway: gateway.state.connection) }
        return tally
    }
}
