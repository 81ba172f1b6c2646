public import Model

/// A cycle in progress: one request and all its wakes.
public struct Cycle: Codable, Hashable, Sendable {
    /// The policy it began with, and keeps.
    public let policy: Policy
    public let requestedAt: Timestamp
    /// When its first wake was ordered; `nil` while none was.
    public var firstOrderedAt: Timestamp?
    /// The same on the monotonic clock of the machine that ordered it.
    public var firstOrderedOn: MachineInstant?
    /// The newest wake; `nil` while none was ordered. A repeat publishes this one again.
    public var order: WakeOrder?
    /// The reason the first wake will carry.
    public let reason: WakeReason
    public let resetSession: Bool
    /// How the newest start of this cycle ended before it checked in.
    public var exitStatus: Int?
    /// The older generation that the agent still runs, by its own word.
    public var stillRuns: Int?
    /// What `starting` has added to the deadlines of this cycle, in milliseconds.
    public var extensionUsed: Int64 = 0
    public let traceparent: String?

    public init(policy: Policy, requestedAt: Timestamp, reason: WakeReason, resetSession: Bool, traceparent: String?) {
        self.policy = policy
        self.requestedAt = requestedAt
        self.reason = reason
        self.resetSession = resetSession
        self.traceparent = traceparent
    }

    /// The newest attempt that was ordered, 0 while none was.
    public var attempt: Int { order?.attempt ?? 0 }
}

/// A token that was replaced and counts until its successor is used.
public struct PreviousToken: Codable, Hashable, Sendable {
    /// SHA-256 of the token, in hexadecimal.
    public let digest: String
    public let until: Timestamp

    public init(digest: String, until: Timestamp) {
        self.digest = digest
        self.until = until
    }
}

/// All of an agent that survives a restart: what the owner commits with each event.
public struct AgentState: Codable, Hashable, Sendable {
    public var record: AgentRecord
    /// SHA-256 of its token, in hexadecimal.
    public var tokenDigest: String?
    /// The token before it, while it still counts.
    public var previousToken: PreviousToken?
    /// Those before that one, oldest first, while none of their successors was used.
    public var earlierTokens: [PreviousToken]?
    /// Present while the status is `provisioning` or `updating`.
    public var cycle: Cycle?
    /// The publication number of the newest order of any cycle.
    public var publication = 0
    /// Orders that were given up before their reports came: for a while their wakes may still be published.
    public var orphanedPublications: [Int] = []
    /// The newest of its gateway's returns (`GatewayState.returns`) that it was told of; `nil` before the first.
    public var hostReturn: Int?
    /// Since when it is online.
    public var onlineSince: Timestamp?
    /// The next `recover` cycle does not begin before this; `nil` for one that waits for nothing.
    public var recoverAfter: Timestamp?
    /// A `recover` cycle is to begin then.
    public var awaitsRecovery: Bool?
    /// When each cause of a pause ends; a cause without an entry ends when it is resumed.
    public var pauseEnds: [PauseCause.RawValue: Timestamp] = [:]

    public init(record: AgentRecord) {
        self.record = record
    }

    /// Tokens that were replaced, oldest first.
    public var replacedTokens: [PreviousToken] { (earlierTokens ?? []) + (previousToken.map { [$0] } ?? []) }

    /// As databases have it: some keys are older than the members' names.
    enum CodingKeys: String, CodingKey {
        case record, tokenDigest, previousToken, earlierTokens, cycle, hostReturn, onlineSince, recoverAfter,
            awaitsRecovery, pauseEnds
        case publication = "issue"
        case orphanedPublications = "abandonedIssues"
    }
}

/// What of a deleted agent is kept for ever: its numbers never restart.
public struct Tombstone: Codable, Hashable, Sendable {
    public let agent: AgentAddress
    public let generation: Int
    public let revision: Int

    public init(agent: AgentAddress, generation: Int, revision: Int) {
        self.agent = agent
        self.generation = generation
        self.revision = revision
    }
}

/// All of a gateway that survives a restart.
public struct GatewayState: Codable, Hashable, Sendable {
    public enum Connection: String, Codable, Sendable, CaseIterable {
        case never, connected, lost, stopped
    }

    public let gateway: String
    public var connection = Connection.never
    /// Of the incarnation that was connected last.
    public var bootID: String?
    /// How often it has returned; `nil` before the first time.
    public var returns: Int?
    public var policyOverrides = PolicyOverrides()
    /// SHA-256 of its token, in hexadecimal.
    public var tokenDigest: String?
    public var tokenID: String?
    public var isPaused = false
    public var pausedUntil: Timestamp?

    public init(gateway: String) {
        self.gateway = gateway
    }
}

/// A board that is paused: agents that join it are paused with it.
public struct BoardPause: Codable, Hashable, Sendable {
    public let board: String
    public var until: Timestamp?

    public init(board: String, until: Timestamp?) {
        self.board = board
        self.until = until
    }
}
