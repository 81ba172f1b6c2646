public import Model

/// What the owner of an agent waits for. It lives in memory: after a restart it follows from the agent's state.
public enum AgentPhase: Hashable, Sendable {
    /// Nothing, or the time of the next recovery: the agent is offline. Can become `wakeQueued` (a request, its host's return,
    /// a recovery whose time has come), `online` (a heartbeat),
    /// `paused` (a pause), `leaving`.
    case resting
    /// A permit at its gateway's pace, to order a wake. A repeat publishes the newest wake again. Can become `wakeOrdered`
    /// (it was granted), `online` (a check-in of an earlier attempt), `resting` (a goodbye), `paused`, `leaving`.
    case wakeQueued(isRepeat: Bool, reason: WakeReason)
    /// The report of the order's publication. Can become `awaitingCheckin` (woken, failed), `wakeQueued` (expired, or a
    /// repeat after suspension), `online` (a check-in), `resting` (a goodbye), `paused`, `leaving`.
    case wakeOrdered(publication: Int)
    /// A check-in, until `due`. Can become `online` (it came), `wakeQueued` (the deadline passed, or suspension ended),
    /// `resting` (the last deadline passed, or a goodbye), `paused`, `leaving`.
    case awaitingCheckin(due: Instant)
    /// The next heartbeat, until the agent lapses. Can become `lost` (its Last Will), `wakeQueued` (a request, a lapse),
    /// `resting` (a lapse, a goodbye), `paused`, `leaving`.
    case online
    /// Its return, until `due`: its Last Will arrived, or its host has returned and it was not heard of since. Can become what `online` can, and `online` again by a heartbeat.
    case lost(due: Instant)
    /// A resume. Can become `wakeQueued`, `online`, `resting` (resumed), `leaving`.
    case paused
    /// The reports of the orders that were given up, or the time when none of them can be published any more; then the
    /// agent is gone for good.
    case leaving
}

/// What the owner must do after an input.
public enum AgentDirective: Hashable, Sendable {
    /// Commit the state with this event; its revision is the record's.
    case emit(LifecycleEvent, reason: String?, AgentState)
    /// Commit the state and the order, then have it published: it replaces the agent's order before it.
    case order(WakeOrder, AgentState)
    /// Commit that the agent has no outstanding order.
    case settleOrder
    /// Ask for a permit at the gateway's pace; `permitGranted` answers.
    case requestPermit
    /// Commit what has no event, later and together with others.
    case noteLastSeen
    /// Commit the state with event `deleted`, remove the agent and keep its numbers.
    case erase(Tombstone, AgentState)
    case log(LifecycleLog)
    /// What the sequence number says of the way here: heartbeats lost, or one repeated or late.
    case countSequence(lost: Int64, isRepeated: Bool)
}

/// What is logged of an agent's life, under the names that operators know.
public enum LifecycleLog: Hashable, Sendable {
    public enum Deferral: String, CaseIterable, Sendable {
        case extended
        case ownOutage = "own_outage"
        case early
    }

    /// A deadline was armed.
    case deadlineArmed(attempt: Int, delay: TimeSpan)
    /// A deadline was settled by a check-in, or handled.
    case deadlineHandled(attempt: Int)
    /// A wake could not be published.
    case wakeFailed(attempt: Int, error: String)
    case checkedInBeforeDeadline(attempt: Int)
    case deadlineDeferred(attempt: Int, delay: TimeSpan, Deferral)
    case retriggered(attempt: Int)
    case attemptsExhausted(wakeAttempts: Int, maxAttempts: Int)
    case skippedStaleGeneration(attempt: Int)
    case skippedDeleting
    case rejected(RejectionReason, detail: String? = nil)
}

/// What is true of an agent's world when an input is handled.
public struct AgentContext: Sendable {
    /// The monotonic clock and the wall clock, read once for the batch.
    public let now: Instant
    public let wallTime: Timestamp
    public let isGatewayLost: Bool
    /// How often its gateway has returned; `nil` while the gateway is not connected.
    public let hostReturn: Int?
    /// Until then orders that were given up may still be published; `nil` when commits are not late.
    public let drainFloor: Instant?
    /// Names this start of this machine, whose monotonic clock `now` is of; `nil` when it is not known.
    public let boot: String?
    /// Whether a rejection may be told now; when its gateway's agents had too many of them, it is only counted.
    public let tellsRejections: Bool

    public init(
        now: Instant, wallTime: Timestamp, isGatewayLost: Bool, hostReturn: Int? = nil, drainFloor: Instant? = nil,
        boot: String? = nil, tellsRejections: Bool = true
    ) {
        self.now = now
        self.wallTime = wallTime
        self.isGatewayLost = isGatewayLost
        self.hostReturn = hostReturn
        self.drainFloor = drainFloor
        self.boot = boot
        self.tellsRejections = tellsRejections
    }

    /// An instant of the monotonic clock for a point of wall-clock time: only for spans that a restart interrupted.
    func instant(of point: Timestamp) -> Instant {
        now + point.span(since: wallTime)
    }

    /// When something happened that an owner before this one has noted: by the monotonic clock itself on the same machine,
    /// else by the wall clock, which may be ahead there. Nothing happened later than now.
    func past(_ point: Timestamp, on machine: MachineInstant? = nil) -> Instant {
        if let machine, machine.boot == boot { return min(now, machine.instant) }
        return min(now, instant(of: point))
    }

    /// Now, for owners to come.
    var machineInstant: MachineInstant? { boot.map { MachineInstant(boot: $0, nanoseconds: now.nanoseconds) } }
}

/// A point of the monotonic clock of one start of one machine: where another machine's may be, nobody knows.
public struct MachineInstant: Codable, Hashable, Sendable {
    public let boot: String
    public let nanoseconds: Int64

    public init(boot: String, nanoseconds: Int64) {
        self.boot = boot
        self.nanoseconds = nanoseconds
    }

    var instant: Instant { Instant(nanoseconds: nanoseconds) }
}
