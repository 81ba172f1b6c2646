internal import Bus
internal import CLinux
internal import Glibc
internal import Model

/// The commands that run: each the leader of a process group, which ends with its leader, and dies with this process.
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
        /// When those others are killed, if nobody had told the leader to end.
        var killAt: Instant?
    }

    private var children: [pid_t: Child] = [:]
    private var pids: [Key: pid_t] = [:]
    /// Commands whose leader has ended and others of whose group have not.
    private var lingering: Set<pid_t> = []
    private let nullDevice = open("/dev/null", O_RDONLY | O_CLOEXEC)
    /// Where the guardian reads which groups live.
    private let guardianInput: Int32

    /// Outlives this process by a moment, however that ends, and kills the groups that are left: the kernel's parent death
    /// signal reaches only their leaders. Each group is named when it begins and again when it has ended.
    private static let guardian = """
        trap "" HUP INT QUIT TERM
        groups=" "
        while read -r group; do
            case $groups in
            *" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
            *) groups="$groups$group " ;;
            esac
        done
        for group in $groups; do kill -s KILL -- "-$group"; done
        """

    /// Orphans of a command become ours to reap: a zombie that nobody reaps would keep its group alive.
    init() {
        rollcall_become_subreaper()
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        guardianInput = ends[1]
        var arguments = ChildProcesses.list(["/bin/sh", "-c", ChildProcesses.guardian])
        var variables = ChildProcesses.list([])
        defer { for pointer in arguments { free(pointer) } }
        // Without one, for want of processes, the commands are left to the parent death signal.
        rollcall_spawn("/bin/sh", &arguments, &variables, "/", ends[0], nullDevice, nullDevice, 0, 1)
        close(ends[0])
    }

    deinit {
        close(guardianInput)
        close(nullDevice)
    }

    private func tellGuardian(_ group: pid_t) {
        let line = Array("\(group)\n".utf8)
        // Fails only when the guardian has ended, which is no more than an untold death.
        _ = write(guardianInput, line, line.count)
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
        tellGuardian(pid)
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

    /// Collects what has ended: of a command not before all of its group have.
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
            if !child.isKilled, Glibc.kill(-pid, 0) == 0 {
                endOthers(of: child, pid)
                lingering.insert(pid)
                return nil
            }
            lingering.remove(pid)
            tellGuardian(pid)
            children[pid] = nil
            pids[child.key] = nil
            return Exit(key: child.key, status: status)
        }
    }

    /// The leader has ended by itself: so do those that it leaves, or a next start would run beside them.
    private func endOthers(of child: Child, _ pid: pid_t) {
        if !child.isStopping {
            terminate(child.key)
            children[pid]?.killAt = Clock.now() + AgentRun.replacementGrace
        } else if let killAt = child.killAt, killAt <= Clock.now() {
            kill(child.key)
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
