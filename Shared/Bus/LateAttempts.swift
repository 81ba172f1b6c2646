internal import Model

/// Attempts to connect that were given up unanswered and may yet arrive.
///
/// Whoever took one on the way, a proxy, a tunnel, the kernel of a broker that stood still, delivers it when it can, and the
/// broker gives it the place of the session that lives, as if another client had come. Each can do so once.
struct LateAttempts {
    /// How long after the beginning of a session they are expected: a way that heals is found again by whoever repeats his SYN
    /// less and less often (tcp(7), `tcp_syn_retries`: 63 s after the fifth).
    static let arrivalLimit = TimeSpan.seconds(60)

    private var count = 0

    mutating func gaveUp() {
        count += 1
    }

    /// Whether one of them may have ended a session that lasted so long; it will not end another.
    mutating func endedSession(after length: TimeSpan) -> Bool {
        if length > LateAttempts.arrivalLimit { count = 0 }
        guard count > 0 else { return false }
        count -= 1
        return true
    }
}
