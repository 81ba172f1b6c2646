public import Model

/// The life of one agent as a pure value: facts come in, directives go out.
///
/// The owner of the agent's partition is its only user. Nothing here reads a clock, does input or output, or waits.
/// `LifecycleTable` shows all of it on a page; the invariants that hold at every step:
/// - `lifecycleGeneration` and `revision` never fall; every `emit` raises `revision` by one;
/// - in one generation at most `max_wake_attempts` distinct attempts are ordered, and at most one `offline` follows them;
/// - status `online` only ever follows a heartbeat;
/// - a deadline runs from a wake's own publication (its failure), never from a wish to publish.
public struct AgentMachine: Hashable, Sendable {
    /// How long after it was given up an order can still be published: until the store commits that it was, for a second
    /// at most or its owner is told that commits are late; for its lifetime at a provisioner; for a second that a provisioner may
    /// stall with it; and for as long as an interrupted network may keep the order or its wake and deliver it all the same, two
    /// seconds (decision 8).
    public static let orderDrainedAfter = WakeOrder.lifetime + .seconds(5)
    /// Orders whose reports are awaited beyond their cycle; of more the oldest are forgotten, which are the least alive.
    static let orphanedPublicationsMax = 32
    /// Rejections of one agent are published at most so often.
    public static let rejectionEventInterval = TimeSpan.seconds(1)
    /// How long an old token may count beside a new one that was not used yet.
    public static let tokenOverlap = TimeSpan.seconds(600)
    /// Replaced tokens that count beside the newest of them; of more the oldest end.
    static let earlierTokensMax = 3
    /// Boot ids before the current one that are still told from newer ones.
    static let earlierBootsMax = 4
    public static let attemptsReachedError = "Agent did not check in after wake; max wake attempts reached"

    public internal(set) var state: AgentState
    public package(set) var phase: AgentPhase

    // In memory only.
    package var lastSeen: Instant?
    var lastSeenBy = 0
    /// An online agent does not lapse before this: after suspension, a resume, a restart.
    package var lapseFloor: Instant?
    package var firstOrderedAt: Instant?
    /// `starting` asked for time until then before the deadline of its wake was known.
    var extensionWanted: Instant?
    var goodbye: Reception?
    var loss: Loss?
    var earlierBoots: [String] = []
    /// Its host has said while it was paused that it waits.
    var hasHostWaited = false
    /// Its host has returned while an order of it was on its way.
    var hostReturnedAt: Instant?
    var onlineSince: Instant?
    /// `AgentState.recoverAfter` on the monotonic clock.
    var recoverAfter: Instant?
    var pauseEnd: Instant?
    /// From when on none of the abandoned orders can be published any more.
    var orphanedUntil: Instant?
    var lastSeq: Int64?
    var bucket: TokenBucket
    public internal(set) var rejectionPublishedAt: Instant?

    /// A new agent: offline, never asked for.
    ///
    /// - Parameter rejectedAt: when a heartbeat of that name was last published as rejected.
    public init(new record: AgentRecord, tokenDigest: String?, rejectedAt: Instant? = nil) {
        rejectionPublishedAt = rejectedAt
        state = AgentState(record: record)
        state.tokenDigest = tokenDigest
        phase = .resting
        bucket = TokenBucket(rate: record.policy.heartbeatRate, burst: Policy.heartbeatBurst)
    }

    /// An agent taken over with its state. `observabilityRestored` must follow: until then nothing may be judged.
    public init(restored state: AgentState, _ context: AgentContext) {
        self.state = state
        bucket = TokenBucket(rate: state.record.policy.heartbeatRate, burst: Policy.heartbeatBurst)
        phase = .resting
        lastSeen = state.record.lastSeenAt.map { context.past($0) }
        onlineSince = state.onlineSince.map { context.past($0) }
        recoverAfter = state.recoverAfter.map { context.instant(of: $0) }
        firstOrderedAt = state.cycle.flatMap { cycle in
            cycle.firstOrderedAt.map { context.past($0, on: cycle.firstOrderedOn) }
        }
        // For so long whatever was under way may still be published.
        orphanedUntil = context.now + AgentMachine.orderDrainedAfter
        if state.record.status == .deleting {
            phase = .leaving
        } else if state.record.isPaused {
            phase = .paused
            refreshPauseEnd(context)
        } else if let cycle = state.cycle {
            phase =
                cycle.order.map { .wakeOrdered(publication: $0.publication) }
                ?? .wakeQueued(isRepeat: false, reason: cycle.reason)
        } else if state.record.status == .online {
            phase = .online
            extendLapse(context)
        }
    }

    public var record: AgentRecord { state.record }

    /// When `deadlinePassed` is due; `nil` when nothing is awaited. A heartbeat only ever moves it later.
    public var due: Instant? {
        let own: Instant? =
            switch phase {
            case .wakeQueued, .wakeOrdered: nil
            case .resting: recoveryDue
            case .awaitingCheckin(let due): due
            case .online: wellAt.map { min($0, lapseDue) } ?? lapseDue
            case .lost(let due): min(due, lapseDue)
            case .leaving: orphanedUntil
            case .paused: state.orphanedPublications.isEmpty ? nil : orphanedUntil
            }
        guard let pauseEnd else { return own }
        return own.map { min($0, pauseEnd) } ?? pauseEnd
    }

    /// Whether what `due` is about is decided by heartbeats, so that nothing may be decided while they cannot be seen.
    public var isDueJudged: Bool {
        switch phase {
        case .resting, .wakeQueued, .wakeOrdered, .paused, .leaving: false
        case .awaitingCheckin, .online, .lost: true
        }
    }

    /// Whether a permit would order a wake.
    public var isAwaitingPermit: Bool {
        if case .wakeQueued = phase { true } else { false }
    }

    /// Whether it waits for the answer to a wake that reached nobody.
    public var isUnheard: Bool {
        if case .awaitingCheckin = phase { state.record.wakeDelivery == .noSubscriber } else { false }
    }

    /// Whether it is to be told that its gateway, which has returned so often, is there.
    public func isToBeTold(ofReturn number: Int) -> Bool {
        (state.hostReturn ?? 0) != number && state.record.isWanted && !state.record.isPaused
            && state.record.status != .deleting
    }

    /// Whether no wake of this agent can be published any more without a new order.
    public var isDrained: Bool {
        switch phase {
        case .wakeOrdered, .leaving: false
        case .resting, .wakeQueued, .awaitingCheckin, .online, .lost, .paused: state.orphanedPublications.isEmpty
        }
    }

    /// The time until the present deadline, for logs.
    var lapseDue: Instant {
        let base = lastSeen.map { $0 + state.record.policy.offlineAfter.span }
        return max(base ?? Instant(nanoseconds: 0), lapseFloor ?? Instant(nanoseconds: 0))
    }

    // MARK: Small steps

    /// Raises the revision and hands the state out with its event.
    mutating func emit(
        _ event: LifecycleEvent, reason: String? = nil, _ context: AgentContext,
        _ directives: inout [AgentDirective]
    ) {
        revise(context)
        directives.append(.emit(event, reason: reason, state))
    }

    mutating func revise(_ context: AgentContext) {
        state.record.revision += 1
        state.record.updatedAt = context.wallTime
    }

    mutating func queueWake(isRepeat: Bool, reason: WakeReason, _ directives: inout [AgentDirective]) {
        phase = .wakeQueued(isRepeat: isRepeat, reason: reason)
        directives.append(.requestPermit)
    }

    /// After a time in which heartbeats could not be counted: an online agent gets one interval and one deadline.
    mutating func extendLapse(_ context: AgentContext) {
        let policy = state.record.policy
        let grace = context.now + policy.heartbeatInterval.span + policy.checkinDeadline.span
        lapseFloor = max(lapseFloor ?? grace, grace)
    }

    /// Gives up the order that is under way, if one is. Its wake may still be published, by whoever has the order already.
    /// Comes before the event of whatever caused it, so that the event's state tells of it.
    mutating func abandonOrder(_ context: AgentContext, _ directives: inout [AgentDirective]) {
        forgetOrphanedPublications(context)
        guard case .wakeOrdered(let publication) = phase else { return }
        if !state.orphanedPublications.contains(publication) { state.orphanedPublications.append(publication) }
        if state.orphanedPublications.count > AgentMachine.orphanedPublicationsMax {
            state.orphanedPublications.removeFirst()
        }
        orphanedUntil = context.now + AgentMachine.orderDrainedAfter
        directives.append(.settleOrder)
    }

    /// Nobody publishes an order that old.
    mutating func forgetOrphanedPublications(_ context: AgentContext) {
        awaitDrain(context)
        guard let orphanedUntil, context.now >= orphanedUntil else { return }
        state.orphanedPublications = []
        self.orphanedUntil = nil
    }

    /// As long as it is not committed that an order was given up, the store goes on publishing it.
    mutating func awaitDrain(_ context: AgentContext) {
        guard let orphanedUntil, let floor = context.drainFloor else { return }
        self.orphanedUntil = max(orphanedUntil, floor)
    }

    mutating func refreshPauseEnd(_ context: AgentContext) {
        pauseEnd = state.pauseEnds.values.min().map { context.instant(of: $0) }
        let ends = state.record.pausedBy.map { state.pauseEnds[$0.rawValue] }
        state.record.pausedUntil = ends.contains(nil) ? nil : ends.compactMap { $0 }.max()
    }
}

/// A token bucket: `rate` tokens a second, at most `burst` at once (RFC 2697 §3 with one colour).
struct TokenBucket: Hashable, Sendable {
    private var tokens: Double
    private var filledAt: Instant?
    var rate: Rate
    let burst: Int

    init(rate: Rate, burst: Int) {
        self.rate = rate
        self.burst = burst
        tokens = Double(burst)
    }

    /// Takes one token at `time`, which may lie before an earlier one's; `false` when there is none.
    mutating func take(_ time: Instant) -> Bool {
        guard !rate.isUnlimited else { return true }
        if let filledAt, time > filledAt {
            tokens = min(
                Double(burst), tokens + Double(time.nanoseconds(since: filledAt)) / 1e9 * Double(rate.perSecond))
        }
        filledAt = max(filledAt ?? time, time)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }
}
