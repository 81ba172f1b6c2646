internal import Glibc
public import Model

/// Ends the program with status 69 when its first connection is not made in time, even while the C library blocks in a
/// name lookup or in connect(2), which no timer of the event loop can interrupt.
public enum ConnectWatchdog {
    /// - Parameter limit: should be a little longer than what the event loop allows, which has more to say.
    public static func arm(_ limit: TimeSpan) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            // Only what is safe in a signal handler (signal-safety(7)).
            let text: StaticString = "rollcall: the broker did not answer in time\n"
            _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
            _exit(ExitStatus.unreachable)
        }
        sigaction(SIGALRM, &action, nil)
        set(limit)
    }

    public static func disarm() {
        set(.zero)
    }

    private static func set(_ span: TimeSpan) {
        var timer = itimerval()
        timer.it_value.tv_sec = Int(span.milliseconds / 1_000)
        timer.it_value.tv_usec = Int(span.milliseconds % 1_000 * 1_000)
        setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &timer, nil)
    }
}
