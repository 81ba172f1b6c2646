import Model

/// Values that tests share: 09:00 on the last day of January 2026 is now.
enum Samples {
    static let now = wallTime("2026-01-31T09:00:00Z")

    static func wallTime(_ text: String) -> Timestamp {
        guard let wallTime = Timestamp(text) else { preconditionFailure("\(text) is no timestamp") }
        return wallTime
    }

    static func address(_ text: String) -> AgentAddress {
        guard let address = AgentAddress(text) else { preconditionFailure("\(text) is no address") }
        return address
    }

    /// Asked for a minute ago, woken twice, once seen, with a policy of its own.
    static var waiting: AgentRecord {
        var record = AgentRecord(
            address: address("gw/builder"), board: "web", role: .worker, status: .updating, policy: Policy(),
            createdAt: wallTime("2026-01-30T08:00:00Z"))
        record.generation = 3
        record.wakeAttempts = 2
        record.lastWakeSentAt = wallTime("2026-01-31T08:59:40Z")
        record.wakeDelivery = .accepted
        record.checkinDeadlineAt = wallTime("2026-01-31T09:00:10Z")
        record.lastSeenAt = wallTime("2026-01-31T06:00:00Z")
        record.lastRejection = Rejection(reason: .badToken, at: wallTime("2026-01-31T08:59:58Z"), count: 4)
        record.reportedStatus = .degraded
        record.bootID = "b1"
        record.templatesDigest = "d2"
        record.templatesDigestReported = "d1"
        record.policyOverrides.maxWakeAttempts = 5
        record.policy.maxWakeAttempts = 5
        record.variables = ["LANG": "de", "COLOUR": "red"]
        record.provisionRequestedAt = wallTime("2026-01-31T08:59:00Z")
        record.provisionAction = .update
        record.tokenID = "t1"
        record.updatedAt = wallTime("2026-01-31T08:59:40Z")
        record.revision = 12
        return record
    }

    static var online: AgentRecord {
        var record = AgentRecord(
            address: address("gw/main"), board: nil, role: .main, status: .online, policy: Policy(), createdAt: now)
        record.generation = 1
        record.lastSeenAt = wallTime("2026-01-31T08:59:48Z")
        record.revision = 3
        return record
    }

    static var offline: AgentRecord {
        var record = AgentRecord(
            address: address("gw/x"), board: "web", role: .lead, status: .offline, policy: Policy(), createdAt: now)
        record.generation = 1
        record.wakeAttempts = 3
        record.lastWakeSentAt = wallTime("2026-01-31T08:59:00Z")
        record.offlineReason = .checkinMissed
        record.lastProvisionError = "Agent did not check in after wake; max wake attempts reached: gateway gw is lost"
        record.pausedBy = [.agent, .board]
        record.pausedUntil = wallTime("2026-01-31T10:00:00Z")
        return record
    }
}
