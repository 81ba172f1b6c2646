internal import Bus
internal import Glibc
internal import Model
internal import Synchronization

/// Numbers that the measuring thread and a load thread share.
final class SharedCounts: Sendable {
    /// Messages published since the round began.
    let published = Atomic<Int>(0)
    /// Messages known to have arrived.
    let arrived = Atomic<Int>(0)
    let isRunning = Atomic<Bool>(true)
    let isConnected = Atomic<Bool>(false)
    let hasEnded = Atomic<Bool>(false)
}

/// A thread that publishes prepared messages in turn, at a rate or as fast as they arrive.
struct PublisherThread: Sendable {
    /// Heartbeats and messages under way at most: enough to keep every part busy, far below the broker's queue.
    static let heartbeatsUnderWayMax = 1_000_000
    static let messagesUnderWayMax = 40_000

    let options: ConnectionOptions
    let messages: [Publication]
    /// Messages a second; 0: as fast as they arrive.
    let rate: Double
    /// Heartbeats in each.
    let heartbeatsPerMessage: Int
    let counts: SharedCounts

    func start() {
        runThread { run() }
    }

    private func run() {
        let loop = EventLoop()
        let underWayMax = max(
            4, min(PublisherThread.messagesUnderWayMax, PublisherThread.heartbeatsUnderWayMax / heartbeatsPerMessage))
        let delegate = QuietDelegate(counts)
        let connection = Connection(options, loop: loop, delegate: delegate)
        let start = Clock.now()
        var next = 0
        loop.turnEnded = {
            guard connection.isConnected else { return }
            let published = counts.published.load(ordering: .relaxed)
            var budget = underWayMax - (published - counts.arrived.load(ordering: .relaxed))
            if rate > 0 {
                let due = Int(Double(Clock.now().nanoseconds - start.nanoseconds) / 1e9 * rate)
                budget = min(budget, due - published)
            }
            budget = min(budget, 256, 512 - connection.outstanding)
            if connection.isWriteBlocked { budget = 0 }
            for _ in 0..<max(0, budget) {
                guard (try? connection.publish(messages[next])) != nil else { break }  // lost: the round shows it
                next = (next + 1) % messages.count
                counts.published.wrappingAdd(1, ordering: .relaxed)
            }
            // Rate and arrivals are looked at again each millisecond.
            loop.wakeAt = budget > 0 && rate == 0 ? loop.now : loop.now + TimeSpan(milliseconds: 1)
        }
        _ = loop.run(until: { !counts.isRunning.load(ordering: .relaxed) }, for: .seconds(3_600))
        loop.turnEnded = {}
        connection.close()
        counts.hasEnded.store(true, ordering: .releasing)
    }
}

/// A thread that subscribes to a topic and counts what arrives: the other end of the bare measurement.
struct SubscriberThread: Sendable {
    let options: ConnectionOptions
    let topic: String
    let counts: SharedCounts

    func start() {
        runThread { run() }
    }

    private func run() {
        let loop = EventLoop()
        let delegate = QuietDelegate(counts, topic: topic)
        let connection = Connection(options, loop: loop, delegate: delegate)
        _ = loop.run(until: { !counts.isRunning.load(ordering: .relaxed) }, for: .seconds(3_600))
        connection.close()
        counts.hasEnded.store(true, ordering: .releasing)
    }
}

/// Counts what arrives and subscribes to at most one topic.
private final class QuietDelegate: ConnectionDelegate {
    private let counts: SharedCounts
    private let topic: String?

    init(_ counts: SharedCounts, topic: String? = nil) {
        self.counts = counts
        self.topic = topic
    }

    func connected(_ connection: Connection) {
        if let topic { connection.subscribe([topic]) } else { counts.isConnected.store(true, ordering: .releasing) }
    }

    func subscribed(refused: [String], on connection: Connection) {
        counts.isConnected.store(refused.isEmpty, ordering: .releasing)
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        counts.arrived.wrappingAdd(1, ordering: .relaxed)
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        counts.isConnected.store(false, ordering: .releasing)
    }
}

/// Runs a body on a thread of its own: loops block.
private func runThread(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let status = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, box.toOpaque())
    precondition(status == 0, "no thread could be made: \(status)")
    pthread_detach(thread)
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
    }
}
