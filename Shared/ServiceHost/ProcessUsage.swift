internal import API
internal import Glibc
internal import Model

/// What this process takes of its machine.
enum ProcessUsage {
    /// Of all its threads, in user and kernel mode (getrusage(2)).
    static var cpuSeconds: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    /// Bytes in memory (proc(5), `statm`); `nil` where there is no such file.
    private static var residentBytes: Double? {
        guard let file = fopen("/proc/self/statm", "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = fread(&bytes, 1, bytes.count, file)
        let fields = String(decoding: bytes.prefix(count), as: UTF8.self).split(separator: " ")
        guard fields.count > 1, let pages = Double(fields[1]) else { return nil }
        return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// File descriptors in use (proc(5), `fd`); `nil` where there is no such directory.
    private static var openFiles: Double? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0.0
        while readdir(directory) != nil { count += 1 }
        // `.`, `..` and the directory itself are listed, too.
        return count - 3
    }

    /// The names that Prometheus' own clients use for a process, and its version.
    static func metrics(of service: ServiceName, startedAt: Timestamp) -> [Metric] {
        let started = Double(startedAt.millisecondsSince1970) / 1_000
        return [
            Metric(
                "rollcall_build_info", .gauge, "The version of this service.",
                [([("service", service.rawValue), ("version", ContractVersion.product)], 1)]),
            Metric("process_cpu_seconds", .counter, "Processor time in user and kernel mode.", cpuSeconds),
            Metric("process_resident_memory_bytes", .gauge, "Memory that is resident.", samples(residentBytes)),
            Metric("process_open_fds", .gauge, "Open file descriptors.", samples(openFiles)),
            Metric("process_start_time_seconds", .gauge, "When this process started, since 1970.", started),
        ]
    }

    private static func samples(_ value: Double?) -> [(labels: Metric.Labels, value: Double)] {
        value.map { [([], $0)] } ?? []
    }
}
