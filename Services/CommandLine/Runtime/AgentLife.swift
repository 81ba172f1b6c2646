internal import Lifecycle

/// The life of one agent in its runtime: which wake it answers, and where its command stands.
struct AgentLife: Sendable {
    /// How long the command must live before it is believed: an earlier exit was never online.
    static let provingTime = TimeSpan.seconds(1)
    /// Files are asked for again after this.
    static let filesRetryInterval = TimeSpan.seconds(3)
    /// A command starts with what is there when its files have not come: being alive does not wait for templates.
    static let filesLimit = TimeSpan.seconds(10)
    /// Between TERM and KILL for a command that a newer wake replaces, or whose agent is removed.
    static let replacementGrace = TimeSpan.seconds(10)
    /// Between TERM and KILL when the runtime itself ends.
    static let shutdownGrace = TimeSpan.seconds(3)

    enum Phase: Hashable, Sendable {
        /// Nothing runs. Can become fetching or launching, by a newer wake.
        case idle
        /// Waits for files. Can become launching (they came, or the limit passed) or idle (removed, shutdown).
        case fetching(Wake, askAgainAt: Instant, giveUpAt: Instant)
        /// The start was ordered. Can become proving, or idle when it failed.
        case launching(Run)
        /// The command is too young to be believed. Can become running, idle (it ended: nothing is sent) or stopping.
        case proving(Run, checkInAt: Instant)
        /// The command lives and is reported. Can become idle (it ended: goodbye) or stopping.
        case running(Run)
        /// TERM was sent. Becomes, when the command has ended, idle, or fetching or launching for the next wake.
        case stopping(Run, killAt: Instant?, StopPurpose)
    }

    /// Why a command is stopped, and so what follows its end.
    enum StopPurpose: Hashable, Sendable {
        /// A newer generation: no goodbye, then its start.
        case replacement(Wake)
        /// The agent is removed: no goodbye, it would be rejected.
        case removal
        /// The runtime ends: a goodbye.
        case shutdown
    }

    let address: AgentAddress
    private(set) var phase = Phase.idle
    /// The newest wake; kept when its command has ended, so that a repeat starts nothing.
    private(set) var newestWake: Wake?
    private var installedDigest: String?
    private var runs = 0
    /// A goodbye that could not be said while there was no connection.
    private var owedGoodbye: Beat?

    init(address: AgentAddress) {
        self.address = address
    }

    // MARK: Wakes

    mutating func woken(_ wake: Wake, installedDigest: String?, now: Instant, into output: inout Output) {
        let isRepeat = newestWake.map(wake.isSame) ?? false
        if let newestWake, !isRepeat, !wake.isNewer(than: newestWake) {
            return output.tell(address, .ignoredOldWake(wake))
        }
        newestWake = wake
        self.installedDigest = installedDigest
        switch phase {
        case .idle:
            guard !isRepeat else { return output.tell(address, .ignoredRepeat(wake)) }
            prepare(wake, now: now, into: &output)
        case .fetching(let earlier, let askAgainAt, let giveUpAt):
            if wake.generation == earlier.generation {
                phase = .fetching(wake, askAgainAt: askAgainAt, giveUpAt: giveUpAt)
            } else {
                prepare(wake, now: now, into: &output)
            }
        case .launching(var run):
            run.wake = wake
            phase = .launching(run)
        case .proving(var run, let checkInAt):
            guard wake.generation == run.wake.generation else { return replace(run, by: wake, now: now, into: &output) }
            run.wake = wake
            phase = .proving(run, checkInAt: checkInAt)
        case .running(var run):
            guard wake.generation == run.wake.generation else { return replace(run, by: wake, now: now, into: &output) }
            run.wake = wake
            if output.isConnected { output.beats.append(run.beat(.ok, isFull: true, now: now)) }
            phase = .running(run)
        case .stopping(let run, let killAt, let purpose):
            guard purpose != .shutdown else { return }
            // A repeat of the wake whose command is being removed starts nothing.
            guard purpose != .removal || !isRepeat else { return }
            phase = .stopping(run, killAt: killAt, .replacement(wake))
        }
    }

    private mutating func prepare(_ wake: Wake, now: Instant, into output: inout Output) {
        guard let wanted = wake.templatesDigest, wanted != installedDigest else { return launch(wake, into: &output) }
        phase = .fetching(
            wake, askAgainAt: now + AgentLife.filesRetryInterval, giveUpAt: now + AgentLife.filesLimit)
        output.directives.append(.requestFiles(address))
    }

    private mutating func launch(_ wake: Wake, into output: inout Output) {
        runs += 1
        owedGoodbye = nil  // the new start speaks for the agent
        phase = .launching(Run(number: runs, wake: wake, templatesDigest: installedDigest))
        output.directives.append(.start(wake, run: runs))
    }

    private mutating func replace(_ run: Run, by wake: Wake, now: Instant, into output: inout Output) {
        output.tell(address, .replaced(by: wake))
        stop(run, .replacement(wake), grace: AgentLife.replacementGrace, now: now, into: &output)
    }

    private mutating func stop(
        _ run: Run, _ purpose: StopPurpose, grace: TimeSpan, now: Instant, into output: inout Output
    ) {
        phase = .stopping(run, killAt: now + grace, purpose)
        output.directives.append(.terminate(address, run: run.number))
    }

    // MARK: Files and processes

    mutating func filesArrived(digest: String, into output: inout Output) {
        installedDigest = digest
        guard case .fetching(let wake, _, _) = phase else { return }
        launch(wake, into: &output)
    }

    mutating func filesFailed(into output: inout Output) {
        guard case .fetching(let wake, _, _) = phase else { return }
        output.tell(address, .startsWithoutFiles(wake))
        launch(wake, into: &output)
    }

    /// Whether files that come now are awaited.
    var wantsFiles: Bool {
        if case .fetching = phase { true } else { false }
    }

    mutating func processStarted(run number: Int, bootID: String, now: Instant) {
        guard case .launching(var run) = phase, run.number == number else { return }
        run.bootID = bootID
        phase = .proving(run, checkInAt: now + AgentLife.provingTime)
    }

    mutating func processExited(run number: Int, now: Instant, into output: inout Output) {
        switch phase {
        case .launching(let run), .proving(let run, _):
            guard run.number == number else { return }
            phase = .idle
            output.tell(address, .endedEarly)
        case .running(let run):
            guard run.number == number else { return }
            phase = .idle
            output.tell(address, .ended)
            sayGoodbye(run, now: now, into: &output)
        case .stopping(let run, _, let purpose):
            guard run.number == number else { return }
            phase = .idle
            switch purpose {
            case .replacement(let wake): prepare(wake, now: now, into: &output)
            case .removal: output.tell(address, .removed)
            case .shutdown: sayGoodbye(run, now: now, into: &output)
            }
        case .idle, .fetching: return
        }
    }

    /// What never checked in needs no goodbye.
    private mutating func sayGoodbye(_ run: Run, now: Instant, into output: inout Output) {
        guard run.hasCheckedIn else { return }
        var run = run
        let goodbye = run.beat(.stopping, isFull: false, now: now)
        if output.isConnected { output.beats.append(goodbye) } else { owedGoodbye = goodbye }
    }

    // MARK: The rest of the world

    /// The record says `deleting`, or is gone. `generation` is the record's, when there is one.
    mutating func removed(generation: Int?, now: Instant, into output: inout Output) {
        if let generation, let newestWake, generation < newestWake.generation { return }
        owedGoodbye = nil
        switch phase {
        case .idle: return
        case .fetching: phase = .idle
        case .launching(let run), .proving(let run, _), .running(let run):
            stop(run, .removal, grace: AgentLife.replacementGrace, now: now, into: &output)
        case .stopping(let run, let killAt, let purpose):
            if case .replacement = purpose { phase = .stopping(run, killAt: killAt, .removal) }
        }
    }

    mutating func connected(now: Instant, into output: inout Output) {
        if let owedGoodbye { output.beats.append(owedGoodbye) }
        owedGoodbye = nil
        switch phase {
        case .running(var run):
            output.beats.append(run.beat(.ok, isFull: true, now: now))
            phase = .running(run)
        case .fetching(let wake, _, let giveUpAt):
            phase = .fetching(wake, askAgainAt: now + AgentLife.filesRetryInterval, giveUpAt: giveUpAt)
            output.directives.append(.requestFiles(address))
        case .idle, .launching, .proving, .stopping: return
        }
    }

    mutating func timePassed(now: Instant, into output: inout Output) {
        switch phase {
        case .fetching(let wake, let askAgainAt, let giveUpAt):
            if giveUpAt <= now { return filesFailed(into: &output) }
            guard askAgainAt <= now else { return }
            phase = .fetching(wake, askAgainAt: now + AgentLife.filesRetryInterval, giveUpAt: giveUpAt)
            if output.isConnected { output.directives.append(.requestFiles(address)) }
        case .proving(var run, let checkInAt):
            guard checkInAt <= now else { return }
            output.tell(address, .proved)
            if output.isConnected { output.beats.append(run.beat(.ok, isFull: true, now: now)) }
            phase = .running(run)
        case .stopping(let run, let killAt?, let purpose):
            guard killAt <= now else { return }
            phase = .stopping(run, killAt: nil, purpose)
            output.directives.append(.kill(address, run: run.number))
        case .idle, .launching, .running, .stopping: return
        }
    }

    mutating func stopRequested(now: Instant, into output: inout Output) {
        switch phase {
        case .idle: return
        case .fetching: phase = .idle
        case .launching(let run), .proving(let run, _), .running(let run):
            stop(run, .shutdown, grace: AgentLife.shutdownGrace, now: now, into: &output)
        case .stopping(let run, let killAt, let purpose):
            let limit = now + AgentLife.shutdownGrace
            let next: StopPurpose = purpose == .removal ? .removal : .shutdown
            phase = .stopping(run, killAt: killAt.map { min($0, limit) }, next)
        }
    }

    /// The command did not end in time: what is left to do is its goodbye.
    mutating func stopLimitPassed(now: Instant, into output: inout Output) {
        guard case .stopping(let run, _, let purpose) = phase else { return }
        phase = .idle
        if purpose == .shutdown { sayGoodbye(run, now: now, into: &output) }
    }

    // MARK: Heartbeats

    /// Adds a heartbeat when one is due; with `isJoining` already after half the interval, so that the heartbeats of one
    /// gateway gather in one message.
    mutating func beatIfDue(isJoining: Bool, now: Instant, into output: inout Output) {
        guard case .running(var run) = phase, let due = run.due(isJoining: isJoining), due <= now else { return }
        output.beats.append(run.beat(.ok, isFull: false, now: now))
        phase = .running(run)
    }

    /// When something is to be done without a message; `nil` when nothing is.
    func nextDue(isConnected: Bool) -> Instant? {
        switch phase {
        case .idle, .launching: nil
        case .fetching(_, let askAgainAt, let giveUpAt): min(askAgainAt, giveUpAt)
        case .proving(_, let checkInAt): checkInAt
        case .running(let run): isConnected ? run.due(isJoining: false) : nil
        case .stopping(_, let killAt, _): killAt
        }
    }
}

extension Run {
    /// When the next heartbeat is due; `nil` before the first.
    fileprivate func due(isJoining: Bool) -> Instant? {
        let interval = wake.heartbeatInterval.milliseconds
        return lastBeatAt.map { $0 + TimeSpan(milliseconds: isJoining ? interval / 2 : interval) }
    }
}
