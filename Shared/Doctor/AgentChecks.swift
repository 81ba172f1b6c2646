internal import Lifecycle
internal import Model

// Agents: each that is not well has one cause, the first that holds.
extension DoctorCheck {
    /// How many agents of one cause are named.
    private static let namedMax = 3

    static let ofAgents: [DoctorCheck] =
        Cause.allCases.map { cause in
            DoctorCheck(cause.id) { snapshot in
                let records = snapshot.records.filter { Cause(of: $0, in: snapshot) == cause }
                return Dictionary(grouping: records) { cause.kind($0) }.sorted { $0.key < $1.key }.map {
                    finding(cause, $0.value, snapshot)
                }
            }
        } + [policyCheck]

    private static let policyCheck = DoctorCheck("policy.tight") { snapshot in
        snapshot.records.compactMap { record in
            guard isTight(record.policy) else { return nil }
            let (interval, silence) = (record.policy.heartbeatInterval, record.policy.offlineAfter)
            return Finding(
                "policy.tight", .warning, subject: record.address.description,
                "\(record.address) lapses when it misses one heartbeat",
                cause: "offline_after (\(silence)) is less than twice heartbeat_interval (\(interval))",
                evidence: [.init("offline_after=\(silence) heartbeat_interval=\(interval)", "record.policy")],
                actions: [.init("give it time", "rollcall update \(record.address) --no-wake --offline-after DURATION")]
            )
        }
    }

    private static func isTight(_ policy: Policy) -> Bool {
        policy.offlineAfter.span.milliseconds < 2 * policy.heartbeatInterval.span.milliseconds
    }

    /// Whether something may be found in an agent that is online.
    static func isNotable(_ record: AgentRecord) -> Bool { Cause(of: record) != nil || isTight(record.policy) }

    private static func finding(_ cause: Cause, _ records: [AgentRecord], _ snapshot: Snapshot) -> Finding {
        let names = records.map(\.address.description)
        let one = records.count == 1 ? names[0] : nil
        let list = names.prefix(namedMax).joined(separator: ", ") + (names.count > namedMax ? ", …" : "")
        let statuses = Set(records.map(\.status.rawValue))
        let state = statuses.count == 1 ? statuses.first ?? "" : "not online"
        let subject = one ?? "\(records.count) agents"
        let summary = "\(subject) \(one == nil ? "are \(state) (\(list))" : "is \(state)")"
        return Finding(
            cause.id, cause.severity, subject: subject, "\(summary): \(cause.summary(records, snapshot))",
            cause: cause.explanation, evidence: records.prefix(namedMax).flatMap { cause.evidence($0, snapshot) },
            actions: cause.actions(records[0]))
    }
}

/// Why an agent is not well, in the order in which it is asked.
enum Cause: CaseIterable, Sendable {
    case paused, rejected, failed, crashed, starting, oldGeneration, unheard, stale, goodbye, unwoken, silent, waiting,
        lapsed

    /// Recoveries in a row of an agent that is there; more are a loop.
    private static let recoveriesMax = 2

    /// - Returns: `nil` when it is well, as somebody wants it, or told with its gateway.
    init?(of record: AgentRecord, in snapshot: Snapshot) {
        guard let cause = Cause(of: record), !cause.isIntended || snapshot.subject != nil,
            !cause.isOfHost(record, snapshot.state(of: record.address.gateway))
        else { return nil }
        self = cause
    }

    init?(of record: AgentRecord) {
        guard let cause = Cause.allCases.first(where: { $0.holds(record) }) else { return nil }
        self = cause
    }

    var id: String {
        switch self {
        case .paused: "agent.paused"
        case .rejected: "heartbeat.rejected"
        case .failed: "wake.failed"
        case .crashed: "agent.crashed"
        case .oldGeneration: "heartbeat.old_generation"
        case .unheard: "wake.no_subscriber"
        case .starting: "agent.starting"
        case .stale: "templates.stale"
        case .goodbye: "agent.goodbye"
        case .unwoken: "agent.never_woken"
        case .silent: "agent.silent"
        case .waiting: "agent.waiting"
        case .lapsed: "agent.lapsed"
        }
    }

    var severity: Finding.Severity {
        switch self {
        case .paused, .starting, .goodbye, .unwoken, .waiting, .stale: .warning
        case .rejected, .failed, .crashed, .oldGeneration, .unheard, .silent, .lapsed: .error
        }
    }

    /// Somebody wants it so: it is told to who asks about the agent, and no reason to look at a whole system.
    private var isIntended: Bool {
        switch self {
        case .paused, .goodbye, .unwoken, .waiting: true
        default: false
        }
    }

    /// Whether it is one that a gateway that is not there explains. An agent with a runtime of its own needs none: it was
    /// woken, or says why it is not there.
    func isOfHost(_ record: AgentRecord, _ gateway: GatewayState.Connection?) -> Bool {
        guard record.isWanted else { return false }
        let isUnanswered = [.unheard, .silent, .waiting].contains(self)
        return switch gateway {
        case .never: isUnanswered && record.wakeDelivery != .accepted
        case .lost, .stopped: isUnanswered || [.lapsed, .goodbye].contains(self)
        case .connected, nil: false
        }
    }

    private func holds(_ record: AgentRecord) -> Bool {
        guard self == .paused || !record.isPaused else { return false }
        let isThere = record.status == .online
        let isInCycle = [.provisioning, .updating].contains(record.status)
        func isSinceWake(_ wallTime: Timestamp?) -> Bool {
            guard let wallTime, let wokenAt = record.lastWakeSentAt else { return false }
            return wokenAt <= wallTime
        }
        switch self {
        case .paused: return record.isPaused
        case .rejected:
            guard let at = record.lastRejection?.at else { return false }
            return isThere ? record.lastSeenAt.map { $0 < at } ?? true : isSinceWake(at)
        case .failed:
            return !isThere && record.wakeDelivery == nil && record.wakeAttempts > 0 && record.lastProvisionError != nil
        case .crashed:
            guard (record.lastExitStatus ?? 0) != 0 else { return false }
            if isThere { return record.recoveries > Cause.recoveriesMax }
            // What it said last; a status alone may be of long ago.
            let isLastWord =
                record.reportedStatus == .stopping && record.offlineReason != .goodbye
                && (record.provisionAction == .recover || isSinceWake(record.lastSeenAt))
            return isLastWord || record.lastProvisionError?.contains("it exited with status") ?? false
        case .starting: return !isThere && record.reportedStatus == .starting && isSinceWake(record.lastSeenAt)
        case .oldGeneration:
            guard let reported = record.generationReported, reported < record.generation else { return false }
            // After a recovery the process of before may go on.
            if isThere { return record.provisionAction != .recover }
            if isInCycle { return isSinceWake(record.lastSeenAt) }
            return record.lastProvisionError?.contains("it still runs") ?? false
        case .unheard: return !isThere && record.wakeDelivery == .noSubscriber
        case .stale: return isThere && record.hasStaleTemplates
        case .goodbye: return record.status == .offline && record.offlineReason == .goodbye
        case .unwoken: return record.status == .offline && record.offlineReason == .neverWoken
        case .silent: return record.status == .offline && record.offlineReason == .checkinMissed
        case .waiting: return isInCycle
        case .lapsed: return record.status == .offline && record.offlineReason == .lapsed
        }
    }

    /// What else those have in common that are told together.
    func kind(_ record: AgentRecord) -> String {
        switch self {
        case .rejected: record.lastRejection?.reason.rawValue ?? ""
        case .failed: record.lastProvisionError ?? ""
        case .crashed: "\(record.lastExitStatus ?? 0)"
        case .paused: record.pausedBy.map(\.rawValue).joined(separator: ", ")
        default: ""
        }
    }

    /// Of agents of one kind.
    func summary(_ records: [AgentRecord], _ snapshot: Snapshot) -> String {
        let record = records[0]
        let isOne = records.count == 1
        let (it, its, has) = isOne ? ("it", "its", "has") : ("they", "their", "have")
        switch self {
        case .paused: return "paused by \(kind(record))"
        case .rejected:
            let count = records.reduce(0) { $0 + ($1.lastRejection?.count ?? 0) }
            return "\(its) heartbeats arrive and are rejected, \(kind(record)) ×\(count)"
        case .failed: return "\(its) wake could not be sent: \(snapshot.failure ?? kind(record))"
        case .crashed: return "\(its) command ended with status \(kind(record))"
        case .oldGeneration where isOne:
            return
                "it answers for generation \(record.generationReported ?? 0), and generation \(record.generation) was woken"
        case .oldGeneration: return "they answer for older generations than were woken"
        case .unheard: return "nobody was subscribed to \(its) wakes"
        case .starting: return isOne ? "it says that it is starting" : "they say that they are starting"
        case .stale: return "\(it) \(isOne ? "runs" : "run") with files that are not the newest"
        case .goodbye: return "\(it) said goodbye"
        case .unwoken: return "nobody has woken \(isOne ? "it" : "them") yet"
        case .silent: return "\(its) wakes were received, and \(it) \(has) not answered"
        case .waiting: return "\(it) \(isOne ? "was" : "were") woken and \(has) still time to answer"
        case .lapsed: return "\(it) fell silent"
        }
    }

    var explanation: String {
        switch self {
        case .paused: "somebody paused it: it is neither woken nor judged"
        case .rejected: "it lives and says something that does not count: an old token, a wrong member, or too much"
        case .failed: "a template or a variable of it is wrong"
        case .crashed: "its start or its work fails; it is woken again with growing pauses"
        case .oldGeneration: "an old process still runs and answers"
        case .unheard: "neither its gateway nor its own runtime is connected"
        case .starting: "its start takes long, or hangs"
        case .stale: "it was started before the newest files were rendered"
        case .goodbye: "it was ended on purpose; nobody is alarmed"
        case .unwoken: "it was provisioned without a wake"
        case .silent: "it never started, it crashed at the start, or its network or address is wrong"
        case .waiting: "its deadline has not come"
        case .lapsed: "it died or was cut off, and on_lapse says not to wake it"
        }
    }

    func evidence(_ record: AgentRecord, _ snapshot: Snapshot) -> [Finding.Evidence] {
        let agent = record.address.description
        var list: [Finding.Evidence] = []
        if let error = record.lastProvisionError {
            list.append(.init("\(agent): \(error)", "record.last_provision_error"))
        }
        if self == .failed, let failed = snapshot.events.first(where: { $0.error != nil }) {
            list.append(.init("\(agent): \(failed.error ?? "")", "history", at: failed.at))
        }
        switch self {
        case .rejected:
            if let last = record.lastRejection {
                let detail = last.detail.map { ": \($0)" } ?? ""
                list.append(
                    .init("last rejection \(last.reason.rawValue)\(detail)", "record.last_rejection", at: last.at))
            }
            if let rotated = snapshot.events.first(where: { $0.event == LifecycleEvent.tokenRotated.rawValue }) {
                list.append(.init("its token was rotated", "history", at: rotated.at))
            }
        case .crashed: if let note = record.note { list.append(.init(note, "record.note")) }
        case .paused:
            if let until = record.pausedUntil { list.append(.init("until \(until)", "record.paused_until")) }
        case .oldGeneration, .starting, .lapsed, .stale:
            list.append(.init("last seen", "record.last_seen_at", at: record.lastSeenAt))
        case .unheard, .silent, .waiting, .failed:
            let limit = record.policy.maxWakeAttempts
            list.append(
                .init(
                    "woken \(record.wakeAttempts) of \(limit) times", "record.last_wake_sent_at",
                    at: record.lastWakeSentAt))
        case .goodbye, .unwoken: break
        }
        return list
    }

    func actions(_ record: AgentRecord) -> [Finding.Action] {
        let agent = record.address.description
        return switch self {
        case .paused:
            record.pausedBy.map { cause in
                switch cause {
                case .agent: .init("let it go on", "rollcall resume \(agent)")
                case .gateway:
                    .init("let its whole gateway go on", "rollcall resume --gateway \(record.address.gateway)")
                case .board: .init("let its whole board go on", "rollcall resume --board \(record.board ?? "")")
                }
            }
        case .rejected:
            [
                .init(
                    "for bad_token: mint a new one and give it to the agent",
                    "rollcall rotate-token \(agent) --token-file FILE"),
                .init("then wake it", "rollcall wake \(agent) --wait"),
            ]
        case .failed: [.init("mend what the error names, then", "rollcall wake \(agent) --wait")]
        case .crashed:
            [.init("look at the log of its runtime, mend the command, then", "rollcall wake \(agent) --wait")]
        case .oldGeneration: [.init("end the old process, or let it echo no generation")]
        case .unheard:
            [
                .init(
                    "start its gateway or runtime: it is woken then",
                    "rollcall agent \(agent) --on-wake CMD --token-file FILE")
            ]
        case .starting:
            [.init("give it longer", "rollcall update \(agent) --checkin-deadline DURATION")]
        case .stale: [.init("start it anew with the newest files", "rollcall update \(agent)")]
        case .goodbye, .unwoken, .lapsed: [.init("start it", "rollcall wake \(agent) --wait")]
        case .silent:
            [
                .init(
                    "look at the log of its runtime; try by hand what it should send",
                    "curl -X POST $ROLLCALL_HTTP/api/v1/agent/heartbeat -H \"X-Agent-Token: TOKEN\""),
                .init("then wake it", "rollcall wake \(agent) --wait"),
            ]
        case .waiting: [.init("look again", "rollcall status \(agent)")]
        }
    }
}
