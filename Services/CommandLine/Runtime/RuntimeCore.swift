internal import API
internal import Model

/// The agent that a runtime is there for alone, with the boot id of its next start.
struct Host: Hashable, Sendable {
    let agent: AgentAddress
    let bootID: String
}

/// What happened, as the runtime's core is told.
enum RuntimeEvent: Hashable, Sendable {
    /// A wake came; `installedDigest` is of the files that the agent's folder holds.
    case woken(Wake, installedDigest: String?)
    /// Newer templates are wanted; `installedDigest` is of the files that the agent's folder holds.
    case templatesAnnounced(TemplatesMessage, installedDigest: String?)
    /// The agent's files are in its folder.
    case filesArrived(AgentAddress, digest: String)
    /// Files came and could not be used; `note` says why.
    case filesFailed(AgentAddress, note: String)
    case processStarted(AgentAddress, run: Int, bootID: String)
    /// There is no process; `note` says why.
    case startFailed(AgentAddress, run: Int, note: String)
    /// The command and all of its process group have ended; `status` as a shell says it.
    case processExited(AgentAddress, run: Int, status: Int)
    /// The record says that this cycle only asks whether the agent is there.
    case recovering(AgentAddress, generation: Int)
    /// The record says `deleting` (with its generation), or its retained status was emptied.
    case removed(AgentAddress, generation: Int?)
    /// With what the runtime of a single agent says of it while it does not run.
    case connected(Host?)
    case disconnected
    case timePassed
    case stopRequested
    /// What does not end is left behind.
    case stopLimitPassed
}

/// What the shell is to do.
enum RuntimeDirective: Hashable, Sendable {
    case requestFiles(AgentAddress)
    case start(Wake, run: Int)
    /// TERM to the process group.
    case terminate(AgentAddress, run: Int)
    /// KILL to the process group.
    case kill(AgentAddress, run: Int)
    /// All heartbeats of one turn, by address.
    case publish([Beat])
    case tell(AgentAddress, RuntimeNote)
    /// Everything has ended.
    case finish
}

/// What is worth a line in the log.
enum RuntimeNote: Hashable, Sendable {
    case ignoredOldWake(Wake)
    case ignoredRepeat(Wake)
    case replaced(by: Wake)
    case startsWithoutFiles(Wake)
    /// The command has lived long enough: it is checked in.
    case proved
    case endedEarly
    case ended
    case removed
}

/// What the runs of one turn ask for.
struct Output {
    let isConnected: Bool
    var directives: [RuntimeDirective] = []
    var beats: [Beat] = []

    mutating func tell(_ agent: AgentAddress, _ note: RuntimeNote) {
        directives.append(.tell(agent, note))
    }
}

/// The decisions of the agent runtime and of the gateway runtime: one agent is a gateway of one.
///
/// A value: events and the time in, directives out. What it knows is in memory only: after a restart the first wake of
/// each agent starts its command.
struct RuntimeCore: Sendable {
    private var runs: [AgentAddress: AgentRun] = [:]
    /// The keys of `runs`, sorted, so that equal events give equal directives.
    private var order: [AgentAddress] = []
    private var isConnected = false
    private var isStopping = false
    private var isFinished = false

    /// When `timePassed` is wanted next; `nil` when nothing waits for time.
    var nextDue: Instant? {
        runs.values.reduce(into: nil as Instant?) { earliest, run in
            guard let due = run.nextDue(isConnected: isConnected) else { return }
            earliest = earliest.map { min($0, due) } ?? due
        }
    }

    func wantsFiles(_ agent: AgentAddress) -> Bool { runs[agent]?.wantsFiles ?? false }

    /// Whether also files that the agent edits are to be written.
    func overwritesFiles(_ agent: AgentAddress) -> Bool { runs[agent]?.overwritesFiles ?? false }

    mutating func handle(_ event: RuntimeEvent, now: Instant, into directives: inout [RuntimeDirective]) {
        if case .connected = event { isConnected = true }
        if case .disconnected = event { isConnected = false }
        var output = Output(isConnected: isConnected)
        apply(event, now: now, into: &output)
        directives += output.directives
        if !output.beats.isEmpty { directives.append(.publish(output.beats.sorted { $0.agent < $1.agent })) }
        guard isStopping, !isFinished, runs.values.allSatisfy({ $0.phase == .idle }) else { return }
        isFinished = true
        directives.append(.finish)
    }

    private mutating func apply(_ event: RuntimeEvent, now: Instant, into output: inout Output) {
        switch event {
        case .woken(let wake, let installedDigest):
            guard !isStopping else { return }
            add(wake.agent)
            runs[wake.agent]?.woken(wake, installedDigest: installedDigest, now: now, into: &output)
        case .templatesAnnounced(let message, let installedDigest):
            guard !isStopping else { return }
            add(message.agent)
            runs[message.agent]?.templatesAnnounced(message, installedDigest: installedDigest, now: now, into: &output)
        case .filesArrived(let agent, let digest): runs[agent]?.filesArrived(digest: digest, now: now, into: &output)
        case .filesFailed(let agent, let note): runs[agent]?.filesFailed(note, into: &output)
        case .processStarted(let agent, let run, let bootID):
            runs[agent]?.processStarted(run: run, bootID: bootID, now: now)
        case .startFailed(let agent, let run, let note): runs[agent]?.startFailed(run: run, note, into: &output)
        case .processExited(let agent, let run, let status):
            runs[agent]?.processExited(run: run, status: status, now: now, into: &output)
        case .recovering(let agent, let generation): runs[agent]?.recovering(generation)
        case .removed(let agent, let generation): runs[agent]?.removed(generation: generation, now: now, into: &output)
        case .connected(let host):
            if let host { add(host.agent) }
            forEachRun { $0.connected(hostBootID: host?.bootID, now: now, into: &output) }
        case .disconnected: return
        case .timePassed: timePassed(now: now, into: &output)
        case .stopRequested:
            isStopping = true
            forEachRun { $0.stopRequested(now: now, into: &output) }
        case .stopLimitPassed: forEachRun { $0.stopLimitPassed(now: now, into: &output) }
        }
    }

    private mutating func timePassed(now: Instant, into output: inout Output) {
        forEachRun { $0.timePassed(now: now, into: &output) }
        guard isConnected else { return }
        forEachRun { $0.beatIfDue(isJoining: false, now: now, into: &output) }
        guard !output.beats.isEmpty else { return }
        forEachRun { $0.beatIfDue(isJoining: true, now: now, into: &output) }
    }

    private mutating func add(_ agent: AgentAddress) {
        guard runs[agent] == nil else { return }
        runs[agent] = AgentRun(address: agent)
        order.insert(agent, at: order.firstIndex { agent < $0 } ?? order.endIndex)
    }

    private mutating func forEachRun(_ body: (inout AgentRun) -> Void) {
        for agent in order {
            guard var each = runs[agent] else { continue }
            body(&each)
            runs[agent] = each
        }
    }
}
