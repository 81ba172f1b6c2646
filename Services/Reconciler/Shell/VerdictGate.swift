internal import Bus
internal import Contract
internal import Lifecycle
internal import ReconcilerCore
internal import ServiceKit

/// Whether verdicts may be given: what is known of the ingests, the barrier before each verdict, and the times of blindness.
final class VerdictGate {
    private let runtime: ServiceRuntime
    private var connection: Connection?
    private var sight = Sight()
    private var barrier = VerdictBarrier()
    private var spells = BlindSpells(now: Clock.now(), stamp: Clock.stamp())
    /// From a deadline to the barrier that let it be judged.
    private var waits = WaitHistogram()
    private var earliestDue: Instant?
    /// Put off since nothing could be judged.
    private var deferredDeadlines: Int64 = 0

    init(_ runtime: ServiceRuntime) {
        self.runtime = runtime
    }

    var isBlind: Bool { spells.isBlind }

    // MARK: What is heard

    func connected(_ connection: Connection) {
        self.connection = connection
    }

    func subscribed() {
        sight.connected()
    }

    func disconnected() {
        sight.disconnected()
        barrier.abandon()
    }

    func received(_ answer: BarrierAnswer) {
        if barrier.answered(answer) { sight.answered(answer) }
    }

    func received(_ end: HeartbeatLineEnded, isRetained: Bool) {
        sight.ended(end, isRetained: isRetained)
    }

    /// Takes the presence of an ingest.
    func received(_ presence: Presence, isRetained: Bool, now: Instant) {
        sight.heard(presence, isRetained: isRetained, now: now)
    }

    func introduced(_ ingest: StreamID, line: Int, now: Instant) {
        sight.introduced(ingest.instance, incarnation: ingest.incarnation, line: line, now: now)
    }

    /// Heartbeats that were handed over could not be read.
    func missedHeartbeats() {
        sight.missedHeartbeats()
    }

    // MARK: Verdicts

    /// The instant up to which may be judged, once the barrier has been answered and all batches are in.
    func pass(now: Instant, _ hasApplied: (_ partition: Int, _ id: StreamID, _ seq: Int) -> Bool) -> Instant? {
        guard !isBlind, let asOf = barrier.pass(hasApplied) else { return nil }
        if let due = earliestDue { waits.add(microseconds: max(0, now.nanoseconds(since: due) / 1_000)) }
        return asOf
    }

    /// Asks all ingests for what is due since `verdict`, when it is time.
    func ask(for verdict: Instant, now: Instant) {
        guard !isBlind, let number = barrier.begin(now: now, ingests: sight.asked) else { return }
        earliestDue = verdict
        ask(sight.asked, number)
    }

    /// When the loop is to come back for a verdict that is due at `verdict`; `nil` while an answer is waited for.
    func next(_ verdict: Instant) -> Instant? {
        guard !barrier.isOpen else { return nil }
        return barrier.mayBeginAt.map { max(verdict, $0) } ?? verdict
    }

    func tick(now: Instant) {
        if let (number, ingests) = barrier.askAgain(now: now) { ask(ingests, number) }
    }

    private func ask(_ ingests: [String], _ number: Int) {
        guard let connection else { return }
        let question = JSON.bytes(BarrierQuestion(number: number, reconciler: runtime.instance))
        for ingest in ingests {
            let topic = runtime.topics.barriers(service: ServiceName.heartbeatIngest.rawValue, instance: ingest)
            // Refused only when the connection is lost: then nothing is judged.
            _ = try? connection.publish(Publication(topic: topic, payload: question))
        }
    }

    // MARK: Blindness

    /// Evaluates whether anything may be judged, and tells every partition when sight is lost or regained.
    ///
    /// - Parameters:
    ///   - stuckSince: since when something has waited for its commit and nothing was committed.
    ///   - tellAll: gives every partition an event; deadlines that are put off by it are counted before it is over.
    func evaluate(now: Instant, stuckSince: Instant?, tellAll: (PartitionEvent) -> Void) {
        barrier.wait(onlyFor: sight.lives)
        let (reason, interrupted) = sight.evaluate(
            now: now, stuckSince: stuckSince, unansweredSince: barrier.unansweredSince)
        // What was asked before a gap proves nothing behind it. One that is only late is waited for: its answer ends the
        // blindness.
        if interrupted || (reason == nil && spells.isBlind) { barrier.abandon() }
        if interrupted || (reason != nil && !spells.isBlind) { tellAll(.sightLost) }
        if reason == nil, interrupted || spells.isBlind { tellAll(.sightRegained) }
        guard spells.evaluated(reason, interrupted: interrupted, now: now, stamp: Clock.stamp()) else { return }
        if let reason {
            runtime.log.event("reconciler.blind", .warning, ["reason": LogValue(reason)])
        } else {
            runtime.log.event(
                "reconciler.sighted", .info,
                [
                    "spells": LogValue(Int(spells.count)), "blind_seconds": LogValue(spells.total(now: now).seconds),
                    "deferred": LogValue(Int(deferredDeadlines)),
                ])
        }
        runtime.announce()
    }

    /// A deadline was put off since nothing could be judged.
    func deadlineDeferred() {
        deferredDeadlines += 1
    }

    func describe(_ presence: inout Presence) {
        presence.blind = spells.reason
        presence.blindSince = spells.since
        presence.blindSpells = Int(spells.count)
        presence.blindMilliseconds = Int(spells.total(now: Clock.now()).milliseconds)
        presence.deferredDeadlines = Int(deferredDeadlines)
    }

    var counters: [String: Int64] {
        [
            "blind_spells": spells.count, "blind_ms": spells.total(now: Clock.now()).milliseconds,
            "deferred_deadlines": deferredDeadlines, "barriers": waits.count,
            "barrier_wait_us_p50": waits.percentile(50),
            "barrier_wait_us_p99": waits.percentile(99), "barrier_wait_us_max": waits.longest,
        ]
    }
}
