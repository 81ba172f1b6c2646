internal import Glibc
internal import Model

/// Tells systemd how this process is (sd_notify(3)): a datagram each to the socket that `NOTIFY_SOCKET` names.
final class ServiceManager {
    /// How often to say that this process is well, half of what systemd waits (sd_watchdog_enabled(3)); `nil`: nobody waits for it.
    let watchdogInterval: TimeSpan?

    private let descriptor: Int32
    private let address: sockaddr_un
    private let addressLength: socklen_t
    private var isReady = false
    private var status = ""

    /// `nil` when no manager asked to be told.
    init?(_ environment: [String: String] = ParsedArguments.processEnvironment()) {
        var path = Array((environment["NOTIFY_SOCKET"] ?? "").utf8)
        var address = sockaddr_un()
        guard let first = path.first, path.count < MemoryLayout.size(ofValue: address.sun_path),
            first == UInt8(ascii: "/") || first == UInt8(ascii: "@")
        else { return nil }
        // A name in the abstract namespace begins with a zero byte and ends with its length (unix(7)).
        if first == UInt8(ascii: "@") { path[0] = 0 }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        self.address = address
        addressLength = socklen_t(MemoryLayout.offset(of: \sockaddr_un.sun_path)! + path.count)
        let isForUs = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
        watchdogInterval = isForUs && microseconds > 0 ? TimeSpan(milliseconds: max(1, microseconds / 2_000)) : nil
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
    }

    deinit {
        close(descriptor)
    }

    /// The first time: this process serves now.
    func ready() {
        guard !isReady else { return }
        isReady = true
        tell("READY=1")
    }

    /// What the process does, for people; told when it is another than before.
    ///
    /// - Parameter unreadiness: why it cannot do its work just now.
    func tell(status unreadiness: String?) {
        let line = "STATUS=" + String((unreadiness ?? "serving").map { $0.isNewline ? " " : $0 })
        guard line != status else { return }
        status = line
        tell(line)
    }

    /// Sends one assignment; a manager that does not listen is not waited for.
    func tell(_ assignment: String) {
        var address = address
        let bytes = Array(assignment.utf8)
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = sendto(
                    descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), $0,
                    addressLength)
            }
        }
    }
}
