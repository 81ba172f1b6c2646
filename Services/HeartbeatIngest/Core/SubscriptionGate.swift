public import API
public import Model

/// Whether an ingest may subscribe to heartbeats, and by which subscription: a pure value.
///
/// Two rules. Every owner of a partition knows the ingest before heartbeats can be given to it, else a barrier would pass
/// without asking it, and what it received in time would miss the verdict. And one whose incarnations keep ending uncleanly waits
/// as long as others receive, since each of its ends interrupts the observability of all reconcilers; alone it does not wait, since
/// then nobody would see anything.
///
/// A subscription is one connection with one subscription, numbered within the incarnation. `begin` says that the next one is to be
/// introduced; once `isAcknowledged`, it may be opened. It stays open when owners change: a new owner finds the ingest by
/// its presence.
public struct SubscriptionGate: Sendable {
    /// After the end of a subscription the next one begins so much later, doubling while none stands.
    public static let retryMin = TimeSpan(milliseconds: 50)
    public static let retryMax = TimeSpan.seconds(2)
    /// Another ingest counts as receiving for so long after it was heard.
    static let otherLimit = TimeSpan(milliseconds: Int64(Presence.expirySeconds) * 1_000)

    private enum Phase: Sendable {
        /// Nothing can be given to it.
        case closed
        /// The owners are told; by partition, the introduction that has no acknowledgement yet.
        case introducing([Int: Int])
        /// A subscription is open, or being opened.
        case open
    }

    /// The newest subscription.
    public private(set) var subscription = 0
    /// What was noted of earlier incarnations; nothing begins before it is known.
    public private(set) var past: CrashLoopBackoff?
    private var phase = Phase.closed
    private var waitUntil: Instant?
    private var retryAt: Instant?
    private var retry = SubscriptionGate.retryMin
    private var others: [String: Instant] = [:]

    public init() {}

    public var isIntroducing: Bool { if case .introducing = phase { true } else { false } }
    /// All owners have acknowledged the subscription: it may be opened.
    public var isAcknowledged: Bool { if case .introducing(let missing) = phase { missing.isEmpty } else { false } }

    /// What earlier incarnations have noted is known; the note of this one is to be written.
    public mutating func found(_ note: CrashLoopBackoff?, now: Instant, wallTime: Timestamp) {
        let past = CrashLoopBackoff(after: note, now: wallTime)
        self.past = past
        waitUntil = now + past.wait(now: wallTime)
    }

    /// This incarnation stalled, and its connections were given up.
    public mutating func stalled(now: Instant, wallTime: Timestamp) {
        past?.stalled(now: wallTime)
        if let past { waitUntil = now + past.wait(now: wallTime) }
    }

    /// Takes the presence of another ingest.
    public mutating func heard(_ other: Presence, now: Instant) {
        let receives = other.state == .running && other.heartbeatSession != nil
        others[other.instance] = receives ? now : nil
    }

    /// How long this ingest waits because its incarnations end uncleanly; `nil` when it does not.
    public func wait(now: Instant) -> TimeSpan? {
        guard let waitUntil, now < waitUntil, others.values.contains(where: { now <= $0 + SubscriptionGate.otherLimit })
        else { return nil }
        return TimeSpan(milliseconds: waitUntil.milliseconds(since: now))
    }

    /// Begins the introduction of the next subscription, if it is time; its number.
    public mutating func begin(now: Instant) -> Int? {
        guard case .closed = phase, past != nil, retryAt.map({ now >= $0 }) ?? true, wait(now: now) == nil else {
            return nil
        }
        subscription += 1
        phase = .introducing([:])
        return subscription
    }

    /// The introduction was sent to a partition's owner, as this frame of its stream.
    public mutating func introduced(to partition: Int, seq: Int) {
        guard case .introducing(var missing) = phase else { return }
        missing[partition] = seq
        phase = .introducing(missing)
    }

    /// The owner of a partition has acknowledged everything up to this frame.
    public mutating func acknowledged(_ partition: Int, upTo seq: Int) {
        guard case .introducing(var missing) = phase, let wanted = missing[partition], seq >= wanted else { return }
        missing[partition] = nil
        phase = .introducing(missing)
    }

    /// The subscription is being opened.
    public mutating func opened() {
        phase = .open
    }

    /// The subscription's subscription stands.
    public mutating func subscribed() {
        retry = SubscriptionGate.retryMin
    }

    /// The subscription has ended, or what was acknowledged counts no more: the connection to the owners was lost.
    public mutating func closed(now: Instant) {
        if case .closed = phase { return }
        if case .open = phase {
            retryAt = now + retry
            retry = TimeSpan(milliseconds: min(retry.milliseconds * 2, SubscriptionGate.retryMax.milliseconds))
        }
        phase = .closed
    }
}
