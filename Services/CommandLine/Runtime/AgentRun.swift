internal import API
internal import Model

/// The life of one agent in its runtime: which wake it answers, and where its command stands.
struct AgentRun: Sendable {
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
    /// What a shell says of a command that cannot be executed: there is no process.
    static let cannotStartStatus = 126

    enum Phase: Hashable, Sendable {
        /// Nothing runs. Can become fetching or launching, by a newer wake.
        case idle
        /// Waits for files. Can become launching (they came, or the limit passed) or idle (removed, shutdown).
        case fetching(Wake, askAgainAt: Instant, giveUpAt: Instant)
        /// The start was ordered. Can become proving, or idle when it failed.
        case launching(Run)
        /// The command is too young to be believed. Can become running, idle (it ended: a failed start) or stopping.
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
    var phase = Phase.idle
    /// The newest wake; kept when its command has ended, so that a repeat starts nothing.
    private(set) var newestWake: Wake?
    var installedDigest: String?
    private var runs = 0
    /// The newest cycle that only asks whether the agent is there: it restarts nothing, at none of its attempts.
    private var recovery: Int?
    /// Newer templates, while their files are awaited, and when they are asked for again.
    var announced: (message: TemplatesMessage, askAgainAt: Instant, giveUpAt: Instant)?
    /// The session that was reset last, by its templates: a repeat of that message resets no other.
    var lastReset: (digest: String, at: Instant)?
    /// Why the next start is without its files.
    private var filesNote: String?
    /// How a command ended, which could not be said while there was no connection.
    private var owed: Beat?
    /// The newest command, when it has done its work: what asks for that again hears of its end.
    private var finished: Run?

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
        if wake.isRecovery { recovering(wake.generation) }
        switch phase {
        case .idle:
            if var run = finished, isKept(run, by: wake) {
                run.wake = wake
                sayEnd(of: &run, .ended(status: 0), now: now, into: &output)
                finished = run
                return
            }
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
            guard isKept(run, by: wake) else { return replace(run, by: wake, now: now, into: &output) }
            run.wake = wake
            phase = .proving(run, checkInAt: checkInAt)
        case .running(var run):
            guard isKept(run, by: wake) else { return replace(run, by: wake, now: now, into: &output) }
            run.wake = wake
            if output.isConnected { output.beats.append(run.beat(isFull: true, now: now)) }
            phase = .running(run)
        case .stopping(let run, let killAt, let purpose):
            guard purpose != .shutdown else { return }
            // A repeat of the wake whose command is being removed starts nothing.
            guard purpose != .removal || !isRepeat else { return }
            phase = .stopping(run, killAt: killAt, .replacement(wake))
        }
    }

    /// The record, or a wake, says that a cycle only asks whether the agent is there.
    mutating func recovering(_ generation: Int) {
        recovery = max(recovery ?? generation, generation)
    }

    /// Whether a command goes on when this wake comes: it is of the same cycle, or its cycle restarts nothing.
    private func isKept(_ run: Run, by wake: Wake) -> Bool {
        wake.generation == run.wake.generation || wake.generation == recovery
    }

    private mutating func prepare(_ wake: Wake, now: Instant, into output: inout Output) {
        filesNote = nil
        guard let wanted = wake.templatesDigest, wanted != installedDigest else { return launch(wake, into: &output) }
        phase = .fetching(
            wake, askAgainAt: now + AgentRun.filesRetryInterval, giveUpAt: now + AgentRun.filesLimit)
        output.directives.append(.requestFiles(address))
    }

    private mutating func launch(_ wake: Wake, into output: inout Output) {
        runs += 1
        owed = nil  // the new start speaks for the agent
        finished = nil
        phase = .launching(Run(number: runs, wake: wake, templatesDigest: installedDigest, note: filesNote))
        output.directives.append(.start(wake, run: runs))
    }

    mutating func replace(_ run: Run, by wake: Wake, now: Instant, into output: inout Output) {
        output.tell(address, .replaced(by: wake))
        stop(run, .replacement(wake), grace: AgentRun.replacementGrace, now: now, into: &output)
    }

    private mutating func stop(
        _ run: Run, _ purpose: StopPurpose, grace: TimeSpan, now: Instant, into output: inout Output
    ) {
        phase = .stopping(run, killAt: now + grace, purpose)
        output.directives.append(.terminate(address, run: run.number))
    }

    // MARK: Files and processes

    mutating func filesArrived(digest: String, now: Instant, into output: inout Output) {
        installedDigest = digest
        let message = announced?.message
        announced = nil
        guard case .fetching(let wake, _, _) = phase else {
            if let message { took(digest, message, now: now, into: &output) }
            return
        }
        launch(wake, into: &output)
    }

    mutating func filesFailed(_ note: String, into output: inout Output) {
        announced = nil
        guard case .fetching(let wake, _, _) = phase else { return }
        filesNote = String("started without its files: \(note)".unicodeScalars.prefix(Limits.noteLengthMax))
        output.tell(address, .startsWithoutFiles(wake))
        launch(wake, into: &output)
    }

    /// Whether files that come now are awaited.
    var wantsFiles: Bool {
        if case .fetching = phase { true } else { announced != nil }
    }

    mutating func processStarted(run number: Int, bootID: String, now: Instant) {
        guard case .launching(var run) = phase, run.number == number else { return }
        run.bootID = bootID
        phase = .proving(run, checkInAt: now + AgentRun.provingTime)
    }

    mutating func startFailed(run number: Int, _ note: String, into output: inout Output) {
        guard case .launching(let run) = phase, run.number == number else { return }
        phase = .idle
        output.tell(address, .endedEarly)
        say(run.wake.beat(.ended(status: AgentRun.cannotStartStatus), note: note), into: &output)
    }

    mutating func processExited(run number: Int, status: Int, now: Instant, into output: inout Output) {
        switch phase {
        case .launching(let run), .proving(let run, _):
            guard run.number == number else { return }
            phase = .idle
            output.tell(address, .endedEarly)
            // Without an error there is nothing to tell: it would be a goodbye of one who never came.
            guard status != 0 else { return }
            let note = "the command ended with status \(status) in its first second"
            say(run.wake.beat(.ended(status: status), note: note), into: &output)
        case .running(var run):
            guard run.number == number else { return }
            phase = .idle
            output.tell(address, .ended)
            sayEnd(of: &run, .ended(status: status), now: now, into: &output)
            if status == 0 { finished = run }
        case .stopping(var run, _, let purpose):
            guard run.number == number else { return }
            phase = .idle
            switch purpose {
            case .replacement(let wake): prepare(wake, now: now, into: &output)
            case .removal: output.tell(address, .removed)
            case .shutdown: sayEnd(of: &run, .hostStopping, now: now, into: &output)
            }
        case .idle, .fetching: return
        }
    }

    private mutating func sayEnd(of run: inout Run, _ kind: BeatKind, now: Instant, into output: inout Output) {
        say(run.hasCheckedIn ? run.beat(kind, isFull: false, now: now) : run.wake.beat(kind), into: &output)
    }

    private mutating func say(_ beat: Beat, into output: inout Output) {
        if output.isConnected { output.beats.append(beat) } else { owed = beat }
    }

    // MARK: The rest of the world

    /// The record says `deleting`, or is gone. `generation` is the record's, when there is one.
    mutating func removed(generation: Int?, now: Instant, into output: inout Output) {
        if let generation, let newestWake, generation < newestWake.generation { return }
        owed = nil
        finished = nil
        announced = nil
        switch phase {
        case .idle: return
        case .fetching: phase = .idle
        case .launching(let run), .proving(let run, _), .running(let run):
            stop(run, .removal, grace: AgentRun.replacementGrace, now: now, into: &output)
        case .stopping(let run, let killAt, let purpose):
            if case .replacement = purpose { phase = .stopping(run, killAt: killAt, .removal) }
        }
    }

    /// - Parameter hostBootID: of the next start, when the runtime is there for this agent alone.
    mutating func connected(hostBootID: String?, now: Instant, into output: inout Output) {
        if let owed { output.beats.append(owed) }
        owed = nil
        switch phase {
        case .running(var run):
            output.beats.append(run.beat(isFull: true, now: now))
            phase = .running(run)
        case .fetching(let wake, _, let giveUpAt):
            phase = .fetching(wake, askAgainAt: now + AgentRun.filesRetryInterval, giveUpAt: giveUpAt)
            output.directives.append(.requestFiles(address))
        case .idle:
            guard let hostBootID else { return }
            output.beats.append(Beat(agent: address, kind: .waiting, bootID: hostBootID))
        case .launching, .proving, .stopping: return
        }
    }

    mutating func timePassed(now: Instant, into output: inout Output) {
        askForAnnounced(now: now, into: &output)
        switch phase {
        case .fetching(let wake, let askAgainAt, let giveUpAt):
            if giveUpAt <= now {
                let limit = AgentRun.filesLimit.milliseconds / 1_000
                return filesFailed("none came within \(limit) s", into: &output)
            }
            guard askAgainAt <= now else { return }
            phase = .fetching(wake, askAgainAt: now + AgentRun.filesRetryInterval, giveUpAt: giveUpAt)
            if output.isConnected { output.directives.append(.requestFiles(address)) }
        case .proving(var run, let checkInAt):
            guard checkInAt <= now else { return }
            output.tell(address, .proved)
            if output.isConnected { output.beats.append(run.beat(isFull: true, now: now)) }
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
        case .fetching(let wake, _, _):
            phase = .idle
            say(wake.beat(.hostStopping), into: &output)
        case .launching(let run), .proving(let run, _), .running(let run):
            stop(run, .shutdown, grace: AgentRun.shutdownGrace, now: now, into: &output)
        case .stopping(let run, let killAt, let purpose):
            let limit = now + AgentRun.shutdownGrace
            let next: StopPurpose = purpose == .removal ? .removal : .shutdown
            phase = .stopping(run, killAt: killAt.map { min($0, limit) }, next)
        }
    }

    /// The command did not end in time: what is left to do is its goodbye.
    mutating func stopLimitPassed(now: Instant, into output: inout Output) {
        guard case .stopping(var run, _, let purpose) = phase else { return }
        phase = .idle
        if purpose == .shutdown { sayEnd(of: &run, .hostStopping, now: now, into: &output) }
    }

    // MARK: Heartbeats

    /// Adds a heartbeat when one is due; with `isJoining` already after half the interval, so that the heartbeats of one
    /// gateway gather in one message.
    mutating func beatIfDue(isJoining: Bool, now: Instant, into output: inout Output) {
        guard case .running(var run) = phase, let due = run.due(isJoining: isJoining), due <= now else { return }
        output.beats.append(run.beat(isFull: false, now: now))
        phase = .running(run)
    }

    /// When something is to be done without a message; `nil` when nothing is.
    func nextDue(isConnected: Bool) -> Instant? {
        let own = nextDueOfPhase(isConnected: isConnected)
        guard let announced else { return own }
        return own.map { min($0, announced.askAgainAt) } ?? announced.askAgainAt
    }

    private func nextDueOfPhase(isConnected: Bool) -> Instant? {
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
