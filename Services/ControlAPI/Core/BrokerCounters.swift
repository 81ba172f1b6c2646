internal import Model

/// What the broker counts, as it says it, now and a while ago: a pure value.
public struct BrokerCounters: Sendable {
    static let dropped = "publish/messages/dropped"
    /// The ends of their topics behind `$SYS/broker/` (mosquitto(8), broker status).
    public static let names = [dropped, "store/messages/count", "retained messages/count"]
    /// Two readings are up to twice as far apart.
    private static let window = TimeSpan.seconds(60)

    private(set) var newest: [String: Int64] = [:]
    private(set) var earlier: [String: Int64] = [:]
    private var middle: [String: Int64] = [:]
    private var beganAt: Instant?
    private var turnedAt: Instant?

    mutating func counted(_ name: String, _ count: Int64, now: Instant) {
        newest[name] = count
        beganAt = beganAt ?? now
        // The first reading is one to compare with.
        for reading in [\BrokerCounters.earlier, \.middle] where self[keyPath: reading][name] == nil {
            self[keyPath: reading][name] = count
        }
    }

    mutating func ticked(now: Instant) {
        guard let since = turnedAt ?? beganAt, now >= since + BrokerCounters.window else { return }
        (earlier, middle, turnedAt) = (middle, newest, now)
    }

    /// For how long there are two readings of each.
    func observed(now: Instant) -> TimeSpan {
        beganAt.map { TimeSpan(milliseconds: now.milliseconds(since: $0)) } ?? .zero
    }
}
