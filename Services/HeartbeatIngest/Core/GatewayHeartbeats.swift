internal import Contract
public import Lifecycle

/// A gateway's message for all its agents: `{"agents": ["a1", {"agent": "a2", "seq": 7}]}`. Each entry is judged alone.
public struct GatewayHeartbeats: Sendable {
    /// One entry; `agent` is the id inside the gateway.
    public enum Entry: Hashable, Sendable {
        case plain(agent: String)
        case detailed(agent: String, HeartbeatMembers)
        /// Its members are wrong, but it names its agent.
        case malformed(agent: String)
        /// It names no agent: there is nobody to count it on.
        case nameless
    }

    /// All agents of a message that says nothing else of any of them; then there are no entries.
    public let names: [String]
    public let entries: [Entry]

    /// - Throws: the reason, for a message that is broken as a whole.
    public init(_ payload: [UInt8]) throws(GatewayHeartbeatsError) {
        guard payload.count <= Limits.gatewayHeartbeatsBytesMax else { throw GatewayHeartbeatsError(reason: .tooLarge) }
        // One object and no other: a list of names, which decodes five times as fast as a list of anything.
        if payload.count(where: { $0 == UInt8(ascii: "{") }) == 1,
            let message = try? JSON.decode(NamesMessage.self, from: payload),  // else the general form decides
            message.agents.allSatisfy({ Identifier.isValid($0) })
        {
            names = message.agents
            entries = []
            return
        }
        names = []
        guard let message = try? JSON.decode(Message.self, from: payload) else {
            throw GatewayHeartbeatsError(reason: .malformed)  // not JSON, or no list of agents
        }
        entries = message.agents
    }

    private struct NamesMessage: Decodable {
        let agents: [String]
    }

    private struct Message: Decodable {
        let agents: [Entry]
    }
}

/// Why a gateway's message was dropped whole.
public struct GatewayHeartbeatsError: Error, Hashable, Sendable {
    /// `malformed` or `too_large`.
    public let reason: RejectionReason
}

extension GatewayHeartbeats.Entry: Decodable {
    private enum CodingKeys: String, CodingKey { case agent }

    public init(from decoder: any Decoder) throws {
        // Each attempt fails for an entry of another form; what is left is nobody's.
        if let name = try? decoder.singleValueContainer().decode(String.self) {
            self = Identifier.isValid(name) ? .plain(agent: name) : .nameless
        } else if let object = try? decoder.container(keyedBy: CodingKeys.self),
            let name = try? object.decode(String.self, forKey: .agent), Identifier.isValid(name)
        {
            guard let members = try? HeartbeatMembers(from: decoder) else {
                self = .malformed(agent: name)
                return
            }
            self = members.isPlain ? .plain(agent: name) : .detailed(agent: name, members)
        } else {
            self = .nameless
        }
    }
}
