public import API
public import Model
public import Wire

/// How long a reconciler waits for others before it takes what they do not say for suspension.
public struct ObservabilityLimits: Sendable {
    /// For the commit of a frame, while nothing is committed.
    public var store = Observability.storeLimit
    /// For the answer to a barrier.
    public var answer = VerdictBarrier.answerLimit

    public init() {}
}

/// What a reconciler knows of the way by which check-ins reach it, and whether it may judge.
///
/// Suspended means: a missing check-in proves nothing. The reasons are evaluated a few times a second; any change of an
/// ingest that may have lost heartbeats is a moment of suspension of its own.
///
/// Every ingest that is there is asked before a verdict, whether it has a subscription or not: what it received last may
/// still be with it. One that is gone is asked until it is known that nothing can be given to it any more.
public struct Observability: Sendable {
    /// An ingest whose presence is older than this is not there, and the broker has ended its subscription: until then
    /// heartbeats may be given to it, whether it reads them or not.
    public static let presenceLimit = TimeSpan.seconds(20)
    /// A store that has not acknowledged for so long is not there.
    public static let storeLimit = TimeSpan.seconds(1)
    /// Of an ingest that can say nothing any more: subscriptions have numbers from 1 on.
    private static let unknownSubscription = 0
    package static let noIngest = "no heartbeat-ingest receives heartbeats"

    private struct Ingest: Sendable {
        let incarnation: String
        /// The subscription by which heartbeats may be given to it; a subscription's number is its subscription's.
        var subscription: Int?
        /// The newest subscription that is known to have ended: what is heard of it afterwards is old.
        var endedSubscription = 0
        /// The subscription of which it said that it stands.
        var session: Int?
        var heardAt: Instant
        /// Whether it was heard itself: of a retained copy only the subscription may still be there.
        var isLive: Bool
        /// Its own connection has ended uncleanly, and its subscription perhaps not yet.
        var isCutOff = false
        /// It has unsubscribed, and hands over what it has: it has missed nothing, but what comes now it does not receive.
        var isStopping = false

        var receives: Bool { isLive && !isCutOff && !isStopping && session != nil }
    }

    private var ingests: [String: Ingest] = [:]
    /// The newest subscription of each instance of which a retained copy says that it has ended.
    private var endings: [String: HeartbeatSubscriptionEnded] = [:]
    /// Lines of earlier incarnations, by incarnation, that are not known to have ended: heartbeats may still be given to them, and
    /// nobody reads them. Each until when the broker has ended it at the latest.
    private var orphans: [String: (ingest: String, subscription: Int, until: Instant)] = [:]
    private var isConnected = false
    private var hadInterruption = false

    private let limits: ObservabilityLimits

    public init(limits: ObservabilityLimits = ObservabilityLimits()) {
        self.limits = limits
    }

    /// The ingests to ask before a verdict, by instance.
    public var asked: [String] { ingests.keys.sorted() }
    /// The incarnation of each.
    public var incarnations: [String: String] { ingests.mapValues(\.incarnation) }

    /// The subscriptions of a new session stand.
    public mutating func connected() {
        isConnected = true
    }

    public mutating func disconnected() {
        isConnected = false
        // What was retained says nothing of who lives now: each must be heard again.
        ingests = [:]
        endings = [:]
    }

    // MARK: What is heard of ingests

    /// An ingest will subscribe by this subscription once it knows that every owner was told.
    public mutating func introduced(_ instance: String, incarnation: String, subscription: Int, now: Instant) {
        if ingests[instance]?.incarnation != incarnation { meet(instance, incarnation, now) }
        ingests[instance]?.heardAt = now
        ingests[instance]?.isLive = true
        ingests[instance]?.isCutOff = false
        mayReceive(instance, by: subscription)
    }

    /// An ingest says, behind a canary, by which subscription it receives: another one than known has missed something.
    public mutating func answered(_ answer: BarrierAnswer) {
        guard ingests[answer.ingest]?.incarnation == answer.incarnation else { return }
        if answer.isStopping == true { ingests[answer.ingest]?.isStopping = true }
        subscribed(answer.ingest, answer.session)
    }

    /// Takes an ingest's presence; a retained copy is no proof of life, but a Last Will is one of death: of its own
    /// connection. Whoever is new, and hears of it by the retained copy, does not know whether heartbeats are still given to
    /// the subscription: unless its end is retained too, it is waited for.
    public mutating func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        let instance = presence.instance
        let known = ingests[instance]
        switch presence.state {
        case .running:
            // Who is known by a retained copy alone is waited for: heartbeats may be given to it.
            guard known == nil || !isRetained else { return }
            if known?.incarnation != presence.incarnation { meet(instance, presence.incarnation, now) }
            ingests[instance]?.heardAt = now
            ingests[instance]?.isLive = !isRetained
            ingests[instance]?.isCutOff = false
            subscribed(instance, presence.heartbeatSession)
        case .lost where isRetained && known == nil:
            guard endings[instance]?.incarnation != presence.incarnation else { return }
            meet(instance, presence.incarnation, now)
            ingests[instance]?.isCutOff = true
            ingests[instance]?.subscription = Observability.unknownSubscription
        case .lost:
            guard let known, known.incarnation == presence.incarnation else { return }
            ingests[instance]?.isCutOff = true
            if known.subscription == nil { ingests[instance] = nil }
        case .stopped:
            // A clean end handed everything over before it said so.
            guard known?.incarnation == presence.incarnation else { return }
            ingests[instance] = nil
        }
    }

    /// The broker has ended a subscription. What it had given to it, and the ingest did not read, is lost; when a retained copy says so,
    /// that was before.
    public mutating func ended(_ end: HeartbeatSubscriptionEnded, isRetained: Bool) {
        if isRetained { endings[end.ingest] = end } else { hadInterruption = true }
        if let orphan = orphans[end.incarnation], orphan.subscription <= end.subscription {
            orphans[end.incarnation] = nil
        }
        guard var ingest = ingests[end.ingest], ingest.incarnation == end.incarnation else { return }
        ingest.endedSubscription = max(ingest.endedSubscription, end.subscription)
        if let subscription = ingest.subscription, subscription <= end.subscription { ingest.subscription = nil }
        if let session = ingest.session, session <= end.subscription { ingest.session = nil }
        ingests[end.ingest] = ingest.isCutOff && ingest.subscription == nil ? nil : ingest
    }

    /// Heartbeats that an ingest handed over could not be read: who is silent may have been heard.
    public mutating func missedHeartbeats() {
        hadInterruption = true
    }

    private mutating func meet(_ instance: String, _ incarnation: String, _ now: Instant) {
        if let known = ingests[instance], let subscription = known.subscription {
            hadInterruption = true
            orphans[known.incarnation] = (instance, subscription, now + Observability.presenceLimit)
        }
        ingests[instance] = Ingest(incarnation: incarnation, heardAt: now, isLive: false)
    }

    private mutating func mayReceive(_ instance: String, by subscription: Int) {
        guard let ingest = ingests[instance], subscription > max(ingest.endedSubscription, ingest.subscription ?? 0)
        else { return }
        ingests[instance]?.subscription = subscription
    }

    private mutating func subscribed(_ instance: String, _ session: Int?) {
        guard let ingest = ingests[instance] else { return }
        // What is heard of an older subscription comes late.
        if let session, session <= ingest.endedSubscription || session < ingest.session ?? 0 { return }
        guard session != ingest.session else { return }
        // All but the first subscription of an incarnation follow one that may have swallowed heartbeats until now.
        if ingest.session != nil || session ?? 0 > 1 { hadInterruption = true }
        ingests[instance]?.session = session
        guard let session else { return }
        mayReceive(instance, by: session)
        // A subscription takes the session of the one before over: the broker has ended that.
        guard orphans.contains(where: { $0.value.ingest == instance }) else { return }
        orphans = orphans.filter { $0.value.ingest != instance }
        hadInterruption = true
    }

    // MARK: Whether nothing may be judged

    /// Why nothing may be judged now; `nil` when all is well. `interrupted`: heartbeats may have been lost since the last
    /// call although all is well again.
    ///
    /// - Parameters:
    ///   - stuckSince: since when something has waited for its commit and nothing was committed. A store that is behind
    ///     and goes on is there.
    ///   - unansweredSince: since when a barrier has had no answer.
    ///   - patience: what the way takes: no limit is shorter.
    public mutating func evaluate(
        now: Instant, stuckSince: Instant?, unansweredSince: Instant?, patience: TimeSpan = .zero
    ) -> (suspended: String?, interrupted: Bool) {
        defer { hadInterruption = false }
        for (instance, ingest) in ingests where now > ingest.heardAt + Observability.presenceLimit {
            ingests[instance] = nil
            hadInterruption = true
        }
        orphans = orphans.filter { now <= $0.value.until }
        if !isConnected { return ("not connected to the broker", hadInterruption) }
        if !ingests.values.contains(where: \.receives) {
            return (Observability.noIngest, hadInterruption)
        }
        if let orphan = orphans.values.map(\.ingest).min() {
            return (
                "the broker has not ended the subscription of an earlier heartbeat-ingest \(orphan)", hadInterruption
            )
        }
        if let unansweredSince, now > unansweredSince + max(limits.answer, patience) {
            return ("heartbeat-ingest or the broker does not answer", hadInterruption)
        }
        if let stuckSince, now > stuckSince + max(limits.store, patience) {
            return ("the status store does not commit", hadInterruption)
        }
        return (nil, hadInterruption)
    }
}
