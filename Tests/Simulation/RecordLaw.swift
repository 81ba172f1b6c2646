import Lifecycle
import Model

/// What the contract says of one event and the records before and after it: sections 6 and 7, sentence by sentence.
///
/// Written from the contract and not from the machine, so that one of the two finds the other wrong.
struct RecordLaw {
    /// `nil` for an agent that was not there: as an offline one that was never asked for.
    let before: AgentState?
    let after: AgentState
    let event: LifecycleEvent
    let reason: String?
    /// The agent's event before this one.
    let last: LifecycleEvent?
    let isGatewayLost: Bool

    private var was: AgentStatus { before?.record.status ?? .offline }
    private var now: AgentRecord { after.record }

    /// What is broken, if something is.
    var violation: String? {
        status ?? generation ?? attempts ?? deadline ?? error ?? verdict ?? cycle ?? pause
    }

    // MARK: Sentences

    private var status: String? {
        if was == .deleting, event != .heartbeatRejected, event != .deleted { return "it is being deleted" }
        let wanted: AgentStatus =
            switch event {
            case .provisioning: .provisioning
            case .updating, .retriggered: .updating
            case .online: .online
            case .offline: .offline
            case .deleting: .deleting
            case .changed: reason == "provisioned" ? .offline : was
            case .woken, .lapsed, .provisionFailed, .paused, .resumed, .heartbeatRejected, .tokenRotated,
                .templatesSynced:
                was
            case .deleted: .deleting
            }
        return now.status == wanted ? nil : "status is \(now.status.rawValue) and not \(wanted.rawValue)"
    }

    private var begins: Bool { event == .provisioning || event == .updating }

    private var generation: String? {
        guard let before else { return nil }
        let wanted = before.record.generation + (begins ? 1 : 0)
        return now.generation == wanted ? nil : "generation is \(now.generation) and not \(wanted)"
    }

    private var attempts: String? {
        let had = before?.record.wakeAttempts ?? 0
        let wanted: Int =
            switch event {
            case .provisioning, .updating, .online: 0
            case .woken, .provisionFailed: after.cycle?.attempt ?? -1
            case .changed: reason == "provisioned" ? 0 : had
            case .retriggered, .offline, .lapsed, .deleting, .deleted, .paused, .resumed, .heartbeatRejected,
                .tokenRotated, .templatesSynced:
                had
            }
        return now.wakeAttempts == wanted ? nil : "wake_attempts is \(now.wakeAttempts) and not \(wanted)"
    }

    private var deadline: String? {
        let had = before?.record.checkinDeadlineAt
        let has = now.checkinDeadlineAt
        switch event {
        case .woken, .provisionFailed:
            if (has == nil) != now.isPaused { return "it is woken, paused \(now.isPaused), deadline \(has == nil)" }
        case .provisioning, .updating, .online, .offline, .retriggered, .paused, .resumed, .deleting, .deleted,
            .lapsed:
            if has != nil { return "its deadline is not null" }
        case .changed:
            switch reason {
            case "extended":
                guard let had, let has, has > had else { return "its deadline was extended and is no later" }
            case "provisioned", "own_outage", "host_returned": if has != nil { return "its deadline is not null" }
            default: if has != had { return "its deadline changed" }
            }
        case .heartbeatRejected, .tokenRotated, .templatesSynced: if has != had { return "its deadline changed" }
        }
        return nil
    }

    private var error: String? {
        let had = before?.record.lastProvisionError
        let wanted: String? =
            switch event {
            case .provisioning, .updating, .online: nil
            case .provisionFailed: reason
            case .offline:
                switch reason {
                case OfflineReason.checkinMissed.rawValue: missedError
                case OfflineReason.goodbye.rawValue: nil
                default: now.policy.onLapse == .wake ? had ?? waits : had
                }
            case .changed where reason == "recovery_waits": had ?? waits
            case .woken, .retriggered, .lapsed, .changed, .deleting, .deleted, .paused, .resumed, .heartbeatRejected,
                .tokenRotated, .templatesSynced:
                had
            }
        return now.lastProvisionError == wanted
            ? nil : "last_provision_error is \(now.lastProvisionError ?? "null") and not \(wanted ?? "null")"
    }

    /// What an agent is offline for that is to be recovered, and was just before.
    private var waits: String {
        let wait = now.policy.recoveryWait(after: now.recoveries).milliseconds
        let text = wait % 1_000 == 0 ? "\(wait / 1_000)s" : "\(wait)ms"
        return "recovery \(now.recoveries + 1) in a row waits \(text)"
    }

    private var missedError: String {
        let text = "Agent did not check in after wake; max wake attempts reached"
        if isGatewayLost { return "\(text): gateway \(now.address.gateway) is lost" }
        if let rejection = now.lastRejection {
            let detail = rejection.detail.map { ": \($0)" } ?? ""
            return "\(text): heartbeats rejected: \(rejection.reason.rawValue) ×\(rejection.count)\(detail)"
        }
        if let generation = before?.cycle?.stillRuns { return "\(text): it still runs generation \(generation)" }
        if let status = before?.cycle?.exitStatus { return "\(text): it exited with status \(status)" }
        if now.wakeDelivery == .noSubscriber { return "\(text): no gateway received the wake" }
        return now.hasStaleTemplates ? "\(text): templates are stale" : text
    }

    /// When a verdict may be given at all.
    private var verdict: String? {
        switch event {
        case .retriggered, .lapsed: if before?.record.isPaused ?? false { return "it is paused" }
        case .offline:
            if reason == OfflineReason.goodbye.rawValue { return nil }
            if before?.record.isPaused ?? false { return "it is paused" }
            if reason == OfflineReason.lapsed.rawValue {
                if last != .lapsed || was != .online { return "it has not lapsed" }
                if now.policy.onLapse != .offline, now.recoveries == 0 { return "on_lapse is not offline" }
            } else if before?.cycle.map({ $0.attempt < $0.policy.maxWakeAttempts }) ?? true {
                return "attempts are left"
            }
        case .updating:
            if last == .lapsed, reason != WakeReason.recover.rawValue { return "it has lapsed and is not recovered" }
        case .online: if now.lastSeenAt == nil { return "last_seen_at is null" }
        case .provisioning, .woken, .changed, .provisionFailed, .deleting, .deleted, .paused, .resumed,
            .heartbeatRejected, .tokenRotated, .templatesSynced:
            break
        }
        if event == .lapsed, was != .online { return "it was not online" }
        if event == .retriggered, before?.cycle.map({ $0.attempt >= $0.policy.maxWakeAttempts }) ?? true {
            return "no attempts are left"
        }
        return nil
    }

    /// A cycle keeps the policy it began with.
    private var cycle: String? {
        let isWaiting = now.status == .provisioning || now.status == .updating
        if (after.cycle != nil) != isWaiting { return "its cycle is \(after.cycle == nil ? "over" : "not over")" }
        guard !begins else {
            if now.lastRejection != nil { return "its rejection is not cleared" }
            let wanted: ProvisionAction =
                event == .provisioning ? .provision : reason == WakeReason.recover.rawValue ? .recover : .update
            if now.provisionAction != wanted { return "provision_action is not \(wanted.rawValue)" }
            return after.cycle?.policy == now.policy ? nil : "its cycle has another policy"
        }
        guard let old = before?.cycle, let new = after.cycle else { return nil }
        return old.policy == new.policy ? nil : "the policy of its cycle changed"
    }

    private var pause: String? {
        switch event {
        case .paused: return now.isPaused ? nil : "it is not paused"
        case .resumed:
            let cause = PauseCause(rawValue: reason ?? "")
            if let cause, now.pausedBy.contains(cause) { return "it is still paused by \(cause.rawValue)" }
            return nil
        case .deleting, .deleted: return now.isPaused ? "it is paused" : nil
        case .provisioning, .updating, .woken, .online, .retriggered, .offline, .lapsed, .changed, .provisionFailed,
            .heartbeatRejected, .tokenRotated, .templatesSynced:
            return now.pausedBy == before?.record.pausedBy ?? [] ? nil : "its pause changed"
        }
    }
}
