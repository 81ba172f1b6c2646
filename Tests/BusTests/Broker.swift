import API
import Bus
import CLinux
import FoundationEssentials
import Glibc
import Lifecycle
import Model
import Wire

/// A mosquitto of our own on a free loopback port, which can be killed, emptied, paused and started again.
final class Broker {
    struct Failure: Error {
        let reason: String
    }

    let port: Int
    let directory: String
    let socketPath: String
    private let configuration: String
    private var process: pid_t?

    /// Starts a broker that keeps nothing, with `settings` behind its configuration.
    init(settings: [String] = [], allowsAnonymous: Bool = true, passwords: String? = nil) throws {
        var template = Array("/tmp/bus-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw Failure(reason: "no directory: \(String(cString: strerror(errno)))")
        }
        directory = String(cString: made)
        port = try Broker.freePort()
        socketPath = directory + "/broker.sock"
        configuration = directory + "/mosquitto.conf"
        var lines = [
            "per_listener_settings false", "allow_anonymous \(allowsAnonymous)", "persistence false", "log_dest stderr",
            "log_type error", "max_queued_messages 1000000", "max_inflight_messages 200", "set_tcp_nodelay true",
            "queue_qos0_messages false", "max_packet_size 2097152",
        ]
        if geteuid() == 0 { lines.append("user root") }
        if let passwords {
            let file = directory + "/passwords"
            try Data(passwords.utf8).write(to: URL(filePath: file))
            lines.append("password_file \(file)")
        }
        lines += settings.filter { setting in
            let name = setting.prefix { $0 != " " }
            lines.removeAll { $0.hasPrefix("\(name) ") }
            return true
        }
        lines += ["listener \(port) 127.0.0.1", "listener 0 \(socketPath)"]
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(filePath: configuration))
        try start()
    }

    deinit {
        stop()
        // A directory left behind does no harm.
        try? FileManager.default.removeItem(atPath: directory)
    }

    var address: BrokerAddress {
        BrokerAddress(endpoint: .tcp(host: "127.0.0.1", port: port, isEncrypted: false))
    }

    /// Starts it empty and waits until it takes connections.
    func start() throws {
        let program = try Broker.program()
        var arguments: [UnsafeMutablePointer<CChar>?] = [program, "-c", configuration].map { (text: String) in
            strdup(text)
        }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        unlink(socketPath)
        let silence = open("/dev/null", O_WRONLY)
        defer { close(silence) }
        let started = rollcall_spawn(
            program, &arguments, rollcall_environment(), nil, -1, silence, silence, 0, 1)
        guard started > 0 else {
            throw Failure(reason: "mosquitto does not start: \(String(cString: strerror(errno)))")
        }
        process = started
        try wait(5) { self.accepts }
    }

    /// Ends it and waits for its end.
    func stop(_ signal: Int32 = SIGKILL) {
        guard let process else { return }
        kill(process, signal)
        waitpid(process, nil, 0)
        self.process = nil
    }

    func pause() {
        if let process { kill(process, SIGSTOP) }
    }

    func resume() {
        if let process { kill(process, SIGCONT) }
    }

    private var accepts: Bool {
        let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(probe) }
        var name = Broker.loopback(port)
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(probe, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return result == 0
    }

    private func wait(_ seconds: Int64, _ condition: () -> Bool) throws {
        let end = Clock.now() + .seconds(seconds)
        while !condition() {
            guard Clock.now() < end else { throw Failure(reason: "the broker does not take connections") }
            usleep(2_000)
        }
    }

    private static func program() throws -> String {
        let folders =
            (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":").map(String.init) + ["/usr/sbin"]
        guard let folder = folders.first(where: { access($0 + "/mosquitto", X_OK) == 0 }) else {
            throw Failure(reason: "mosquitto is neither in PATH nor in /usr/sbin")
        }
        return folder + "/mosquitto"
    }

    private static func loopback(_ port: Int) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = in_port_t(port).bigEndian
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return name
    }

    /// A port below those that Linux gives to outgoing connections, one of which could take it before its broker does.
    static func freePort() throws -> Int {
        for _ in 0..<100 {
            let port = Int.random(in: 10_000..<20_000)
            let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(probe) }
            var name = loopback(port)
            let result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if result == 0 { return port }
        }
        throw Failure(reason: "no free port: \(String(cString: strerror(errno)))")
    }

    /// How many connections this process has to it.
    var connections: Int {
        (0..<Int32(4_096)).filter { descriptor in
            var name = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) }
            }
            return result == 0 && name.sin_family == sa_family_t(AF_INET)
                && Int(in_port_t(bigEndian: name.sin_port)) == port
        }.count
    }
}
