internal import Contract
internal import Lifecycle

/// A wake as a runtime acts on it.
struct Wake: Hashable, Sendable {
    let agent: AgentAddress
    let generation: Int
    let attempt: Int
    let reason: String
    let heartbeatInterval: TimeSpan
    let templatesDigest: String?
    /// The message as it came, for the command.
    let text: String

    init(
        agent: AgentAddress, generation: Int, attempt: Int, reason: String, heartbeatInterval: TimeSpan,
        templatesDigest: String?, text: String
    ) {
        self.agent = agent
        self.generation = generation
        self.attempt = attempt
        self.reason = reason
        self.heartbeatInterval = heartbeatInterval
        self.templatesDigest = templatesDigest
        self.text = text
    }

    init(_ message: WakeMessage, text: String) {
        self.init(
            agent: message.agent, generation: message.generation, attempt: message.attempt,
            reason: message.reason.rawValue,
            heartbeatInterval: message.heartbeatInterval.span, templatesDigest: message.templatesDigest, text: text)
    }

    /// Whether this is the same wake as `other` or an earlier one: `(generation, attempt)` in that order.
    func isNewer(than other: Wake) -> Bool {
        (generation, attempt) > (other.generation, other.attempt)
    }

    func isSame(as other: Wake) -> Bool {
        (generation, attempt) == (other.generation, other.attempt)
    }
}

/// One heartbeat that a runtime sends for one run of its command.
struct Beat: Hashable, Sendable {
    let agent: AgentAddress
    /// `ok` or `stopping`.
    let status: HeartbeatStatus
    let generation: Int
    let attempt: Int
    let bootID: String
    let seq: Int64
    /// Said with a check-in and with each answer, not with each heartbeat.
    let templatesDigest: String?
}

/// One start of the command.
struct Run: Hashable, Sendable {
    let number: Int
    /// The newest wake of the generation it was started for; heartbeats echo it.
    var wake: Wake
    let templatesDigest: String?
    /// New at each start; empty until the process is there.
    var bootID = ""
    /// Heartbeats sent so far; 0 while it has not checked in.
    var seq: Int64 = 0
    var lastBeatAt: Instant?

    var hasCheckedIn: Bool { seq > 0 }

    mutating func beat(_ status: HeartbeatStatus, isFull: Bool, now: Instant) -> Beat {
        seq += 1
        lastBeatAt = now
        return Beat(
            agent: wake.agent, status: status, generation: wake.generation, attempt: wake.attempt, bootID: bootID,
            seq: seq,
            templatesDigest: isFull ? templatesDigest : nil)
    }
}
