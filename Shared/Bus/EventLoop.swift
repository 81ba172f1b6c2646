public import API
internal import Glibc
public import Model

/// One thread's loop over its connections, file descriptors and timers.
///
/// Everything that belongs to a loop is created, called and destroyed on the thread that runs it; nothing here locks.
/// A turn reads what has arrived (up to a limit), calls `turnEnded` once, so that a service commits and publishes for a
/// whole batch, and then writes.
///
/// A turn that took longer than `stallLimit`, by the monotonic clock that counts suspension, is a stall: every connection
/// is destroyed unread, since what it would read is old, and unwritten, since what was decided is old, and made again. So is
/// as long a time between two readings of the clock. From the beginning of `run` to its end each interval lies between two
/// readings: one follows every wait, one comes before each message that is delivered and before each that is written.
/// Of what is old one word counts: that another client has the place of a session (`ConnectionOptions.endsWhenTakenOver`).
public final class EventLoop {
    /// A turn or a pause longer than this makes what the sockets hold too old to be believed.
    public static let stallLimit = TimeSpan.seconds(1)

    /// Called once at the end of each turn, before anything is written.
    public var turnEnded: () -> Void = {}
    /// Called after a stall, before connections are made again, with its length.
    public var stalled: (TimeSpan) -> Void = { _ in }

    /// The latest instant at which the next turn begins; a service sets it in `turnEnded`.
    public var wakeAt: Instant?

    private var connections: [Connection] = []
    private var readers: [Int32: () -> Void] = [:]
    private var timers: [Timer] = []
    private var nextTimer = 0
    private var isStopping = false
    /// By client id, since a connection that is made anew for the same client meets those of the one before it.
    var lateAttempts: [String: LateAttempts] = [:]
    /// A delegate is being called.
    var isTelling = false
    private var stream = StreamGauge()
    /// The longest wait of one turn: short enough that a pause of the process shows against `stallLimit`.
    private static let waitMax = TimeSpan(milliseconds: 250)
    /// The clock reading of this turn.
    public private(set) var now = Clock.now()
    /// The newest reading of the clock. What is being delivered had been read from its socket by then, whatever happened to
    /// this process since.
    public private(set) var checkedAt = Clock.now()
    /// How long turns took: reading, deciding and committing, without waiting and writing.
    public private(set) var turns = Histogram(bounds: Histogram.commitBounds)
    private var longestTurn = TimeSpan.zero
    private var longestWork = TimeSpan.zero

    private struct Timer {
        let id: Int
        var due: Instant
        let interval: TimeSpan?
        let action: () -> Void
    }

    public init() {}

    /// The longest turn since this was asked last: reading, deciding and committing, without waiting and writing.
    /// `worked`: for how long one had a processor, at most; the rest others had.
    public func takeLongestTurn() -> (took: TimeSpan, worked: TimeSpan) {
        defer { (longestTurn, longestWork) = (.zero, .zero) }
        return (longestTurn, longestWork)
    }

    func add(_ connection: Connection) {
        connections.append(connection)
    }

    func remove(_ connection: Connection) {
        connections.removeAll { $0 === connection }
    }

    /// Calls `action` whenever `descriptor` is readable.
    public func watch(_ descriptor: Int32, _ action: @escaping () -> Void) {
        readers[descriptor] = action
    }

    public func unwatch(_ descriptor: Int32) {
        readers[descriptor] = nil
    }

    /// Calls `action` once after `delay`.
    @discardableResult
    public func after(_ delay: TimeSpan, _ action: @escaping () -> Void) -> Int {
        schedule(delay, interval: nil, action)
    }

    /// Calls `action` every `interval`, first after one.
    @discardableResult
    public func every(_ interval: TimeSpan, _ action: @escaping () -> Void) -> Int {
        schedule(interval, interval: interval, action)
    }

    public func cancel(_ timer: Int) {
        timers.removeAll { $0.id == timer }
    }

    /// Ends `run` after the present turn.
    public func stop() {
        isStopping = true
    }

    /// Runs until `stop`.
    public func run() {
        isStopping = false
        restartClock()
        while !isStopping {
            turn(waitingAtMost: EventLoop.waitMax)
        }
    }

    /// Runs until `condition` holds or `limit` has passed; whether it holds.
    public func run(until condition: () -> Bool, for limit: TimeSpan) -> Bool {
        restartClock()
        let end = checkedAt + limit
        while !condition() {
            let now = Clock.now()
            guard now < end else { return condition() }
            turn(
                waitingAtMost: TimeSpan(
                    milliseconds: min(EventLoop.waitMax.milliseconds, end.milliseconds(since: now) + 1)))
        }
        return true
    }

    private func schedule(_ delay: TimeSpan, interval: TimeSpan?, _ action: @escaping () -> Void) -> Int {
        nextTimer += 1
        timers.append(Timer(id: nextTimer, due: Clock.now() + delay, interval: interval, action: action))
        return nextTimer
    }

    private func turn(waitingAtMost limit: TimeSpan) {
        now = Clock.now()
        var timeout = limit.milliseconds
        for timer in timers { timeout = min(timeout, max(0, timer.due.milliseconds(since: now) + 1)) }
        if let wakeAt { timeout = min(timeout, max(0, wakeAt.milliseconds(since: now) + 1)) }
        if timers.contains(where: { $0.due <= now }) { timeout = 0 }
        if connections.contains(where: \.hasWorkWaiting) { timeout = 0 }

        if timeout > 0, !connections.contains(where: \.isHurried) { stream.gather(since: now) }

        let polled = connections.filter { $0.descriptor != nil }
        var descriptors = polled.map { connection in
            let events = (connection.wantsToRead ? Int16(POLLIN) : 0) | (connection.wantsToWrite ? Int16(POLLOUT) : 0)
            return pollfd(fd: connection.descriptor ?? -1, events: events, revents: 0)
        }
        let readerDescriptors = Array(readers.keys)
        descriptors += readerDescriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        poll(&descriptors, nfds_t(descriptors.count), Int32(timeout))

        checkClock()
        now = checkedAt
        let worked = Clock.worked()

        var packets = 0
        for (connection, descriptor) in zip(polled, descriptors) where descriptor.revents != 0 || connection.hasMore {
            packets += connection.ready(descriptor.revents)
        }
        stream.note(packets, at: now)
        for (descriptor, state) in zip(readerDescriptors, descriptors.dropFirst(polled.count)) where state.revents != 0
        {
            readers[descriptor]?()
        }
        fireTimers()
        turnEnded()
        // Before anything is written: what was decided before a stall is old by now.
        let end = checkClock()
        turns.add(nanoseconds: end.nanoseconds(since: now))
        let took = TimeSpan(milliseconds: end.milliseconds(since: now))
        longestTurn = max(longestTurn, took)
        longestWork = max(
            longestWork, TimeSpan(milliseconds: Clock.worked().milliseconds - worked.milliseconds))
        if took > EventLoop.stallLimit { recover(from: took) }
        for connection in connections { connection.write(now: now) }
    }

    /// Reads the clock; after a stall every connection is given up when this returns.
    @discardableResult
    func checkClock() -> Instant {
        let reading = Clock.now()
        let interval = reading.milliseconds(since: checkedAt)
        checkedAt = reading
        if interval > EventLoop.stallLimit.milliseconds { recover(from: TimeSpan(milliseconds: interval)) }
        return reading
    }

    /// Begins to watch the clock anew: nobody promised to run this loop until now.
    func restartClock() {
        checkedAt = Clock.now()
    }

    private func fireTimers() {
        for timer in timers where timer.due <= now {
            guard let index = timers.firstIndex(where: { $0.id == timer.id }) else { continue }  // cancelled by another
            if let interval = timer.interval {
                timers[index].due = now + interval
            } else {
                timers.remove(at: index)
            }
            timer.action()
        }
    }

    private func recover(from stall: TimeSpan) {
        longestTurn = max(longestTurn, stall)
        // The turn begins anew: one stall is told once.
        now = checkedAt
        for connection in connections {
            connection.stalled(reason: "this process stalled for \(stall.milliseconds) ms")
        }
        stalled(stall)
    }
}

/// Tells a stream of messages from single ones, and lets a stream gather for a moment.
///
/// The broker is one thread and pays several system calls to wake a reader: one that reads about every millisecond
/// instead of at each packet lets it send more. Single messages, requests
/// that wait for answers, and a sender whose window fills are not delayed.
private struct StreamGauge {
    private static let windowNanoseconds: Int64 = 4_000_000
    private static let gatherNanoseconds: Int64 = 1_000_000
    /// Packets in a window that make a stream: 25,000 a second, more than one request after the other brings.
    private static let streamPackets = 100

    private var windowBegan: Int64 = 0
    private var packets = 0
    private var isStreaming = false
    private var readAt: Int64 = 0

    mutating func note(_ count: Int, at now: Instant) {
        packets += count
        readAt = now.nanoseconds
        let length = now.nanoseconds - windowBegan
        guard length >= StreamGauge.windowNanoseconds else { return }
        isStreaming = Int64(packets) * StreamGauge.windowNanoseconds >= Int64(StreamGauge.streamPackets) * length
        windowBegan = now.nanoseconds
        packets = 0
    }

    /// Waits until a millisecond has passed since the last read.
    func gather(since now: Instant) {
        guard isStreaming else { return }
        let rest = StreamGauge.gatherNanoseconds - (now.nanoseconds - readAt)
        guard rest > 0, rest <= StreamGauge.gatherNanoseconds else { return }
        var pause = timespec(tv_sec: 0, tv_nsec: Int(rest))
        nanosleep(&pause, nil)
    }
}
