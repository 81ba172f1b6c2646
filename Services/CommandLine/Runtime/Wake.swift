internal import API
internal import Model

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

    /// The same wake for a start with these templates and a new session.
    func resettingSession(templatesDigest: String) -> Wake {
        var message = (try? JSON.decode(JSONValue.self, from: Array(text.utf8)))?.object ?? [:]
        message["reset_session"] = .bool(true)
        message["templates_digest"] = .string(templatesDigest)
        return Wake(
            agent: agent, generation: generation, attempt: attempt, reason: reason,
            heartbeatInterval: heartbeatInterval,
            templatesDigest: templatesDigest, text: JSON.text(JSONValue.object(message)))
    }

    /// It asks whether the agent is there, and what runs is not restarted.
    var isRecovery: Bool { reason == WakeReason.recover.rawValue }

    /// Whether this is the same wake as `other` or an earlier one: `(generation, attempt)` in that order.
    func isNewer(than other: Wake) -> Bool {
        (generation, attempt) > (other.generation, other.attempt)
    }

    /// What is said of a start that did not come to a check-in.
    func beat(_ kind: BeatKind, note: String? = nil) -> Beat {
        Beat(
            agent: agent, kind: kind, generation: generation, attempt: attempt,
            note: note.map { String($0.unicodeScalars.prefix(Limits.noteLengthMax)) })
    }

    func isSame(as other: Wake) -> Bool {
        (generation, attempt) == (other.generation, other.attempt)
    }
}

/// What a runtime says of an agent.
enum BeatKind: Hashable, Sendable {
    case alive
    /// Its host is there and starts it when it is woken.
    case waiting
    /// Its command ended by itself.
    case ended(status: Int)
    /// Its command is ended because the runtime ends.
    case hostStopping
}

/// One heartbeat that a runtime sends for an agent.
struct Beat: Hashable, Sendable {
    let agent: AgentAddress
    let kind: BeatKind
    var generation: Int?
    var attempt: Int?
    /// Absent when nothing has checked in: what is said counts for whatever incarnation the record knows.
    var bootID: String?
    var seq: Int64?
    /// Said with a check-in and with each answer, not with each heartbeat.
    var templatesDigest: String?
    /// What went wrong at the start.
    var note: String?
}

/// One start of the command.
struct Run: Hashable, Sendable {
    let number: Int
    /// The newest wake of the generation it was started for; heartbeats echo it.
    var wake: Wake
    var templatesDigest: String?
    /// What went wrong with its files.
    var note: String?
    /// New at each start; empty until the process is there.
    var bootID = ""
    /// Heartbeats sent so far; 0 while it has not checked in.
    var seq: Int64 = 0
    var lastBeatAt: Instant?

    var hasCheckedIn: Bool { seq > 0 }

    mutating func beat(_ kind: BeatKind = .alive, isFull: Bool, now: Instant) -> Beat {
        seq += 1
        lastBeatAt = now
        return Beat(
            agent: wake.agent, kind: kind, generation: wake.generation, attempt: wake.attempt, bootID: bootID, seq: seq,
            templatesDigest: isFull ? templatesDigest : nil, note: isFull ? note : nil)
    }
}
