internal import Glibc
public import Lifecycle

/// One thread's loop over its connections, file descriptors and timers.
///
/// Everything that belongs to a loop is created, called and destroyed on the thread that runs it; nothing here locks.
/// A turn reads what has arrived (up to a limit), calls `turnEnded` once, so that a service commits and publishes for a
/// whole batch, and then writes. A turn that took longer than `stallLimit`, by the monotonic clock that counts
/// suspension, is a stall: every connection is destroyed unread, since what it would read is old, and made again.
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
    /// The clock reading of this turn.
    public private(set) var now = Clock.now()

    private struct Timer {
        let id: Int
        var due: Instant
        let interval: TimeSpan?
        let action: () -> Void
    }

    public init() {}

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
        while !isStopping {
            turn(waitingAtMost: TimeSpan.seconds(1))
        }
    }

    /// Runs until `condition` holds or `limit` has passed; whether it holds.
    public func run(until condition: () -> Bool, for limit: TimeSpan) -> Bool {
        let end = Clock.now() + limit
        while !condition() {
            let now = Clock.now()
            guard now < end else { return condition() }
            turn(waitingAtMost: TimeSpan(milliseconds: min(1_000, end.milliseconds(since: now) + 1)))
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

        let polled = connections.filter { $0.descriptor != nil }
        var descriptors = polled.map { connection in
            let events = (connection.wantsToRead ? Int16(POLLIN) : 0) | (connection.wantsToWrite ? Int16(POLLOUT) : 0)
            return pollfd(fd: connection.descriptor ?? -1, events: events, revents: 0)
        }
        let readerDescriptors = Array(readers.keys)
        descriptors += readerDescriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        poll(&descriptors, nfds_t(descriptors.count), Int32(timeout))

        let woke = Clock.now()
        let overslept = woke.milliseconds(since: now) - timeout
        if overslept > EventLoop.stallLimit.milliseconds { recover(from: TimeSpan(milliseconds: overslept)) }
        now = woke

        for (connection, descriptor) in zip(polled, descriptors) where descriptor.revents & ~Int16(POLLOUT) != 0 {
            connection.read()
        }
        for (descriptor, state) in zip(readerDescriptors, descriptors.dropFirst(polled.count)) where state.revents != 0
        {
            readers[descriptor]?()
        }
        fireTimers()
        turnEnded()
        for connection in connections { connection.write(now: now) }
        let took = Clock.now().milliseconds(since: now)
        if took > EventLoop.stallLimit.milliseconds { recover(from: TimeSpan(milliseconds: took)) }
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
        for connection in connections {
            connection.abandon(reason: "this process stalled for \(stall.milliseconds) ms")
        }
        stalled(stall)
    }
}
