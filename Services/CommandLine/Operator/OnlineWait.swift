internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// Waits until an agent's cycle has ended, by its retained status.
///
/// Only what belongs to the expected generation, or to a later one, counts: the status before the request is still
/// retained when it is sent.
struct OnlineWait {
    enum End: Equatable {
        case online, offline, removed, interrupted
        /// The limit of the wait came first.
        case overdue
    }

    private struct Standing: Decodable {
        let status: String
        let generation: Int

        enum CodingKeys: String, CodingKey {
            case status
            case generation = "lifecycle_generation"
        }
    }

    /// The generation of the request's answer; statuses may come before it.
    var expected: Int?
    /// The newest record that counts, as it came.
    var payload: [UInt8]? { newest.flatMap { $0.generation >= expected ?? .max ? $0.payload : nil } }

    private var newest: (payload: [UInt8], generation: Int, status: String)?
    private var isRemoved = false
    private var told = ""

    init() {}

    /// A line about what has changed since the last one: the wake and its deadline, while the cycle goes on.
    mutating func progress(now: Timestamp) -> String? {
        guard expected != nil, end == nil, let payload, let record = try? Answer.record(payload) else { return nil }
        let wake = record.wakeAttempts > 0 ? "wake \(RecordText.attempts(record))" : "no wake yet"
        guard wake != told else { return nil }
        told = wake
        let deadline = record.checkinDeadlineAt.map { ", deadline \(RelativeTime.deadline($0, now: now))" } ?? ""
        return "waiting for \(record.address): \(record.status.rawValue), \(wake)\(deadline)"
    }

    mutating func received(_ payload: [UInt8]) {
        guard !payload.isEmpty else {
            isRemoved = expected != nil
            return
        }
        // What cannot be read is not the status of an agent.
        guard let standing = try? JSON.decode(Standing.self, from: payload) else { return }
        newest = (payload, standing.generation, standing.status)
    }

    /// How the cycle ended; `nil` while it has not.
    var end: End? {
        if isRemoved { return .removed }
        guard let newest, let expected, newest.generation >= expected else { return nil }
        switch AgentStatus(rawValue: newest.status) {
        case .online: return .online
        case .offline: return .offline
        case .deleting: return .removed
        case .provisioning, .updating, nil: return nil
        }
    }
}

extension OnlineWait {
    /// Runs the loop until the cycle has ended, the limit is over, or SIGINT or SIGTERM.
    static func run(_ loop: EventLoop, for limit: TimeSpan?, until end: () -> End?) -> End {
        let signals = SignalDescriptor([SIGINT, SIGTERM])
        var isInterrupted = false
        loop.watch(signals.descriptor) {
            signals.drain()
            isInterrupted = true
        }
        defer { loop.unwatch(signals.descriptor) }
        var isOverdue = false
        let timer = limit.map { loop.after($0) { isOverdue = true } }
        defer { if let timer { loop.cancel(timer) } }
        while true {
            if let end = end() { return end }
            if isInterrupted { return .interrupted }
            if isOverdue { return .overdue }
            _ = loop.run(until: { isInterrupted || isOverdue || end() != nil }, for: .seconds(3_600))
        }
    }
}
