internal import API
public import Model
public import Wire

/// The members of a heartbeat that reach the owner, each checked for its type and its bounds.
///
/// A member that is `null` is absent. `sent_at` is not looked at: an agent's clock decides nothing.
public struct HeartbeatMembers: Hashable, Sendable {
    public var status: HeartbeatStatus?
    public var reason: StoppingReason?
    public var exitStatus: Int?
    public var extend: DurationText?
    public var generation: Int?
    public var attempt: Int?
    public var bootID: String?
    public var seq: Int64?
    public var templatesDigest: String?
    public var note: String?

    public init() {}

    /// Whether the heartbeat says no more than an empty one.
    var isPlain: Bool {
        (status == nil || status == .ok) && extend == nil && generation == nil && attempt == nil && bootID == nil
            && seq == nil && templatesDigest == nil && reason == nil && exitStatus == nil && note == nil
    }

    /// What the owner of `agent` is told.
    public func detail(of agent: AgentAddress, tokenDigest: String?) -> HeartbeatDetail {
        var detail = HeartbeatDetail(agent: agent)
        detail.status = status
        detail.reason = reason
        detail.exitStatus = exitStatus
        detail.note = note
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

extension HeartbeatMembers {
    /// - Throws: what is wrong with every known member of a wrong type or value, as `status: 'okay' is not one of ok, …`.
    init(_ object: [String: JSONValue]) throws(JSONFault) {
        var reader = MemberReader(object)
        if reader.has("state"), !reader.has("status") {
            reader.report("state", "stands without status, as in another system's Last Will")
        }
        status = reader.choice("status")
        reason = reader.choice("reason")
        exitStatus = reader.count("exit_status").map(Int.init)
        if let exitStatus, exitStatus > 255 { reader.report("exit_status", "is not 0 to 255") }
        extend = reader.duration("extend")
        generation = reader.count("generation").map(Int.init)
        attempt = reader.count("attempt").map(Int.init)
        bootID = reader.string("boot_id", lengthMax: Limits.bootIDLengthMax)
        seq = reader.count("seq")
        templatesDigest = reader.string("templates_digest", lengthMax: Limits.templatesDigestLengthMax)
        note = reader.string("note", lengthMax: Limits.noteLengthMax)
        if let fault = reader.fault { throw JSONFault(fault) }
    }
}

/// What the form of one agent's heartbeat comes to. Its standing (who, which token, which generation) is the owner's to
/// judge.
public enum HeartbeatForm: Hashable, Sendable {
    /// It says nothing but that its agent is alive and well.
    case plain
    case detailed(HeartbeatMembers)
    /// `malformed` or `too_large`, and what is wrong.
    case rejected(RejectionReason, detail: String)

    private static let emptyObject = Array("{}".utf8)
    private static let ok = Array(#"{"status":"ok"}"#.utf8)

    public init(_ payload: [UInt8]) {
        if payload.isEmpty || payload == HeartbeatForm.emptyObject || payload == HeartbeatForm.ok {
            self = .plain
            return
        }
        guard payload.count <= Limits.heartbeatBytesMax else {
            self = .tooLarge(payload.count)
            return
        }
        do throws(JSONFault) {
            self.init(try JSON.read(payload))
        } catch {
            self = .rejected(.malformed, detail: error.description)
        }
    }

    /// The form of a heartbeat that was read.
    init(_ value: JSONValue) {
        guard case .object(let object) = value else {
            self = .rejected(.malformed, detail: "is \(value.typeName), not an object")
            return
        }
        do throws(JSONFault) {
            let members = try HeartbeatMembers(object)
            self = members.isPlain ? .plain : .detailed(members)
        } catch {
            self = .rejected(.malformed, detail: error.description)
        }
    }

    static func tooLarge(_ bytes: Int) -> HeartbeatForm {
        .rejected(.tooLarge, detail: "has \(bytes) bytes, at most \(Limits.heartbeatBytesMax) are taken")
    }
}
