public import Contract
public import Lifecycle

/// Whether an ingest may subscribe to heartbeats, and by which line: a pure value.
///
/// Two rules. Every owner of a partition knows the ingest before heartbeats can be given to it, else a barrier would pass
/// without asking it, and what it received in time would miss the verdict. And one whose lives keep ending uncleanly waits
/// as long as others receive, since each of its ends interrupts the sight of all reconcilers; alone it does not wait, since
/// then nobody would see anything.
///
/// A line is one connection with one subscription, numbered within the life. `begin` says that the next one is to be
/// introduced; once `isAcknowledged`, it may be opened. It stays open when owners change: a new owner finds the ingest by
/// its presence.
public struct Admission: Sendable {
    /// After the end of a line the next one begins so much later, doubling while none stands.
    public static let retryMin = TimeSpan(milliseconds: 50)
    public static let retryMax = TimeSpan.seconds(2)
    /// Another ingest counts as receiving for so long after it was heard.
    static let otherLimit = TimeSpan(milliseconds: Int64(Presence.expirySeconds) * 1_000)

    private enum Phase: Sendable {
        /// Nothing can be given to it.
        case closed
        /// The owners are told; by partition, the introduction that has no receipt yet.
        case introducing([Int: Int])
        /// A line is open, or being opened.
        case open
    }

    /// The newest line.
    public private(set) var line = 0
    /// What was noted of earlier lives; nothing begins before it is known.
    public private(set) var past: UncleanEnds?
    private var phase = Phase.closed
    private var waitUntil: Instant?
    private var retryAt: Instant?
    private var retry = Admission.retryMin
    private var others: [String: Instant] = [:]

    public init() {}

    public var isIntroducing: Bool { if case .introducing = phase { true } else { false } }
    /// All owners have acknowledged the line: it may be opened.
    public var isAcknowledged: Bool { if case .introducing(let missing) = phase { missing.isEmpty } else { false } }

    /// What earlier lives have noted is known; the note of this one is to be written.
    public mutating func found(_ note: UncleanEnds?, now: Instant, stamp: Timestamp) {
        let past = UncleanEnds(after: note, now: stamp)
        self.past = past
        waitUntil = now + past.wait(now: stamp)
    }

    /// This life stalled, and its connections were given up.
    public mutating func stalled(now: Instant, stamp: Timestamp) {
        past?.stalled(now: stamp)
        if let past { waitUntil = now + past.wait(now: stamp) }
    }

    /// Takes the presence of another ingest.
    public mutating func heard(_ other: Presence, now: Instant) {
        let receives = other.state == .running && other.heartbeatSession != nil
        others[other.instance] = receives ? now : nil
    }

    /// How long this ingest waits because its lives end uncleanly; `nil` when it does not.
    public func wait(now: Instant) -> TimeSpan? {
        guard let waitUntil, now < waitUntil, others.values.contains(where: { now <= $0 + Admission.otherLimit })
        else { return nil }
        return TimeSpan(milliseconds: waitUntil.milliseconds(since: now))
    }

    /// Begins the introduction of the next line, if it is time; its number.
    public mutating func begin(now: Instant) -> Int? {
        guard case .closed = phase, past != nil, retryAt.map({ now >= $0 }) ?? true, wait(now: now) == nil else {
            return nil
        }
        line += 1
        phase = .introducing([:])
        return line
    }

    /// The introduction was sent to a partition's owner, as this frame of its stream.
    public mutating func introduced(to partition: Int, seq: Int) {
        guard case .introducing(var missing) = phase else { return }
        missing[partition] = seq
        phase = .introducing(missing)
    }

    /// The owner of a partition has acknowledged everything up to this frame.
    public mutating func receipted(_ partition: Int, upTo seq: Int) {
        guard case .introducing(var missing) = phase, let wanted = missing[partition], seq >= wanted else { return }
        missing[partition] = nil
        phase = .introducing(missing)
    }

    /// The line is being opened.
    public mutating func opened() {
        phase = .open
    }

    /// The line's subscription stands.
    public mutating func subscribed() {
        retry = Admission.retryMin
    }

    /// The line has ended, or what was acknowledged counts no more: the connection to the owners was lost.
    public mutating func closed(now: Instant) {
        if case .closed = phase { return }
        if case .open = phase {
            retryAt = now + retry
            retry = TimeSpan(milliseconds: min(retry.milliseconds * 2, Admission.retryMax.milliseconds))
        }
        phase = .closed
    }
}
