internal import API
internal import Model
internal import Wire

/// The subscription on which heartbeats come, as far as it decides anything: a pure value.
///
/// A subscription is opened when the owners know of it, ends with its connection and is never made again: the next one has another
/// number. Its Last Will tells the owners that nothing is given to it any more.
struct HeartbeatSubscription: Sendable {
    private enum State: Sendable {
        /// No connection. Can become: open, ended.
        case closed
        /// Subscribed once there is a session. Can become: closed, draining, ended.
        case open(subscription: Int)
        /// Unsubscribed; what was queued before is still read, up to the canary. Can become: cutOff, ended.
        case draining
        /// The connection broke meanwhile: what was queued is lost, and this end is no clean one.
        case cutOff
        /// Nothing more comes.
        case ended
    }

    private var state = State.closed
    private var isConnected = false
    /// The broker has not answered the subscription: it may have given heartbeats to the subscription already.
    private var isSubscribing = false
    private var pausedAt: Instant?
    /// Questions that wait for their canary, each with when it was sent.
    private var asked: [Int: (question: BarrierQuestion, at: Instant)] = [:]
    /// From a canary to its return.
    private(set) var roundTrips = Histogram(bounds: Histogram.commitBounds)
    private var nextCanary = 0
    /// The number of the subscription that stands, which is its subscription's; `nil` while none does.
    private(set) var session: Int?

    var isPaused: Bool { pausedAt != nil }
    var isOpen: Bool { if case .open = state { true } else { false } }
    /// Whether the broker may have given heartbeats to the subscription that are not read yet.
    var mayHoldHeartbeats: Bool {
        if case .draining = state { return true }
        return isSubscribing || session != nil
    }

    mutating func open(_ subscription: Int, end: HeartbeatSubscriptionEnded, into actions: inout [IngestAction]) {
        guard case .closed = state else { return }
        state = .open(subscription: subscription)
        actions.append(.openSubscription(end: end))
    }

    mutating func connected(into actions: inout [IngestAction]) {
        guard case .open = state else { return }
        isConnected = true
        isSubscribing = true
        actions.append(.subscribeToHeartbeats)
    }

    /// The subscription was answered; whether it stands.
    mutating func subscribed(refused: [String]) -> Bool {
        isSubscribing = false
        guard refused.isEmpty, case .open(let subscription) = state, session == nil else { return false }
        session = subscription
        return true
    }

    /// The connection is gone, and with it the subscription; whether there was one.
    mutating func lost() -> Bool {
        isConnected = false
        isSubscribing = false
        asked = [:]
        session = nil
        switch state {
        case .closed: return false
        case .open: state = .closed
        case .draining: state = .cutOff
        case .cutOff, .ended: break
        }
        return true
    }

    /// Ends the subscription unread, as a crash would; whether there was one.
    mutating func abandon(reason: String, into actions: inout [IngestAction]) -> Bool {
        guard lost() else { return false }
        actions.append(.abandonSubscription(reason: reason))
        return true
    }

    /// Stops reading. Heartbeats wait at the broker, which has them for us or gives them to other instances.
    mutating func pause(now: Instant, into actions: inout [IngestAction]) {
        guard pausedAt == nil else { return }
        pausedAt = now
        actions.append(.pauseSubscription(true))
    }

    mutating func resume(into actions: inout [IngestAction]) {
        guard pausedAt != nil else { return }
        pausedAt = nil
        actions.append(.pauseSubscription(false))
    }

    /// Whether its pause has made its unread heartbeats too old to be believed.
    func isStale(now: Instant, after limit: TimeSpan) -> Bool {
        guard let pausedAt, isOpen else { return false }
        return now.milliseconds(since: pausedAt) >= limit.milliseconds
    }

    /// Takes no new heartbeats; whether all that were queued here before have been read. Never, when the connection breaks
    /// before: then the service ends at its limit, and not cleanly.
    mutating func drain(into actions: inout [IngestAction]) -> Bool {
        switch state {
        case .open:
            guard isConnected else {
                state = .ended
                return true
            }
            state = .draining
            resume(into: &actions)
            actions.append(.unsubscribeFromHeartbeats)
            actions.append(.sendCanary(.last))
            return false
        case .draining, .cutOff: return false
        case .closed, .ended: return true
        }
    }

    /// Sends a canary through the broker. The question is given out again once it has come back behind all heartbeats that the
    /// broker had for us before, and never when this subscription ends first.
    mutating func ask(_ question: BarrierQuestion, now: Instant, into actions: inout [IngestAction]) {
        guard session != nil, !isPaused else { return }
        nextCanary += 1
        asked[nextCanary] = (question, now)
        actions.append(.sendCanary(.barrier(nextCanary)))
    }

    /// A canary has come back; the question that may be answered now.
    mutating func received(_ canary: IngestCanary, now: Instant) -> BarrierQuestion? {
        switch canary {
        case .last:
            state = .ended
            return nil
        case .barrier(let number):
            guard let (question, at) = asked.removeValue(forKey: number) else { return nil }
            roundTrips.add(nanoseconds: now.nanoseconds(since: at))
            return question
        }
    }
}
