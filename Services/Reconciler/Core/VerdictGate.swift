internal import API
internal import Model
internal import Streams
internal import Wire

/// Whether verdicts may be given: what is known of the ingests, the barrier before each verdict, and the times of suspension.
struct VerdictGate: Sendable {
    /// What an evaluation has found.
    struct Evaluation: Sendable {
        /// What every owner is to be told, in this order.
        var events: [PartitionEvent] = []
        fileprivate let reason: String?
        fileprivate let isInterrupted: Bool
    }

    private var observability: Observability
    private var barrier = VerdictBarrier()
    private var suspensions: Suspensions
    /// From a deadline to the barrier that let it be judged.
    private(set) var waits = Histogram(bounds: Histogram.commitBounds)
    private var earliestDue: Instant?
    /// Put off since nothing could be judged.
    private(set) var deferredDeadlines: Int64 = 0

    init(limits: ObservabilityLimits, now: Instant, wallTime: Timestamp) {
        observability = Observability(limits: limits)
        suspensions = Suspensions(now: now, wallTime: wallTime)
    }

    var isSuspended: Bool { suspensions.isSuspended }

    // MARK: What is heard

    mutating func subscribed() { observability.connected() }

    mutating func disconnected() {
        observability.disconnected()
        barrier.abandon()
    }

    mutating func received(_ answer: BarrierAnswer, now: Instant) {
        if barrier.answered(answer, now: now) { observability.answered(answer) }
    }

    mutating func ended(_ end: HeartbeatSubscriptionEnded, isRetained: Bool) {
        observability.ended(end, isRetained: isRetained)
    }

    /// Takes the presence of an ingest.
    mutating func received(_ presence: Presence, isRetained: Bool, now: Instant) {
        observability.heard(presence, isRetained: isRetained, now: now)
    }

    mutating func introduced(_ ingest: StreamID, subscription: Int, now: Instant) {
        observability.introduced(ingest.instance, incarnation: ingest.incarnation, subscription: subscription, now: now)
    }

    /// Heartbeats that were handed over could not be read.
    mutating func missedHeartbeats() { observability.missedHeartbeats() }

    // MARK: Verdicts

    /// The instant up to which may be judged, once the barrier has been answered and all batches are in.
    mutating func pass<Owner>(now: Instant, _ partitions: [OwnedPartition<Owner>]) -> Instant? {
        guard !isSuspended else { return nil }
        let asOf = barrier.pass { number, id, seq in
            guard let partition = partitions.first(where: { $0.number == number }), partition.isComplete
            else { return true }
            return partition.receiver.hasApplied(id, upTo: seq)
        }
        if asOf != nil, let due = earliestDue { waits.add(nanoseconds: now.nanoseconds(since: due)) }
        return asOf
    }

    /// The barrier for what is due since `verdict`, when it is time for one, and whom to ask.
    mutating func begin(for verdict: Instant, now: Instant) -> (number: Int, ingests: [String])? {
        guard !isSuspended, let number = barrier.begin(now: now, ingests: observability.asked) else { return nil }
        earliestDue = verdict
        return (number, observability.asked)
    }

    mutating func askAgain(now: Instant) -> (number: Int, ingests: [String])? { barrier.askAgain(now: now) }

    /// When to come back for a verdict that is due at `verdict`; `nil` while an answer is waited for.
    func next(_ verdict: Instant) -> Instant? {
        guard !barrier.isOpen else { return nil }
        return barrier.mayBeginAt.map { max(verdict, $0) } ?? verdict
    }

    // MARK: Suspension

    /// Whether something has waited too long for its commit.
    func areCommitsLate(now: Instant, oldestUncommitted: Instant?) -> Bool {
        oldestUncommitted.map { now > $0 + max(Observability.storeLimit, barrier.patience) } ?? false
    }

    /// Evaluates whether anything may be judged. Once the owners are told, `noted` is to follow: deadlines that are put off by
    /// it are counted before it is over.
    ///
    /// - Parameter stuckSince: since when something has waited for its commit and nothing was committed.
    mutating func evaluate(now: Instant, stuckSince: Instant?) -> Evaluation {
        barrier.wait(onlyFor: observability.incarnations)
        let (reason, interrupted) = observability.evaluate(
            now: now, stuckSince: stuckSince, unansweredSince: barrier.unansweredSince, patience: barrier.patience)
        // What was asked before a gap proves nothing behind it. One that is only late is waited for: its answer ends the
        // suspension.
        if interrupted || (reason == nil && suspensions.isSuspended) { barrier.abandon() }
        var evaluation = Evaluation(reason: reason, isInterrupted: interrupted)
        if interrupted || (reason != nil && !suspensions.isSuspended) { evaluation.events.append(.observabilityLost) }
        if reason == nil, interrupted || suspensions.isSuspended { evaluation.events.append(.observabilityRestored) }
        return evaluation
    }

    /// What is to be told of an evaluation, when it has changed anything.
    mutating func noted(_ evaluation: Evaluation, now: Instant, wallTime: Timestamp) -> ReconcilerLog? {
        let isNews = suspensions.evaluated(
            evaluation.reason, interrupted: evaluation.isInterrupted, now: now, wallTime: wallTime)
        guard isNews else { return nil }
        if let reason = evaluation.reason { return .suspended(reason: reason) }
        return .observable(
            suspensions: suspensions.count, length: suspensions.total(now: now), deferredDeadlines: deferredDeadlines)
    }

    /// A deadline was put off since nothing could be judged.
    mutating func deadlineDeferred() { deferredDeadlines += 1 }

    func describe(_ presence: inout Presence, now: Instant) {
        presence.suspended = suspensions.reason
        presence.suspendedSince = suspensions.since
        presence.suspensions = Int(suspensions.count)
        presence.suspendedMilliseconds = Int(suspensions.total(now: now).milliseconds)
        presence.deferredDeadlines = Int(deferredDeadlines)
    }

    var suspensionCount: Int64 { suspensions.count }

    func suspended(now: Instant) -> TimeSpan { suspensions.total(now: now) }
}
