public import Contract
public import Lifecycle

/// The members of a heartbeat that reach the owner, each checked for its type and its bounds.
///
/// A member that is `null` is absent. `sent_at` and `note` are checked and go no further: an agent's clock decides
/// nothing, and a note is for whoever reads the broker.
public struct HeartbeatMembers: Hashable, Sendable {
    /// A digest that somebody may report; ours have 71 characters.
    public static let templatesDigestLengthMax = 256

    public var status: HeartbeatStatus?
    public var extend: DurationText?
    public var generation: Int?
    public var attempt: Int?
    public var bootID: String?
    public var seq: Int64?
    public var templatesDigest: String?

    public init() {}

    /// Whether the heartbeat says no more than an empty one.
    var isPlain: Bool {
        (status == nil || status == .ok) && extend == nil && generation == nil && attempt == nil && bootID == nil
            && seq == nil && templatesDigest == nil
    }

    /// What the owner of `agent` is told.
    public func detail(of agent: AgentAddress, tokenDigest: String?) -> HeartbeatDetail {
        var detail = HeartbeatDetail(agent: agent)
        detail.status = status
        detail.extend = extend
        detail.generation = generation
        detail.attempt = attempt
        detail.bootID = bootID
        detail.seq = seq
        detail.templatesDigest = templatesDigest
        detail.tokenDigest = tokenDigest
        return detail
    }
}

extension HeartbeatMembers: Decodable {
    enum CodingKeys: String, CodingKey {
        case status, extend, generation, attempt, seq, note
        case bootID = "boot_id"
        case sentAt = "sent_at"
        case templatesDigest = "templates_digest"
    }

    /// - Throws: for a wrong type or a bad value of any known member.
    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        status = try members.decodeIfPresent(HeartbeatStatus.self, forKey: .status)
        extend = try members.decodeIfPresent(DurationText.self, forKey: .extend)
        generation = try members.decodeIfPresent(Int.self, forKey: .generation)
        attempt = try members.decodeIfPresent(Int.self, forKey: .attempt)
        bootID = try members.decodeIfPresent(String.self, forKey: .bootID)
        seq = try members.decodeIfPresent(Int64.self, forKey: .seq)
        templatesDigest = try members.decodeIfPresent(String.self, forKey: .templatesDigest)
        let note = try members.decodeIfPresent(String.self, forKey: .note)
        _ = try members.decodeIfPresent(Timestamp.self, forKey: .sentAt)

        try HeartbeatMembers.check(bootID, .bootID, Limits.bootIDLengthMax, members)
        try HeartbeatMembers.check(
            templatesDigest, .templatesDigest, HeartbeatMembers.templatesDigestLengthMax, members)
        try HeartbeatMembers.check(note, .note, Limits.noteLengthMax, members)
        let counts: [(Int64?, CodingKeys)] = [
            (generation.map(Int64.init), .generation), (attempt.map(Int64.init), .attempt), (seq, .seq),
        ]
        for (number, key) in counts {
            guard number ?? 0 >= 0 else {
                throw DecodingError.dataCorruptedError(forKey: key, in: members, debugDescription: "is negative")
            }
        }
    }

    /// Lengths count characters as JSON Schema does (RFC 8259 characters: Unicode scalars).
    private static func check(
        _ text: String?, _ key: CodingKeys, _ limit: Int, _ members: KeyedDecodingContainer<CodingKeys>
    ) throws {
        guard let text, text.utf8.count > limit, text.unicodeScalars.count > limit else { return }
        throw DecodingError.dataCorruptedError(
            forKey: key, in: members, debugDescription: "is longer than \(limit) characters")
    }
}

/// What the form of one agent's heartbeat comes to. Its standing (who, which token, which generation) is the owner's to
/// judge.
public enum HeartbeatForm: Hashable, Sendable {
    /// It says nothing but that its agent is alive and well.
    case plain
    case detailed(HeartbeatMembers)
    /// `malformed` or `too_large`.
    case rejected(RejectionReason)

    private static let emptyObject = Array("{}".utf8)
    private static let ok = Array(#"{"status":"ok"}"#.utf8)

    public init(_ payload: [UInt8]) {
        if payload.isEmpty || payload == HeartbeatForm.emptyObject || payload == HeartbeatForm.ok {
            self = .plain
            return
        }
        guard payload.count <= Limits.heartbeatBytesMax else {
            self = .rejected(.tooLarge)
            return
        }
        guard let members = try? JSON.decode(HeartbeatMembers.self, from: payload) else {
            self = .rejected(.malformed)  // which member it is, the agent's author sees at once
            return
        }
        self = members.isPlain ? .plain : .detailed(members)
    }
}
