internal import Bus
internal import CLinux
internal import Glibc
internal import Model
internal import ServiceHost

/// What a child runs.
struct ChildProgram: Sendable {
    var name: String
    var path: String
    var arguments: [String]
    var environment: [String]
    /// Where it runs; `nil`: where this process does.
    var directory: String?
}

/// How a process ended (waitpid(2)).
enum ChildExit: Hashable, Sendable {
    case exited(Int32)
    case killed(signal: Int32)

    init(waitStatus status: Int32) {
        let signal = status & 0x7f
        self = signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal: signal)
    }
}

/// One child process that is started again whenever it ends, until it is told to end.
///
/// It dies with the thread that started it (`PR_SET_PDEATHSIG`, prctl(2)): start it from one that never ends. It leads a
/// process group of its own, so that Ctrl-C on the terminal reaches only its parent, who keeps the order.
final class SupervisedChild {
    let name: String
    /// Read at each start.
    var program: ChildProgram
    /// The process, while one runs.
    private(set) var processID: pid_t?
    /// It had to be killed.
    private(set) var wasKilled = false
    /// Called after each end, before the next start is arranged.
    var exited: (ChildExit) -> Void = { _ in }
    /// Takes the lines that the child writes; `nil`: its output is that of this process.
    var tookLine: ((String) -> Void)?

    // Of fcntl(2), where Glibc hides them.
    private static let setPipeSize: Int32 = 1_031
    private static let getPipeSize: Int32 = 1_032
    /// What a child may write before anybody reads it; a pipe cannot be larger (pipe(7)).
    private static let pipeBytes: Int32 = 1_048_576
    private let loop: EventLoop
    private let log: Log
    private let output: Int32
    private var backoff = RestartBackoff()
    private var startedAt = Instant(nanoseconds: 0)
    private var isEnding = false
    private var restart: Int?

    /// - Parameter output: the descriptor of the child's standard output and error; -1: those of this process.
    init(_ program: ChildProgram, loop: EventLoop, log: Log, output: Int32) {
        name = program.name
        self.program = program
        self.loop = loop
        self.log = log
        self.output = output
    }

    func start() {
        restart = nil
        guard !isEnding, processID == nil else { return }
        startedAt = Clock.now()
        var ends: [Int32] = [-1, -1]
        if tookLine != nil, pipe(&ends) == 0 {
            // The child's end does not wait either: while this process stands still, what it writes is lost, and it goes on.
            for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
            _ = fcntl(ends[1], SupervisedChild.setPipeSize, SupervisedChild.pipeBytes)
            watchLines(ends[0])
        }
        let descriptor = ends[1] >= 0 ? ends[1] : output
        let process = SupervisedChild.spawn(program, output: descriptor)
        let problem = errno
        if ends[1] >= 0 { close(ends[1]) }
        guard process > 0 else {
            log.event(
                "up.child_failed", .error,
                ["child": LogValue(name), "error": LogValue(String(cString: strerror(problem)))])
            return startAgain(after: backoff.pause(afterRunning: .zero))
        }
        processID = process
        log.event("up.child_started", .info, ["child": LogValue(name), "pid": LogValue(Int(process))])
        watchEnd(of: process)
    }

    /// The child may run on, but is not started again.
    func retire() {
        isEnding = true
        if let restart { loop.cancel(restart) }
        restart = nil
    }

    /// Sends SIGTERM; the child is not started again.
    func terminate() {
        retire()
        if let processID { Glibc.kill(processID, SIGTERM) }
    }

    /// Sends SIGKILL and says why; the child is not started again.
    func kill(because reason: String) {
        retire()
        guard let processID, !wasKilled else { return }
        wasKilled = true
        log.event(
            "up.killing", .warning,
            ["child": LogValue(name), "pid": LogValue(Int(processID)), "reason": LogValue(reason)])
        Glibc.kill(processID, SIGKILL)
    }

    /// A signal or a debugger has stopped the process (state T of proc(5)): it does not end by itself.
    var isStandingStill: Bool {
        guard let processID, let file = fopen("/proc/\(processID)/stat", "re") else { return false }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = bytes.prefix(count)
        // The name before it, in parentheses, may hold anything.
        guard let name = text.lastIndex(of: UInt8(ascii: ")")), name + 2 < text.endIndex else { return false }
        return text[name + 2] == UInt8(ascii: "T") || text[name + 2] == UInt8(ascii: "t")
    }

    // MARK: Inside

    private func watchEnd(of process: pid_t) {
        let descriptor = pidfd_open(process, 0)
        if descriptor >= 0 {
            loop.watch(descriptor) { [unowned self] in
                guard reap(process) else { return }
                loop.unwatch(descriptor)
                close(descriptor)
            }
            return
        }
        // A kernel older than 5.3 has no pidfd_open(2).
        var timer: Int?
        timer = loop.every(TimeSpan(milliseconds: 50)) { [unowned self] in
            if reap(process), let timer { loop.cancel(timer) }
        }
    }

    /// Whether the process has ended.
    private func reap(_ process: pid_t) -> Bool {
        var status: Int32 = 0
        guard waitpid(process, &status, WNOHANG) == process else { return false }
        processID = nil
        let exit = ChildExit(waitStatus: status)
        var members: [(key: String, value: LogValue)] = [("child", LogValue(name)), ("pid", LogValue(Int(process)))]
        switch exit {
        case .exited(let code): members.append(("status", LogValue(Int(code))))
        case .killed(let signal): members.append(("signal", LogValue(Int(signal))))
        }
        if isEnding {
            log.event("up.child_exited", .info, members)
            exited(exit)
        } else {
            let ran = TimeSpan(milliseconds: Clock.now().milliseconds(since: startedAt))
            let pause = backoff.pause(afterRunning: ran)
            log.event("up.child_exited", .warning, members + [("restart_in_seconds", LogValue(pause.seconds))])
            exited(exit)
            startAgain(after: pause)
        }
        return true
    }

    private func startAgain(after pause: TimeSpan) {
        guard !isEnding else { return }
        restart = loop.after(pause) { [unowned self] in start() }
    }

    private func watchLines(_ descriptor: Int32) {
        var splitter = LineSplitter()
        loop.watch(descriptor) { [weak self, loop] in
            self?.noteLoss(in: descriptor)
            var bytes = [UInt8](repeating: 0, count: 4_096)
            while true {
                let count = read(descriptor, &bytes, bytes.count)
                if count < 0 { return }  // EAGAIN: that was all for now
                for line in splitter.take(bytes.prefix(count), isLast: count == 0) { self?.tookLine?(line) }
                guard count > 0 else { break }
            }
            loop.unwatch(descriptor)
            close(descriptor)
        }
    }

    /// A pipe that is nearly full was full, or is about to be: how many lines did not fit nobody knows.
    private func noteLoss(in pipe: Int32) {
        var waiting: Int32 = 0
        let capacity = fcntl(pipe, SupervisedChild.getPipeSize)
        guard ioctl(pipe, UInt(FIONREAD), &waiting) == 0, capacity > 0, waiting >= capacity - capacity / 8 else {
            return
        }
        log.event("log.dropped", .warning, ["of": LogValue(name)])
    }

    private static func spawn(_ program: ChildProgram, output: Int32) -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = ([program.path] + program.arguments).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = program.environment.map { strdup($0) } + [nil]
        let input = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer {
            let problem = errno
            for pointer in arguments + environment { free(pointer) }
            close(input)
            errno = problem
        }
        return rollcall_spawn(
            program.path, &arguments, &environment, program.directory, input, output, output, SIGKILL, 1)
    }
}

/// Cuts what a process writes into lines.
struct LineSplitter {
    /// A longer line is cut here.
    static let lineBytesMax = 4_096
    private var rest: [UInt8] = []

    mutating func take(_ bytes: some Sequence<UInt8>, isLast: Bool) -> [String] {
        var lines: [String] = []
        for byte in bytes {
            if byte != UInt8(ascii: "\n") { rest.append(byte) }
            if byte == UInt8(ascii: "\n") || rest.count == LineSplitter.lineBytesMax {
                lines.append(String(decoding: rest, as: UTF8.self))
                rest = []
            }
        }
        if isLast, !rest.isEmpty {
            lines.append(String(decoding: rest, as: UTF8.self))
            rest = []
        }
        return lines
    }
}
