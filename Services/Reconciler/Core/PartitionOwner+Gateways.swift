internal import Lifecycle
internal import Model
internal import Wire

/// One gateway of the partition, with the agents behind it.
struct GatewaySlot: Sendable {
    var state: GatewayState
    /// The slots of its agents, by agent id.
    var agents: [PackedIdentifier: Int] = [:]
    var pace: WakeLimiter
    /// What its status topic said last; while suspended it waits here.
    var heard: GatewayState.Connection?
    /// The incarnation that was heard of last.
    var heardBootID: String?
    /// When it last said that it is connected: it has subscribed by then.
    var connectedAt: Instant?
    /// Since when it was away before its newest return; `nil` when that was not heard of.
    var awaySince: Instant?
    /// Whether its newest return was the beginning of another incarnation.
    var hasBegunAnew = false
    /// Whether the broker has said in this session what it keeps of the gateway.
    var isConfirmed = false
    /// When it is no longer believed to be connected.
    var confirmBy: Instant?
    /// When an event of it was told last, and how many were left out since.
    var toldAt: Instant?
    var leftOut = 0
    /// A wake of one of its agents has reached nobody since it was told of its return.
    var hasUnheardWakes = false
    /// All its agents are being deleted, and then it.
    var isLeaving = false
    var lostHeartbeats: Int64 = 0
    var repeatedHeartbeats: Int64 = 0

    init(state: GatewayState, rate: Rate) {
        self.state = state
        heardBootID = state.bootID
        pace = WakeLimiter(rate: rate)
    }

    /// How often it has returned; `nil` while it is not connected.
    var hostReturn: Int? { state.connection == .connected ? state.returns ?? 0 : nil }
}

/// Lets a gateway's wakes go at its rate: a storm is paced, a single wake is not delayed.
struct WakeLimiter: Sendable {
    private(set) var waiting: [Int] = []
    private var head = 0
    private(set) var next: Instant?
    private var credit: Double
    private var creditedAt: Instant?
    var rate: Rate

    init(rate: Rate) {
        self.rate = rate
        credit = Double(max(1, rate.perSecond / 5))
    }

    var isEmpty: Bool { head == waiting.count }
    /// Who gets the next permit.
    var first: Int? { isEmpty ? nil : waiting[head] }

    mutating func append(_ slot: Int) {
        waiting.append(slot)
    }

    /// Passes over the next slot, which needs no permit any more.
    mutating func skip() {
        head += 1
    }

    /// There is no room for more permits in this slice.
    mutating func waitForRoom(_ now: Instant) {
        next = isEmpty ? nil : now
    }

    /// The next slot that gets a permit now; `nil` when none waits or the rate is used up until `next`.
    mutating func take(_ now: Instant) -> Int? {
        guard !isEmpty else {
            waiting = []
            head = 0
            next = nil
            return nil
        }
        if !rate.isUnlimited {
            if let creditedAt, now > creditedAt {
                let gained = Double(now.nanoseconds(since: creditedAt)) / 1e9 * Double(rate.perSecond)
                credit = min(Double(max(1, rate.perSecond / 5)), credit + gained)
            }
            creditedAt = now
            guard credit >= 1 else {
                let wait = (1 - credit) / Double(rate.perSecond)
                next = Instant(nanoseconds: now.nanoseconds + Int64(wait * 1e9) + 1)
                return nil
            }
            credit -= 1
        }
        defer { head += 1 }
        return waiting[head]
    }
}

extension PartitionOwner {
    /// The policy of an agent: its own settings over its gateway's over the system's.
    func policy(gateway: String, _ overrides: PolicyOverrides) -> Policy {
        let wider = gateways[gateway].map { systemPolicy.overridden(by: $0.state.policyOverrides) } ?? systemPolicy
        return wider.overridden(by: overrides)
    }

    mutating func queueForPermit(_ index: Int, _ gateway: String) {
        guard slots[index]?.isInPermitQueue == false else { return }
        slots[index]?.isInPermitQueue = true
        gateways[gateway]?.pace.append(index)
        pacing.insert(gateway)
        grantPermits(gateway)
    }

    /// Lets the wakes go that the gateway's rate allows now.
    mutating func grantPermits(_ gateway: String) {
        while true {
            guard budget > 0 else {
                gateways[gateway]?.pace.waitForRoom(now)
                break
            }
            // Whoever needs no wake any more uses up none of the rate.
            while budget > 0, let next = gateways[gateway]?.pace.first {
                applyPending(next)
                guard slots[next]?.machine.isAwaitingPermit != true else { break }
                slots[next]?.isInPermitQueue = false
                gateways[gateway]?.pace.skip()
            }
            guard budget > 0 else { continue }
            guard let index = gateways[gateway]?.pace.take(now) else { break }
            slots[index]?.isInPermitQueue = false
            budget -= 1
            drive(index) { $0.permitGranted($1, into: &$2) }
        }
        if gateways[gateway]?.pace.isEmpty ?? true { pacing.remove(gateway) }
    }

    // MARK: The snapshot

    /// Takes over a chunk of what the store has: gateways come before their agents.
    mutating func restore(_ chunk: GrantChunk) {
        for gateway in chunk.gateways {
            let rate = systemPolicy.overridden(by: gateway.policyOverrides).wakeRate
            gateways[gateway.gateway] = GatewaySlot(state: gateway, rate: rate)
        }
        for pause in chunk.boardPauses { boardPauses[pause.board] = pause }
        for tombstone in chunk.tombstones { tombstones[tombstone.agent] = tombstone }
        for request in chunk.requests {
            if let intentRecord = request.intentRecord {
                intentRecords.append(intentRecord)
            } else {
                requests[request.id] = ExecutedRequest(restored: request, now: now)
            }
        }
        purgeDue = now + .seconds(60)
        for state in chunk.agents {
            let gateway = state.record.address.gateway
            let context = AgentContext(
                now: now, wallTime: wallTime, isGatewayLost: gateways[gateway]?.state.connection == .lost,
                hostReturn: gateways[gateway]?.hostReturn, boot: boot)
            let index = add(AgentMachine(restored: state, context))
            followPolicy(index)
            arm(index)
        }
        guard chunk.isLast else { return }
        recoverIntents()
        // The owner before had not told all of them.
        for gateway in gateways.keys.sorted() { noteReturn(of: gateway) }
    }
}
