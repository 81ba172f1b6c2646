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
                guard !records.isEmpty else { return [] }
                return [finding(cause, records, snapshot)]
            }
        } + [policyCheck]

    private static let policyCheck = DoctorCheck("policy.tight") { snapshot in
        snapshot.records.compactMap { record in
            let (interval, silence) = (record.policy.heartbeatInterval, record.policy.offlineAfter)
            guard silence.span.milliseconds < 2 * interval.span.milliseconds else { return nil }
            return Finding(
                "policy.tight", .warning, subject: record.address.description,
                "\(record.address) lapses when it misses one heartbeat",
                cause: "offline_after (\(silence)) is less than twice heartbeat_interval (\(interval))",
                evidence: [.init("offline_after=\(silence) heartbeat_interval=\(interval)", "record.policy")],
                actions: [.init("give it time", "rollcall update \(record.address) --no-wake --offline-after DURATION")]
            )
        }
    }

    private static func finding(_ cause: Cause, _ records: [AgentRecord], _ snapshot: Snapshot) -> Finding {
        let names = records.map(\.address.description)
        let one = records.count == 1 ? records[0] : nil
        let subject = one.map(\.address.description) ?? "\(records.count) agents"
        let list = names.prefix(namedMax).joined(separator: ", ") + (names.count > namedMax ? ", …" : "")
        let state =
            one.map { $0.status == .offline ? "is offline" : "is \($0.status.rawValue)" } ?? "are not there (\(list))"
        let place = one.map(\.address.description) ?? names[0]
        return Finding(
            cause.id, cause.severity, subject: subject, "\(subject) \(state): \(cause.summary(records[0]))",
            cause: cause.explanation, evidence: records.prefix(namedMax).flatMap { cause.evidence($0, snapshot) },
            actions: cause.actions(place))
    }
}

/// Why an agent is not well, in the order in which it is asked.
enum Cause: CaseIterable, Sendable {
    case paused, rejected, failed, crashed, oldGeneration, unheard, starting, stale, goodbye, unwoken, silent, waiting,
        lapsed

    init?(of record: AgentRecord, in snapshot: Snapshot) {
        guard let cause = Cause.allCases.first(where: { $0.holds(record, snapshot) }) else { return nil }
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

    private func holds(_ record: AgentRecord, _ snapshot: Snapshot) -> Bool {
        guard !isIntended || snapshot.subject != nil else { return false }
        guard self == .paused || !record.isPaused else { return false }
        let isThere = record.status == .online
        let isGatewayGone = [.lost, .stopped, .never].contains(snapshot.state(of: record.address.gateway))
        // One whose host is gone is told with its gateway.
        if !isThere, isGatewayGone, snapshot.needsGateway(record.address.gateway), self != .paused { return false }
        let wokenAt = record.lastWakeSentAt
        func isSinceWake(_ wallTime: Timestamp?) -> Bool {
            guard let wallTime, let wokenAt else { return false }
            return wokenAt <= wallTime
        }
        switch self {
        case .paused: return record.isPaused
        case .rejected: return !isThere && isSinceWake(record.lastRejection?.at)
        case .failed:
            return !isThere && record.wakeDelivery == nil && record.wakeAttempts > 0 && record.lastProvisionError != nil
        case .crashed: return !isThere && (record.lastExitStatus ?? 0) != 0
        case .oldGeneration:
            return !isThere && isSinceWake(record.lastSeenAt)
                && record.generationReported.map { $0 < record.generation } ?? false
        case .unheard: return !isThere && record.wakeDelivery == .noSubscriber
        case .starting: return !isThere && record.reportedStatus == .starting && isSinceWake(record.lastSeenAt)
        case .stale: return isThere && record.hasStaleTemplates
        case .goodbye: return record.status == .offline && record.offlineReason == .goodbye
        case .unwoken: return record.status == .offline && record.offlineReason == .neverWoken
        case .silent: return record.status == .offline && record.offlineReason == .checkinMissed
        case .waiting: return [.provisioning, .updating].contains(record.status)
        case .lapsed: return record.status == .offline && record.offlineReason == .lapsed
        }
    }

    func summary(_ record: AgentRecord) -> String {
        switch self {
        case .paused: "paused by \(record.pausedBy.map(\.rawValue).joined(separator: ", "))"
        case .rejected:
            "its heartbeats arrive and are rejected, \(record.lastRejection?.reason.rawValue ?? "") ×\(record.lastRejection?.count ?? 0)"
        case .failed: "its wake could not be sent: \(record.lastProvisionError ?? "")"
        case .crashed: "its command ended with status \(record.lastExitStatus ?? 0)"
        case .oldGeneration:
            "it answers for generation \(record.generationReported ?? 0), and generation \(record.generation) was woken"
        case .unheard: "nobody was subscribed to its wakes"
        case .starting: "it says that it is starting"
        case .stale: "it runs with files that are not the newest"
        case .goodbye: "it said goodbye"
        case .unwoken: "nobody has woken it yet"
        case .silent: "its wakes were received, and it has not answered"
        case .waiting: "it was woken and has still time to answer"
        case .lapsed: "it fell silent"
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

    func actions(_ agent: String) -> [Finding.Action] {
        switch self {
        case .paused: [.init("let it go on", "rollcall resume \(agent)")]
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
