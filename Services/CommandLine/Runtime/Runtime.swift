internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// The shell of the runtimes: messages, signals and timers become events of the core, its directives become processes,
/// files and messages.
final class Runtime: ConnectionDelegate {
    /// After this the commands that did not end are left behind, so that the end takes less than 5 s.
    static let stopLimit = TimeSpan(milliseconds: 3_800)
    /// How often a process group that outlives its leader is looked at.
    static let lingeringInterval = TimeSpan(milliseconds: 50)

    private let settings: RuntimeSettings
    private let log: Log
    private let loop = EventLoop()
    private var core = RuntimeCore()
    private lazy var link = RuntimeLink(settings, loop: loop, delegate: self)
    private let children = ChildProcesses()
    /// Events wait here while one is handled: closing a connection may deliver what was under way.
    private var events: [RuntimeEvent] = []
    private var isHandling = false
    private var timer: (id: Int, due: Instant)?
    private var isReapScheduled = false
    private var rotations = TokenRotations()
    private var hasConnected = false
    private var hasStarted = false
    private var outage = OutageLog()
    private var isStopping = false
    private var exitStatus = ExitStatus.done

    init(_ settings: RuntimeSettings) {
        self.settings = settings
        log = Log(
            service: settings.identity.kind, instance: settings.identity.username, format: settings.program.logFormat,
            level: settings.program.logLevel)
    }

    /// Runs until SIGTERM or SIGINT; the exit status.
    func run() -> Int32 {
        defer { log.finish() }
        signal(SIGPIPE, SIG_IGN)
        let signals = SignalDescriptor([SIGTERM, SIGINT, SIGCHLD])
        loop.watch(signals.descriptor) { [unowned self] in
            let numbers = signals.drain()
            if numbers.contains(SIGCHLD) { reap() }
            if numbers.contains(where: { $0 != SIGCHLD }) { stop() }
        }
        loop.turnEnded = { [unowned self] in
            schedule()
            log.flush()
        }
        let timeout = settings.program.connectTimeout
        ConnectWatchdog.arm(timeout + .seconds(1))
        loop.after(timeout) { [unowned self] in
            guard !hasConnected else { return }
            fail(link.connection?.lastError?.description ?? "the broker \(settings.program.broker) did not answer")
        }
        loop.every(TokenRotations.lookInterval) { [unowned self] in
            for agent in rotations.takeDue(Clock.now()) { link.requestCredentials(of: agent) }
        }
        link.open()
        loop.run()
        ConnectWatchdog.disarm()
        if exitStatus == ExitStatus.done {
            link.close()
            log.event("runtime.stopped")
        }
        return exitStatus
    }

    private func fail(_ reason: String, status: Int32 = ExitStatus.unreachable) {
        log.event("runtime.failed", .error, ["error": LogValue(reason)])
        ServiceProgram.complain("rollcall \(settings.identity.kind): \(reason)")
        exitStatus = status
        loop.stop()
    }

    private func stop() {
        guard !isStopping else { return }
        isStopping = true
        log.event("runtime.stopping")
        loop.after(Runtime.stopLimit) { [unowned self] in
            handle(.stopLimitPassed)
            loop.stop()
        }
        handle(.stopRequested)
    }

    // MARK: Events in, directives out

    private func handle(_ event: RuntimeEvent) {
        events.append(event)
        guard !isHandling else { return }
        isHandling = true
        defer { isHandling = false }
        while !events.isEmpty {
            var directives: [RuntimeDirective] = []
            core.handle(events.removeFirst(), now: Clock.now(), into: &directives)
            for directive in directives { perform(directive) }
        }
    }

    private func perform(_ directive: RuntimeDirective) {
        switch directive {
        case .requestFiles(let agent): link.requestFiles(of: agent)
        case .start(let wake, let run): start(wake, run: run)
        case .terminate(let agent, let run): children.terminate(.init(agent: agent, run: run))
        case .kill(let agent, let run):
            log.event("agent.killed", .warning, ["agent": LogValue(agent)])
            children.kill(.init(agent: agent, run: run))
        case .publish(let beats): link.publish(beats)
        case .tell(let agent, let note): tell(agent, note)
        case .finish: loop.stop()
        }
    }

    private func start(_ wake: Wake, run: Int) {
        let folder = AgentFolder(base: settings.directory, agent: wake.agent)
        // First: an agent's new boot id may need a new connection, which must not cost the command its first second.
        let bootID = link.renewBootID()
        do {
            try folder.make()
            try children.start(
                .init(agent: wake.agent, run: run), command: settings.command, in: folder.path,
                environment: settings.environment(for: wake, in: folder))
        } catch {
            log.event(
                "agent.start_failed", .error, ["agent": LogValue(wake.agent), "error": LogValue(error.description)])
            return handle(.startFailed(wake.agent, run: run, note: error.description))
        }
        log.event("agent.started", .info, members(of: wake))
        handle(.processStarted(wake.agent, run: run, bootID: bootID))
    }

    private func reap() {
        for exit in children.reap() {
            log.event("agent.exited", .info, ["agent": LogValue(exit.key.agent), "status": LogValue(Int(exit.status))])
            handle(.processExited(exit.key.agent, run: exit.key.run, status: Int(exit.status)))
        }
        guard children.hasLingering, !isReapScheduled else { return }
        isReapScheduled = true
        loop.after(Runtime.lingeringInterval) { [unowned self] in
            isReapScheduled = false
            reap()
        }
    }

    /// One timer for all agents, at the time that the core names.
    private func schedule() {
        let due = core.nextDue
        guard due != timer?.due else { return }
        if let timer { loop.cancel(timer.id) }
        timer = due.map { due in
            let delay = TimeSpan(milliseconds: max(0, due.milliseconds(since: Clock.now()) + 1))
            let id = loop.after(delay) { [unowned self] in
                timer = nil
                handle(.timePassed)
            }
            return (id, due)
        }
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        guard connection === link.connection || link.connection == nil else { return }
        ConnectWatchdog.disarm()
        if outage.isLogged { log.event("runtime.reconnected") }
        hasConnected = true
        outage = OutageLog()
        link.subscribe()
        handle(.connected(link.host))
        link.sayConnected()
    }

    func subscribed(refused: [String], on connection: Connection) {
        for filter in refused { log.event("runtime.subscription_refused", .error, ["filter": LogValue(filter)]) }
        guard !hasStarted else { return }
        // What is refused at the start is refused ever after; later the administrator may be about to change it.
        if let filter = refused.first {
            return fail(
                "the broker lets \(settings.identity.username) not subscribe to \(filter): compare --topic-root with the broker's configuration",
                status: ExitStatus.usage)
        }
        // From now on a wake reaches it.
        hasStarted = true
        log.event(
            "runtime.started", .info,
            ["broker": LogValue(settings.program.broker), "version": LogValue(ContractVersion.product)])
    }

    func published(_ ticket: Int, reason: UInt8, on connection: Connection) {
        guard reason >= ReasonCode.failure else { return }
        log.event("runtime.publication_refused", .error, ["reason_code": LogValue(Int(reason))])
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        handle(.disconnected)
        if error.isTakenOver, !isStopping { return endAsDuplicate(error) }
        guard hasConnected else {
            if error.isRefusal { fail("\(error): the broker refuses \(settings.identity.username)") }
            return
        }
        if outage.takes(error.reason) {
            log.event("runtime.disconnected", .warning, ["error": LogValue(error.description)])
        }
        guard error.isRefusal, !isStopping else { return }
        // Not from inside the connection that would be closed.
        loop.after(.zero) { [unowned self] in
            if link.reloadToken() { log.event("runtime.token_reloaded") }
        }
    }

    /// The newer one runs the commands: these end, and nothing is said of them.
    private func endAsDuplicate(_ error: BusError) {
        let username = settings.identity.username
        log.event(
            "runtime.duplicate", .error, ["username": LogValue(username), "error": LogValue(error.description)])
        ServiceProgram.complain(
            "rollcall \(settings.identity.kind): another runtime of \(username) has started: this one ends")
        exitStatus = ExitStatus.failed
        stop()
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        if link.isOwnDeath(delivery) {
            log.event("runtime.lost_refuted")
            return link.sayConnected()
        }
        if let agent = link.agent(of: "files", delivery) { return receivedFiles(delivery, of: agent) }
        if let agent = link.agent(of: "credentials", delivery) { return receivedCredentials(delivery, of: agent) }
        let topics = settings.program.topics
        guard let agent = topics.agent(of: delivery.topic), settings.identity.covers(agent) else { return }
        switch topics.levels(of: delivery.topic)?.last {
        case "wake": receivedWake(delivery, of: agent)
        case "templates": receivedTemplates(delivery, of: agent)
        case "status": receivedStatus(delivery, of: agent)
        default: return
        }
    }
}

// MARK: - Messages

extension Runtime {
    private func receivedWake(_ delivery: Delivery, of agent: AgentAddress) {
        do {
            let message = try JSON.decode(WakeMessage.self, from: delivery.payload)
            guard message.agent == agent else {
                return log.event(
                    "agent.bad_wake", .error, ["agent": LogValue(agent), "error": "it names another agent"])
            }
            let wake = Wake(message, text: String(decoding: delivery.payload, as: UTF8.self))
            log.event("agent.woken", .info, members(of: wake))
            let installed = AgentFolder(base: settings.directory, agent: agent).installedDigest
            handle(.woken(wake, installedDigest: installed))
        } catch {
            let (member, detail) = JSON.describe(error)
            log.event("agent.bad_wake", .error, ["agent": LogValue(agent), "error": LogValue("\(member): \(detail)")])
        }
    }

    private func receivedTemplates(_ delivery: Delivery, of agent: AgentAddress) {
        // What cannot be read is repeated.
        guard let message = try? JSON.decode(TemplatesMessage.self, from: delivery.payload), message.agent == agent
        else {
            return
        }
        let installed = AgentFolder(base: settings.directory, agent: agent).installedDigest
        handle(.templatesAnnounced(message, installedDigest: installed))
        // An agent that connects by itself may not ask for a token.
        guard let rotation = message.rotateToken, case .gateway = settings.identity,
            rotations.ask(for: agent, rotation, now: Clock.now())
        else { return }
        link.requestCredentials(of: agent)
    }

    /// Writes the new token where the agent's command reads it; the old one ends when it is first used.
    private func receivedCredentials(_ delivery: Delivery, of agent: AgentAddress) {
        do {
            if delivery.contentType == Problem.contentType {
                let problem = try JSON.decode(Problem.self, from: delivery.payload)
                // Asked again: the service may not be ready yet.
                if problem.type != .unavailable, problem.type != .tooManyRequests { rotations.settled(agent) }
                throw FolderError(refusing: problem.detail)
            }
            let answer = try JSON.decode(CredentialsAnswer.self, from: delivery.payload)
            guard answer.username == agent.description else { throw FolderError(refusing: "they are another agent's") }
            try AgentFolder(base: settings.directory, agent: agent).install(token: answer.token)
            rotations.settled(agent)
            log.event(
                "agent.token_written", .info, ["agent": LogValue(agent), "token_id": LogValue(answer.tokenID)])
        } catch {
            log.event("agent.token_failed", .error, ["agent": LogValue(agent), "error": LogValue("\(error)")])
        }
    }

    /// What a runtime reads of a record.
    private struct StatusMessage: Decodable {
        let status: String
        let generation: Int
        let action: String?

        enum CodingKeys: String, CodingKey {
            case status
            case action = "provision_action"
            case generation = "lifecycle_generation"
        }
    }

    private func receivedStatus(_ delivery: Delivery, of agent: AgentAddress) {
        if delivery.payload.isEmpty { return handle(.removed(agent, generation: nil)) }
        // A record that cannot be read removes nobody.
        guard let record = try? JSON.decode(StatusMessage.self, from: delivery.payload) else { return }
        if record.status == AgentStatus.deleting.rawValue {
            handle(.removed(agent, generation: record.generation))
        } else if record.action == ProvisionAction.recover.rawValue {
            handle(.recovering(agent, generation: record.generation))
        }
    }

    private func receivedFiles(_ delivery: Delivery, of agent: AgentAddress) {
        guard core.wantsFiles(agent) else { return }
        if delivery.contentType == Problem.contentType {
            // Asked again until the limit: the service may not be ready yet.
            let text = String(decoding: delivery.payload.prefix(1_000), as: UTF8.self)
            return log.event("agent.files_refused", .warning, ["agent": LogValue(agent), "problem": LogValue(text)])
        }
        do {
            let answer = try JSON.decode(FilesAnswer.self, from: delivery.payload)
            try AgentFolder(base: settings.directory, agent: agent).install(
                answer, overwrite: core.overwritesFiles(agent))
            log.event(
                "agent.files_written", .info,
                [
                    "agent": LogValue(agent), "files": LogValue(answer.files.count),
                    "digest": LogValue(answer.templatesDigest),
                ])
            handle(.filesArrived(agent, digest: answer.templatesDigest))
        } catch {
            log.event("agent.files_failed", .error, ["agent": LogValue(agent), "error": LogValue("\(error)")])
            handle(.filesFailed(agent, note: "\(error)"))
        }
    }

    private func members(of wake: Wake) -> [(key: String, value: LogValue)] {
        [
            ("agent", LogValue(wake.agent)), ("generation", LogValue(wake.generation)),
            ("attempt", LogValue(wake.attempt)),
            ("reason", .string(wake.reason)),
        ]
    }

    private func tell(_ agent: AgentAddress, _ note: RuntimeNote) {
        let name = LogValue(agent)
        switch note {
        case .ignoredOldWake(let wake): log.event("agent.old_wake_ignored", .info, members(of: wake))
        case .ignoredRepeat(let wake): log.event("agent.repeat_ignored", .info, members(of: wake))
        case .replaced(let wake): log.event("agent.replacing", .info, members(of: wake))
        case .startsWithoutFiles(let wake): log.event("agent.files_missing", .warning, members(of: wake))
        case .proved: log.event("agent.checked_in", .info, ["agent": name])
        case .endedEarly: log.event("agent.ended_early", .warning, ["agent": name])
        case .ended: log.event("agent.ended", .info, ["agent": name])
        case .removed: log.event("agent.removed", .info, ["agent": name])
        }
    }
}
