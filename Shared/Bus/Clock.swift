internal import Glibc
public import Model

/// The clocks of this process: cores never read one, shells read one once for each batch.
public enum Clock {
    /// `CLOCK_BOOTTIME`: monotonic, counts suspension.
    public static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// Names this start of this machine, and so the clock that `now` reads (random(4), `boot_id`); `nil` where there is no
    /// such file.
    public static let boot: String? = {
        guard let file = fopen("/proc/sys/kernel/random/boot_id", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 36)
        guard fread(&bytes, 1, bytes.count, file) == bytes.count else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }()

    /// `CLOCK_THREAD_CPUTIME_ID`: how long this thread has had a processor.
    static func worked() -> TimeSpan {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return TimeSpan(milliseconds: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// `CLOCK_REALTIME`, for stamps only.
    public static func wallTime() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(millisecondsSince1970: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
    }
}
