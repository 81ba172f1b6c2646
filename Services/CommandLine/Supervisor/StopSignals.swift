internal import Glibc
internal import Model

/// What the signals that end `rollcall up` ask for.
///
/// The first begins the clean end, and a repetition changes nothing: a terminal that closes sends SIGHUP twice, an impatient
/// finger SIGINT. Only who has waited for two seconds and presses Ctrl-C for the third time wants what is left killed.
struct StopSignals: Hashable, Sendable {
    enum Wish: Hashable, Sendable {
        case end, nothing, kill
    }

    static let interruptsToKill = 3
    static let killNotBefore = TimeSpan.seconds(2)

    private var firstAt: Instant?
    private var interrupts = 0

    mutating func received(_ signal: Int32, now: Instant) -> Wish {
        if signal == SIGINT { interrupts += 1 }
        guard let firstAt else {
            firstAt = now
            return .end
        }
        let isMeant = signal == SIGINT && interrupts >= StopSignals.interruptsToKill
        return isMeant && now >= firstAt + StopSignals.killNotBefore ? .kill : .nothing
    }
}
