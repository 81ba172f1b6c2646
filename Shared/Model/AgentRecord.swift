/// What an agent is for.
public enum Role: String, Codable, CaseIterable, Sendable {
    /// The gateway's own agent; on no board.
    case main
    /// Leads a board.
    case lead
    /// Works on a board.
    case worker

    /// A lead and a worker belong to a board, a main agent does not.
    public var needsBoard: Bool { self != .main }
}

/// Where an agent stands. The table of transitions is `LifecycleTable`.
public enum AgentStatus: String, Codable, CaseIterable, Sendable {
    /// A cycle asked for by `provision` waits for its check-in. Can become online, offline, updating, deleting.
    case provisioning
    /// A later cycle, or a further wake of any cycle, waits for its check-in. Can become online, offline, provisioning, deleting.
    case updating
    /// It has checked in and has not fallen silent. Can become updating, provisioning, offline, deleting.
    case online
    /// It is not there, for a stated reason, and nothing escalates. Can become online, updating, provisioning, deleting.
    case offline
    /// Its removal was asked for. Ends in the tombstone.
    case deleting
}

/// What asked for the cycle in progress or the last one.
public enum ProvisionAction: String, Codable, Sendable {
    case provision, update, recover
}

/// Why a wake is sent, as the agent reads it.
public enum WakeReason: String, Codable, CaseIterable, Sendable {
    case provision, update, manual, retrigger, recover
}

/// What the broker said of the wake: nobody was subscribed, or somebody was (not necessarily the right one).
public enum WakeDelivery: String, Codable, Sendable {
    case accepted
    case noSubscriber = "no_subscriber"
}

/// What paused an agent.
public enum PauseCause: String, Codable, CaseIterable, Sendable {
    case agent, gateway, board
}

/// Why a heartbeat was not accepted.
public enum RejectionReason: String, Codable, CaseIterable, Sendable {
    case unknownAgent = "unknown_agent"
    case badToken = "bad_token"
    case tooLarge = "too_large"
    case malformed
    case deleting
    case rateLimited = "rate_limited"
}

/// The newest rejected heartbeat of an agent.
public struct Rejection: Codable, Hashable, Sendable {
    /// A longer detail is cut to so many Unicode scalars: a record stays small whatever was sent.
    public static let detailLengthMax = 256

    public var reason: RejectionReason
    /// The member and what is wrong with it; `nil` of a rejection that was kept before there were details.
    public var detail: String?
    public var at: Timestamp
    /// How many in a row were rejected for this reason since the cycle began.
    public var count: Int

    public init(reason: RejectionReason, detail: String? = nil, at: Timestamp, count: Int) {
        self.reason = reason
        self.detail = detail.map { String($0.unicodeScalars.prefix(Rejection.detailLengthMax)) }
        self.at = at
        self.count = count
    }

    enum CodingKeys: String, CodingKey { case reason, detail, at, count }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(reason, forKey: .reason)
        try container.encode(detail, forKey: .detail)
        try container.encode(at, forKey: .at)
        try container.encode(count, forKey: .count)
    }
}

/// The record of one agent, as operators read it. Absent is `nil`, `null` in JSON.
public struct AgentRecord: Hashable, Sendable {
    public let address: AgentAddress
    public var board: String?
    public var role: Role
    public var status: AgentStatus
    /// The number of the cycle; it never restarts, not even after a deletion.
    public var generation = 0
    /// Wakes of this cycle that were published or failed; 0 after a check-in.
    public var wakeAttempts = 0
    public var lastWakeSentAt: Timestamp?
    public var wakeDelivery: WakeDelivery?
    public var checkinDeadlineAt: Timestamp?
    /// When heartbeat-ingest received the newest accepted heartbeat.
    public var lastSeenAt: Timestamp?
    public var lastProvisionError: String?
    /// Why it is offline; `nil` while it is not.
    public var offlineReason: OfflineReason?
    /// How it ended last, by its own word or its runtime's.
    public var lastExitStatus: Int?
    /// It was asked for, or has come, and has not said since that it is finished: it is started when its host returns.
    public var isWanted = false
    /// `recover` cycles in a row since it was last well.
    public var recoveries = 0
    /// The generation that it echoed last.
    public var generationReported: Int?
    public var note: String?
    public var lastRejection: Rejection?
    public var reportedStatus: HeartbeatStatus?
    public var bootID: String?
    public var templatesDigest: String?
    public var templatesDigestReported: String?
    /// The policy in force.
    public var policy: Policy
    public var policyOverrides = PolicyOverrides()
    public var variables: [String: String] = [:]
    public var pausedBy: [PauseCause] = []
    public var pausedUntil: Timestamp?
    public var provisionRequestedAt: Timestamp?
    public var provisionAction: ProvisionAction?
    public var tokenID: String?
    public let createdAt: Timestamp
    public var updatedAt: Timestamp
    /// Grows by one with every event of the agent, never restarts.
    public var revision = 0

    public init(
        address: AgentAddress, board: String?, role: Role, status: AgentStatus, policy: Policy, createdAt: Timestamp
    ) {
        self.address = address
        self.board = board
        self.role = role
        self.status = status
        self.policy = policy
        self.createdAt = createdAt
        self.updatedAt = createdAt
    }

    public var isPaused: Bool { !pausedBy.isEmpty }

    /// Whether the agent reported another digest than the one wanted.
    public var hasStaleTemplates: Bool {
        AgentRecord.isStale(wanted: templatesDigest, reported: templatesDigestReported)
    }

    /// The same of the two digests alone.
    package static func isStale(wanted: String?, reported: String?) -> Bool {
        guard let wanted, let reported else { return false }
        return wanted != reported
    }
}

extension AgentRecord: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case agent
        case gatewayID = "gateway_id"
        case agentID = "agent_id"
        case boardID = "board_id"
        case role, status
        case lifecycleGeneration = "lifecycle_generation"
        case wakeAttempts = "wake_attempts"
        case lastWakeSentAt = "last_wake_sent_at"
        case wakeDelivery = "wake_delivery"
        case checkinDeadlineAt = "checkin_deadline_at"
        case lastSeenAt = "last_seen_at"
        case lastProvisionError = "last_provision_error"
        case offlineReason = "offline_reason"
        case lastExitStatus = "last_exit_status"
        case wanted, recoveries
        case generationReported = "generation_reported"
        case note
        case lastRejection = "last_rejection"
        case reportedStatus = "reported_status"
        case bootID = "boot_id"
        case templatesDigest = "templates_digest"
        case templatesDigestReported = "templates_digest_reported"
        case policy
        case policyOverrides = "policy_overrides"
        case variables, paused
        case pausedBy = "paused_by"
        case pausedUntil = "paused_until"
        case provisionRequestedAt = "provision_requested_at"
        case provisionAction = "provision_action"
        case tokenID = "token_id"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case revision
    }

    /// The names of all members, in the order of the contract.
    public static var memberNames: [String] { CodingKeys.allCases.map(\.rawValue) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            address: try container.decode(AgentAddress.self, forKey: .agent),
            board: try container.decodeIfPresent(String.self, forKey: .boardID),
            role: try container.decode(Role.self, forKey: .role),
            status: try container.decode(AgentStatus.self, forKey: .status),
            policy: try container.decode(Policy.self, forKey: .policy),
            createdAt: try container.decode(Timestamp.self, forKey: .createdAt))
        generation = try container.decode(Int.self, forKey: .lifecycleGeneration)
        wakeAttempts = try container.decode(Int.self, forKey: .wakeAttempts)
        lastWakeSentAt = try container.decodeIfPresent(Timestamp.self, forKey: .lastWakeSentAt)
        wakeDelivery = try container.decodeIfPresent(WakeDelivery.self, forKey: .wakeDelivery)
        checkinDeadlineAt = try container.decodeIfPresent(Timestamp.self, forKey: .checkinDeadlineAt)
        lastSeenAt = try container.decodeIfPresent(Timestamp.self, forKey: .lastSeenAt)
        lastProvisionError = try container.decodeIfPresent(String.self, forKey: .lastProvisionError)
        offlineReason = try container.decodeIfPresent(OfflineReason.self, forKey: .offlineReason)
        lastExitStatus = try container.decodeIfPresent(Int.self, forKey: .lastExitStatus)
        recoveries = try container.decodeIfPresent(Int.self, forKey: .recoveries) ?? 0
        generationReported = try container.decodeIfPresent(Int.self, forKey: .generationReported)
        note = try container.decodeIfPresent(String.self, forKey: .note)
        lastRejection = try container.decodeIfPresent(Rejection.self, forKey: .lastRejection)
        reportedStatus = try container.decodeIfPresent(HeartbeatStatus.self, forKey: .reportedStatus)
        bootID = try container.decodeIfPresent(String.self, forKey: .bootID)
        templatesDigest = try container.decodeIfPresent(String.self, forKey: .templatesDigest)
        templatesDigestReported = try container.decodeIfPresent(String.self, forKey: .templatesDigestReported)
        policyOverrides = try container.decode(PolicyOverrides.self, forKey: .policyOverrides)
        variables = try container.decode([String: String].self, forKey: .variables)
        pausedBy = try container.decode([PauseCause].self, forKey: .pausedBy)
        pausedUntil = try container.decodeIfPresent(Timestamp.self, forKey: .pausedUntil)
        provisionRequestedAt = try container.decodeIfPresent(Timestamp.self, forKey: .provisionRequestedAt)
        provisionAction = try container.decodeIfPresent(ProvisionAction.self, forKey: .provisionAction)
        tokenID = try container.decodeIfPresent(String.self, forKey: .tokenID)
        updatedAt = try container.decode(Timestamp.self, forKey: .updatedAt)
        revision = try container.decode(Int.self, forKey: .revision)
        if let wanted = try container.decodeIfPresent(Bool.self, forKey: .wanted) {
            isWanted = wanted
        } else {
            completeEarlierVersion()
        }
    }

    /// A record of a version that told neither whether the agent is wanted nor why it is offline.
    private mutating func completeEarlierVersion() {
        isWanted = generation > 0 && !(status == .offline && reportedStatus == .stopping)
        guard status == .offline else { return }
        offlineReason =
            if lastProvisionError != nil { .checkinMissed } else if generation == 0 { .neverWoken } else if isWanted {
                .lapsed
            } else { .goodbye }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(address, forKey: .agent)
        try container.encode(address.gateway, forKey: .gatewayID)
        try container.encode(address.agent, forKey: .agentID)
        try container.encode(board, forKey: .boardID)
        try container.encode(role, forKey: .role)
        try container.encode(status, forKey: .status)
        try container.encode(generation, forKey: .lifecycleGeneration)
        try container.encode(wakeAttempts, forKey: .wakeAttempts)
        try container.encode(lastWakeSentAt, forKey: .lastWakeSentAt)
        try container.encode(wakeDelivery, forKey: .wakeDelivery)
        try container.encode(checkinDeadlineAt, forKey: .checkinDeadlineAt)
        try container.encode(lastSeenAt, forKey: .lastSeenAt)
        try container.encode(lastProvisionError, forKey: .lastProvisionError)
        try container.encode(offlineReason, forKey: .offlineReason)
        try container.encode(lastExitStatus, forKey: .lastExitStatus)
        try container.encode(isWanted, forKey: .wanted)
        try container.encode(recoveries, forKey: .recoveries)
        try container.encode(generationReported, forKey: .generationReported)
        try container.encode(note, forKey: .note)
        try container.encode(lastRejection, forKey: .lastRejection)
        try container.encode(reportedStatus, forKey: .reportedStatus)
        try container.encode(bootID, forKey: .bootID)
        try container.encode(templatesDigest, forKey: .templatesDigest)
        try container.encode(templatesDigestReported, forKey: .templatesDigestReported)
        try container.encode(policy, forKey: .policy)
        try container.encode(policyOverrides, forKey: .policyOverrides)
        try container.encode(variables, forKey: .variables)
        try container.encode(isPaused, forKey: .paused)
        try container.encode(pausedBy, forKey: .pausedBy)
        try container.encode(pausedUntil, forKey: .pausedUntil)
        try container.encode(provisionRequestedAt, forKey: .provisionRequestedAt)
        try container.encode(provisionAction, forKey: .provisionAction)
        try container.encode(tokenID, forKey: .tokenID)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(updatedAt, forKey: .updatedAt)
        try container.encode(revision, forKey: .revision)
    }
}
