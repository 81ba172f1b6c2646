internal import CLinux
internal import Glibc
internal import Model

/// The commands that run: each the leader of a process group, which dies with this process.
final class ChildProcesses {
    struct Key: Hashable {
        let agent: AgentAddress
        let run: Int
    }

    /// A command that has ended.
    struct Exit {
        let key: Key
        /// As the shell says it: the exit status, or 128 and the signal.
        let status: Int32
    }

    private struct Child {
        let key: Key
        var isStopping = false
        var isKilled = false
        /// The leader has ended; others of its group may go on.
        var status: Int32?
    }

    private var children: [pid_t: Child] = [:]
    private var pids: [Key: pid_t] = [:]
    /// Stopped commands whose leader has ended and others of whose group have not.
    private var lingering: Set<pid_t> = []
    private let nullDevice = open("/dev/null", O_RDONLY | O_CLOEXEC)

    /// Orphans of a command become ours to reap: a zombie that nobody reaps would keep its group alive.
    init() {
        rollcall_become_subreaper()
    }

    deinit {
        close(nullDevice)
    }

    /// Runs `/bin/sh -c command` in `directory`.
    func start(_ key: Key, command: String, in directory: String, environment: [String: String]) throws(FolderError) {
        var arguments = ChildProcesses.list(["/bin/sh", "-c", command])
        var variables = ChildProcesses.list(environment.map { "\($0.key)=\($0.value)" }.sorted())
        defer { for pointer in arguments + variables { free(pointer) } }
        let pid = rollcall_spawn("/bin/sh", &arguments, &variables, directory, nullDevice, -1, -1, SIGTERM, 1)
        guard pid > 0 else { throw FolderError("fork") }
        // Also here: a signal to the group may come before the child has made it.
        setpgid(pid, pid)
        children[pid] = Child(key: key)
        pids[key] = pid
    }

    /// As execve(2) takes it, to be freed.
    private static func list(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] {
        texts.map { strdup($0) } + [nil]
    }

    func terminate(_ key: Key) {
        guard let pid = pids[key] else { return }
        children[pid]?.isStopping = true
        kill(-pid, SIGTERM)
    }

    func kill(_ key: Key) {
        guard let pid = pids[key] else { return }
        children[pid]?.isKilled = true
        kill(-pid, SIGKILL)
    }

    /// Collects what has ended: of a stopped command not before all of its group have.
    func reap() -> [Exit] {
        var status: Int32 = 0
        var ended = lingering
        while case let pid = waitpid(-1, &status, WNOHANG), pid > 0 {
            guard children[pid] != nil else { continue }
            children[pid]?.status = ChildProcesses.shellStatus(status)
            ended.insert(pid)
        }
        return ended.sorted().compactMap { pid in
            guard let child = children[pid], let status = child.status else { return nil }
            if child.isStopping, !child.isKilled, Glibc.kill(-pid, 0) == 0 {
                lingering.insert(pid)
                return nil
            }
            lingering.remove(pid)
            children[pid] = nil
            pids[child.key] = nil
            return Exit(key: child.key, status: status)
        }
    }

    /// Whether `reap` is to be called again without a signal.
    var hasLingering: Bool { !lingering.isEmpty }

    private func kill(_ pid: pid_t, _ signal: Int32) {
        // It may have ended in this moment.
        _ = Glibc.kill(pid, signal)
    }

    /// `wait(2)`'s macros, which Swift does not import.
    private static func shellStatus(_ status: Int32) -> Int32 {
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }
}
