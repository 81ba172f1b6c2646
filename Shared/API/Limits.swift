/// The sizes that are promised, each with who refuses what is beyond it.
public enum Limits {
    /// A heartbeat of one agent; heartbeat-ingest rejects a larger one as `too_large`.
    public static let heartbeatBytesMax = 4_096
    /// A gateway's message for all its agents; heartbeat-ingest rejects a larger one whole.
    public static let gatewayHeartbeatsBytesMax = 262_144
    /// Entries of one gateway's messages in a second that name nobody or are no heartbeats; beyond it a message that holds such a one
    /// is read no further, and what it said is rejected.
    public static let badEntriesMax = 1_000
    /// The request of a command; the provisioner and the store answer a larger one with `too-large`.
    public static let commandBytesMax = 65_536
    /// Requests of one operator under way, and bytes of their answers; beyond it `too-many-requests`.
    public static let requestsUnderWayMax = 1_000
    public static let answerBytesUnderWayMax = 16 << 20
    /// Requests for `files` and `credentials` of an agent under way; of a gateway one more for each agent that it asks for.
    public static let agentRequestsUnderWayMax = 16
    /// How deep objects and arrays may lie in each other in what others write; deeper is refused unread.
    public static let jsonDepthMax = 32
    /// How deep what a service wrote may lie, which holds what others wrote; deeper is not decoded.
    public static let decodedDepthMax = 64
    public static let bootIDLengthMax = 64
    public static let noteLengthMax = 256
    /// A digest of templates that somebody reports; ours have 71 characters.
    public static let templatesDigestLengthMax = 256
    /// Records or events in one answer of `list` and `history`.
    public static let pageLimitDefault = 100
    public static let pageLimitMax = 1_000
    /// What any service publishes at most in one message; the broker's own limit is a little more than twice that.
    public static let messageBytesMax = 1_000_000
    /// How long an idempotency key is remembered.
    public static let idempotencyHours = 24
    public static let idempotencyKeyLengthMax = 256
    /// Variables of one agent: how many, and the length of a name and of a value in bytes.
    public static let variablesMax = 256
    public static let variableNameLengthMax = 63
    public static let variableValueLengthMax = 8_192
    /// All names and values of one agent's variables together, in bytes.
    public static let variablesBytesMax = 65_536
}

/// The version of the public contract, covered by every service's `config_digest`.
public enum ContractVersion {
    public static let current = "1"
    /// What `--version` prints and presence announces.
    public static let product = "0.1.0"
}
