internal import CLinux
internal import Glibc

/// A descriptor that becomes readable when one of the signals arrives, which no longer end the process by themselves
/// (signalfd(2)).
public final class SignalDescriptor {
    public let descriptor: Int32

    public init(_ signals: [Int32]) {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        descriptor = signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
    }

    deinit {
        close(descriptor)
    }

    /// Whether one of the signals, which are blocked, has arrived and was not taken yet (sigpending(2)): for whoever does
    /// not get to its descriptor for long.
    public static func isPending(_ signals: [Int32]) -> Bool {
        var set = sigset_t()
        sigpending(&set)
        return signals.contains { sigismember(&set, $0) == 1 }
    }

    /// Takes what has arrived; the numbers of the signals.
    @discardableResult
    public func drain() -> [Int32] {
        var numbers: [Int32] = []
        var info = signalfd_siginfo()
        while read(descriptor, &info, MemoryLayout<signalfd_siginfo>.size) == MemoryLayout<signalfd_siginfo>.size {
            numbers.append(Int32(info.ssi_signo))
        }
        return numbers
    }
}
