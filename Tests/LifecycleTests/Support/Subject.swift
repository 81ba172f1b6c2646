import Lifecycle
import Model

/// One agent's machine with its two clocks. Every input answers with a transcript: what it led to, a line a directive.
struct Subject: Sendable {
    var machine: AgentMachine
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var wallTime = Timestamp("2026-01-31T09:00:00.000Z")!
    var isGatewayLost = false
    /// How often its gateway has returned; `nil` while it is not connected.
    var hostReturn: Int?
    /// The machine of the owner, since it started.
    var boot = "machine"
    /// Commits are late: until then orders that were given up may still be published.
    var drainFloor: Instant?
    /// Every order that was handed out, the newest last.
    var orders: [WakeOrder] = []
    /// What the last input led to.
    var recorded: [AgentDirective] = []
    /// What the last input had logged.
    var logs: [LifecycleLog] = []

    static let address = AgentAddress("gw-1/a1")!

    /// A new agent; the policy has the contract's defaults but for `settings`.
    init(_ settings: [PolicySetting: String] = [:]) {
        var overrides = PolicyOverrides()
        for (setting, text) in settings {
            do {
                try overrides.set(setting, to: text)
            } catch {
                preconditionFailure("a test's policy is wrong: \(error)")
            }
        }
        var record = AgentRecord(
            address: Subject.address, board: "b1", role: .worker, status: .offline,
            policy: Policy().overridden(by: overrides), createdAt: wallTime)
        record.templatesDigest = "digest-1"
        record.tokenID = "t1"
        machine = AgentMachine(new: record, tokenDigest: "secret-1")
    }

    var record: AgentRecord { machine.record }
    var phase: AgentPhase { machine.phase }
    var isDrained: Bool { machine.isDrained }

    var context: AgentContext {
        AgentContext(
            now: now, wallTime: wallTime, isGatewayLost: isGatewayLost, hostReturn: hostReturn, drainFloor: drainFloor,
            boot: boot)
    }

    // MARK: Time

    /// Both clocks go on.
    mutating func pass(_ span: String) {
        pass(milliseconds: Subject.milliseconds(span))
    }

    mutating func pass(milliseconds: Int64) {
        now = now + TimeSpan(milliseconds: milliseconds)
        wallTime = wallTime + TimeSpan(milliseconds: milliseconds)
    }

    /// Both clocks go on to the machine's next deadline, which is then handled.
    mutating func passToDue() -> [String] {
        guard let due = machine.due else { return ["nothing is due"] }
        let nanoseconds = max(0, due.nanoseconds - now.nanoseconds)
        pass(milliseconds: (nanoseconds + 999_999) / 1_000_000)
        return deadlinePassed()
    }

    /// Milliseconds until the next deadline; `nil` without one.
    var dueIn: Int64? { machine.due.map { $0.milliseconds(since: now) } }

    static func milliseconds(_ span: String) -> Int64 {
        do {
            return span == "0s" ? 0 : try DurationText(parsing: span).span.milliseconds
        } catch {
            preconditionFailure("a test's duration is wrong: \(error)")
        }
    }

    // MARK: Inputs

    mutating func apply(
        _ body: (inout AgentMachine, AgentContext, inout [AgentDirective]) -> Void
    ) -> [String] {
        var directives: [AgentDirective] = []
        body(&machine, context, &directives)
        recorded = directives
        logs = directives.compactMap { if case .log(let log) = $0 { log } else { nil } }
        for case .order(let order, _) in directives { orders.append(order) }
        return directives.flatMap(Subject.lines)
    }

    mutating func provision() -> [String] {
        apply { $0.requestCycle(.provision, reason: .provision, traceparent: nil, $1, into: &$2) }
    }

    mutating func update() -> [String] {
        apply { $0.requestCycle(.update, reason: .update, traceparent: nil, $1, into: &$2) }
    }

    mutating func wake() -> [String] {
        apply { $0.requestCycle(.update, reason: .manual, traceparent: nil, $1, into: &$2) }
    }

    mutating func grantPermit() -> [String] {
        apply { $0.permitGranted($1, into: &$2) }
    }

    /// The report of the newest order, or of an earlier publication.
    mutating func woken(
        age: String = "0s", publication: Int? = nil, delivery: WakeDelivery = .accepted
    ) -> [String] {
        guard let order = orders.last(where: { publication == nil || $0.publication == publication }) else {
            return ["no order"]
        }
        let age = TimeSpan(milliseconds: Subject.milliseconds(age))
        let sentAt = wallTime - age
        return report(
            order,
            .woken(sentAt: sentAt, deadlineAt: sentAt + order.checkinDeadline.span, delivery: delivery, age: age))
    }

    mutating func failed(_ error: String = "the template is broken", age: String = "0s") -> [String] {
        guard let order = orders.last else { return ["no order"] }
        let age = TimeSpan(milliseconds: Subject.milliseconds(age))
        return report(order, .failed(at: wallTime - age, error: error, age: age))
    }

    mutating func expired() -> [String] {
        guard let order = orders.last else { return ["no order"] }
        return report(order, .expired)
    }

    mutating func report(_ order: WakeOrder, _ outcome: AgentMachine.WakeOutcome) -> [String] {
        apply {
            $0.wakeReported(
                generation: order.generation, attempt: order.attempt, publication: order.publication, outcome, $1,
                into: &$2)
        }
    }

    /// A heartbeat that was received `age` ago.
    mutating func heartbeat(
        _ status: HeartbeatStatus = .ok, age: String = "0s", generation: Int? = nil, boot: String? = nil,
        seq: Int64? = nil, extend: String? = nil, digest: String? = nil, token: String? = nil,
        reason: StoppingReason? = nil, exitStatus: Int? = nil, note: String? = nil, ingest: Int = 0
    ) -> [String] {
        let age = TimeSpan(milliseconds: Subject.milliseconds(age))
        var heartbeat = Heartbeat(receivedAt: now - age, receivedWallTime: wallTime - age)
        heartbeat.status = status
        heartbeat.generation = generation
        heartbeat.bootID = boot
        heartbeat.seq = seq
        heartbeat.extend = extend.map { DurationText(Subject.milliseconds($0), .milliseconds) }
        heartbeat.templatesDigest = digest
        heartbeat.tokenDigest = token
        heartbeat.reason = reason
        heartbeat.exitStatus = exitStatus
        heartbeat.note = note
        heartbeat.ingest = ingest
        return hear(heartbeat)
    }

    mutating func hear(_ heartbeat: Heartbeat) -> [String] {
        apply { $0.heartbeatReceived(heartbeat, $1, into: &$2) }
    }

    mutating func reject(_ reason: RejectionReason) -> [String] {
        apply { $0.reject(reason, nil, $1, into: &$2) }
    }

    mutating func deadlinePassed() -> [String] {
        apply { $0.deadlinePassed($1, into: &$2) }
    }

    mutating func pause(_ cause: PauseCause = .agent, until: Timestamp? = nil) -> [String] {
        apply { $0.pause(cause, until: until, $1, into: &$2) }
    }

    mutating func resume(_ cause: PauseCause = .agent) -> [String] {
        apply { $0.resume(cause, $1, into: &$2) }
    }

    mutating func delete() -> [String] {
        apply { $0.delete($1, into: &$2) }
    }

    mutating func observabilityRestored() -> [String] {
        apply { $0.observabilityRestored($1, into: &$2) }
    }

    mutating func hostReturned() -> [String] {
        hostReturn = (hostReturn ?? 0) + 1
        return apply { $0.hostReturned($1, into: &$2) }
    }

    /// Another owner takes over with what was committed last; `away`: how long nobody owned the agent.
    mutating func restore(away: String = "0s", onSameMachine: Bool = false) {
        pass(away)
        // Another machine's monotonic clock has nothing to do with ours.
        if !onSameMachine {
            now = Instant(nanoseconds: now.nanoseconds + 987_654_321)
            boot += "+"
        }
        machine = AgentMachine(restored: machine.state, context)
    }

    // MARK: Shortcuts

    /// A new agent whose first wake was published just now.
    static func awaitingCheckin(_ settings: [PolicySetting: String] = [:]) -> Subject {
        var subject = Subject(settings)
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.woken()
        return subject
    }

    /// An agent that has just checked in with its first wake.
    static func online(_ settings: [PolicySetting: String] = [:], boot: String? = nil) -> Subject {
        var subject = awaitingCheckin(settings)
        _ = subject.heartbeat(boot: boot)
        return subject
    }

    // MARK: Transcript

    /// What a directive says, in a line or two; a log says nothing here.
    static func lines(_ directive: AgentDirective) -> [String] {
        switch directive {
        case .emit(let event, let reason, _): [reason.map { "\(event.rawValue) (\($0))" } ?? event.rawValue]
        case .order(let order, _):
            ["order \(order.generation).\(order.attempt)#\(order.publication) \(order.reason.rawValue)"]
        case .settleOrder: ["settle"]
        case .requestPermit: ["permit?"]
        case .noteLastSeen: ["seen"]
        case .erase(let tombstone, _): ["deleted", "erase \(tombstone.generation) r\(tombstone.revision)"]
        case .log: []
        case .countSequence(let lost, let isRepeated): [isRepeated ? "repeated" : "lost \(lost)"]
        }
    }
}
