public import Contract
public import Lifecycle

/// What a reconciler knows of the way by which check-ins reach it, and whether it may judge.
///
/// Blind means: a missing check-in proves nothing. The reasons are evaluated a few times a second; any change of an
/// ingest that may have lost heartbeats is a moment of blindness of its own.
public struct Sight: Sendable {
    /// An ingest whose presence is older than this is not there, and the broker has ended its subscription: until then
    /// heartbeats may be given to it, whether it reads them or not.
    public static let presenceLimit = TimeSpan.seconds(20)
    /// A store that has not receipted for so long is not there.
    public static let storeLimit = TimeSpan.seconds(1)

    private struct Ingest: Sendable {
        var incarnation: String
        var session: Int
        var heardAt: Instant
        /// Whether it was heard itself: of a retained copy only the subscription may still be there.
        var isLive: Bool
    }

    private var ingests: [String: Ingest] = [:]
    private var isConnected = false
    private var hadInterruption = false

    public init() {}

    /// The ingests to which heartbeats may be given now, by instance.
    public var receiving: [String] { ingests.keys.sorted() }

    /// An ingest says, behind a canary, by which subscription it receives: another one than known has missed something.
    public mutating func answered(_ answer: BarrierAnswer) {
        guard let known = ingests[answer.ingest], known.incarnation == answer.incarnation,
            known.session != answer.session
        else { return }
        ingests[answer.ingest]?.session = answer.session
        hadInterruption = true
    }

    /// The subscriptions of a new session stand.
    public mutating func connected() {
        isConnected = true
    }

    public mutating func disconnected() {
        isConnected = false
        // What was retained says nothing of who lives now: each must be heard again.
        ingests = [:]
    }

    /// Takes an ingest's presence; a retained copy is no proof of life, but a Last Will is one of death.
    public mutating func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        switch presence.state {
        case .running:
            guard let session = presence.heartbeatSession else {
                // It is there and receives nothing.
                if ingests.removeValue(forKey: presence.instance) != nil { hadInterruption = true }
                return
            }
            let known = ingests[presence.instance]
            if let known, known.incarnation != presence.incarnation || known.session != session {
                hadInterruption = true
            }
            // Who is known by a retained copy alone is waited for: heartbeats may be given to it.
            guard known == nil || !isRetained else { return }
            ingests[presence.instance] = Ingest(
                incarnation: presence.incarnation, session: session, heardAt: now, isLive: !isRetained)
        case .lost:
            guard let known = ingests[presence.instance], known.incarnation == presence.incarnation else { return }
            ingests[presence.instance] = nil
            hadInterruption = true
        case .stopped:
            // A clean end handed everything over before it said so.
            guard ingests[presence.instance]?.incarnation == presence.incarnation else { return }
            ingests[presence.instance] = nil
        }
    }

    /// Whether something has waited too long for its commit.
    public static func areCommitsLate(now: Instant, oldestUncommitted: Instant?) -> Bool {
        oldestUncommitted.map { now > $0 + Sight.storeLimit } ?? false
    }

    /// Why nothing may be judged now; `nil` when all is well. `interrupted`: heartbeats may have been lost since the last
    /// call although all is well again.
    ///
    /// - Parameter unansweredSince: since when a barrier has had no answer.
    public mutating func evaluate(
        now: Instant, oldestUncommitted: Instant?, unansweredSince: Instant?
    ) -> (blind: String?, interrupted: Bool) {
        defer { hadInterruption = false }
        for (instance, ingest) in ingests where now > ingest.heardAt + Sight.presenceLimit {
            ingests[instance] = nil
            hadInterruption = true
        }
        if !isConnected { return ("not connected to the broker", hadInterruption) }
        if !ingests.values.contains(where: \.isLive) {
            return ("no heartbeat-ingest receives heartbeats", hadInterruption)
        }
        if let unansweredSince, now > unansweredSince + VerdictBarrier.answerLimit {
            return ("heartbeat-ingest or the broker does not answer", hadInterruption)
        }
        if Sight.areCommitsLate(now: now, oldestUncommitted: oldestUncommitted) {
            return ("the status store does not commit", hadInterruption)
        }
        return (nil, hadInterruption)
    }
}
