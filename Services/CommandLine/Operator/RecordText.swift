internal import Model

extension AgentStatus {
    var colour: Style.Colour {
        switch self {
        case .online: .green
        case .provisioning, .updating: .yellow
        case .offline: .red
        case .deleting: .dim
        }
    }
}

/// Records for people.
enum RecordText {
    /// One line: where the agent stands.
    static func line(_ record: AgentRecord, _ style: Style) -> String {
        var text =
            "\(record.address) \(style.paint(status(record), record.status.colour)), generation \(record.generation)"
        if record.wakeAttempts > 0 { text += ", wake \(attempts(record))" }
        if record.isPaused { text += ", paused" }
        if let error = record.lastProvisionError { text += ": \(Printable.text(error))" }
        return text + "\n"
    }

    static func attempts(_ record: AgentRecord) -> String {
        "\(record.wakeAttempts)/\(record.policy.maxWakeAttempts)"
    }

    /// The status; of one that is offline with its reason, unless that is said beside it.
    static func status(_ record: AgentRecord, besides said: String? = nil) -> String {
        guard let reason = record.offlineReason?.rawValue, reason != said else { return record.status.rawValue }
        return "\(record.status.rawValue) (\(reason))"
    }

    /// The table of `agents`, with the columns that fit.
    static func table(_ records: [AgentRecord], now: Timestamp, _ style: Style, columns: Int? = nil) -> String {
        var table = Table([
            "ADDRESS", "ROLE", "BOARD", "STATUS", "OFFLINE SINCE", "ATTEMPTS", "SEEN", "DEADLINE", "ERROR",
        ])
        table.expendable = ["ROLE", "BOARD", "ATTEMPTS", "DEADLINE", "SEEN", "ERROR", "OFFLINE SINCE"]
        table.rows = records.map { record in
            [
                .init(record.address.description), .init(record.role.rawValue), .init(record.board ?? "-"),
                .init(status(record) + (record.isPaused ? " paused" : ""), record.status.colour),
                .init(RelativeTime.text(offlineSince(record), now: now)), .init(attempts(record)),
                .init(RelativeTime.text(record.lastSeenAt, now: now)),
                .init(RelativeTime.deadline(record.checkinDeadlineAt, now: now)),
                .init(record.lastProvisionError ?? ""),
            ]
        }
        return table.text(style, columns: columns)
    }

    /// Since when an agent is offline: the end of its last deadline, or when it was last heard of. What changed in the record later,
    /// as its templates, is not what made it so.
    static func offlineSince(_ record: AgentRecord) -> Timestamp? {
        guard record.status == .offline else { return nil }
        let end: Timestamp? =
            switch record.offlineReason {
            case .checkinMissed: record.lastWakeSentAt.map { $0 + record.policy.checkinDeadline.span }
            case .lapsed: record.lastSeenAt.map { $0 + record.policy.offlineAfter.span }
            case .goodbye: record.lastSeenAt
            case .neverWoken: record.createdAt
            case nil: nil
            }
        return min(end ?? record.updatedAt, record.updatedAt)
    }

    /// Everything about one agent, a line a subject.
    static func sheet(_ record: AgentRecord, now: Timestamp, _ style: Style) -> String {
        let ago = { (wallTime: Timestamp?) in RelativeTime.text(wallTime, now: now) }
        var lines: [(String, String)] = [
            ("role", record.role.rawValue + (record.board.map { ", board \($0)" } ?? "")),
            ("generation", generation(record, ago)),
            ("attempts", attempts(record, ago)),
        ]
        if let deadline = record.checkinDeadlineAt {
            lines.append(("deadline", "\(RelativeTime.deadline(deadline, now: now)) (\(deadline))"))
        }
        lines.append(("last seen", ago(record.lastSeenAt)))
        if let status = record.reportedStatus { lines.append(("reports", status.rawValue)) }
        if let note = record.note { lines.append(("note", note)) }
        if let bootID = record.bootID { lines.append(("boot id", bootID)) }
        lines += ending(record)
        if let rejection = record.lastRejection {
            let detail = rejection.detail.map { ": " + $0 } ?? ""
            let text = "\(rejection.reason.rawValue) ×\(rejection.count), last \(ago(rejection.at))\(detail)"
            lines.append(("rejected", text))
        }
        if record.isPaused {
            let until = record.pausedUntil.map { ", until \($0)" } ?? ""
            lines.append(("paused", "by \(record.pausedBy.map(\.rawValue).joined(separator: ", "))\(until)"))
        }
        if let digest = record.templatesDigest { lines.append(("templates", templates(record, digest))) }
        lines += settings("policy", PolicyOverrides(all: record.policy))
        lines += settings("own policy", record.policyOverrides)
        let variables = record.variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        if !variables.isEmpty { lines.append(("variables", variables.joined(separator: " "))) }
        if let token = record.tokenID { lines.append(("token id", token)) }
        lines.append(("created", "\(record.createdAt), updated \(record.updatedAt), revision \(record.revision)"))
        var text =
            "\(style.paint(record.address.description, .bold))  \(style.paint(record.status.rawValue, record.status.colour))\n"
        if let error = record.lastProvisionError { text += style.paint(Printable.text(error), .red) + "\n" }
        for (name, value) in lines {
            text += "  \(name)" + String(repeating: " ", count: nameWidth - name.count) + Printable.text(value) + "\n"
        }
        return text
    }

    private static let nameWidth = 12
    /// What stands beside a name and can be broken is broken at this length.
    private static let valueWidth = 72

    private static func generation(_ record: AgentRecord, _ ago: (Timestamp?) -> String) -> String {
        guard let action = record.provisionAction else { return "\(record.generation)" }
        return "\(record.generation), \(action.rawValue) requested \(ago(record.provisionRequestedAt))"
    }

    private static func attempts(_ record: AgentRecord, _ ago: (Timestamp?) -> String) -> String {
        var text = "\(record.wakeAttempts) of \(record.policy.maxWakeAttempts)"
        if let sentAt = record.lastWakeSentAt { text += ", last wake \(ago(sentAt))" }
        switch record.wakeDelivery {
        case .accepted: text += ", somebody was subscribed"
        case .noSubscriber: text += ", nobody was subscribed"
        case nil: break
        }
        return text
    }

    /// Why it is not there, and what was made of it.
    private static func ending(_ record: AgentRecord) -> [(String, String)] {
        var lines: [(String, String)] = []
        if let reason = record.offlineReason {
            lines.append(("offline", reason.rawValue + (record.isWanted ? ", wanted" : ", not wanted")))
            lines.append(("since", offlineSince(record)?.description ?? "-"))
        }
        if let status = record.lastExitStatus { lines.append(("last exit", "status \(status)")) }
        if record.recoveries > 0 { lines.append(("recoveries", "\(record.recoveries) in a row")) }
        if let generation = record.generationReported, generation != record.generation {
            lines.append(("still runs", "generation \(generation)"))
        }
        return lines
    }

    private static func templates(_ record: AgentRecord, _ wanted: String) -> String {
        guard let reported = record.templatesDigestReported else { return wanted }
        return reported == wanted ? "\(wanted), as reported" : "\(wanted); stale: the agent runs \(reported)"
    }

    /// The settings in lines, the name before the first.
    private static func settings(_ name: String, _ overrides: PolicyOverrides) -> [(String, String)] {
        var lines: [(String, String)] = []
        for setting in PolicySetting.allCases {
            guard let value = overrides.text(of: setting) else { continue }
            let text = "\(setting.rawValue)=\(value)"
            if let last = lines.last?.1, last.count + 1 + text.count <= valueWidth {
                lines[lines.count - 1].1 += " " + text
            } else {
                lines.append((lines.isEmpty ? name : "", text))
            }
        }
        return lines
    }
}
