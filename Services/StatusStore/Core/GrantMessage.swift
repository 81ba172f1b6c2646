public import Contract
public import Lifecycle

/// What a reconciler is sent, with agents as they are stored: a `ReconcilerMessage` that nobody has to encode anew.
public enum GrantMessage: Codable, Sendable {
    /// A chunk without agents, and those that belong into it.
    case grant(GrantChunk, agents: [Carried<AgentState>])
    case revoke(partition: Int, epoch: Int)

    /// The JSON of the `ReconcilerMessage`.
    public var bytes: [UInt8] {
        switch self {
        case .grant(let chunk, let agents):
            GrantMessage.insert(agents.map(\.bytes), into: JSON.bytes(ReconcilerMessage.grant(chunk)))
        case .revoke(let partition, let epoch):
            JSON.bytes(ReconcilerMessage.revoke(partition: partition, epoch: epoch))
        }
    }

    /// The message with these agents in place of none: what was stored is not decoded to be encoded again.
    private static func insert(_ agents: [[UInt8]], into message: [UInt8]) -> [UInt8] {
        let head = Array("{\"grant\":{\"_0\":{\"agents\":[".utf8)
        precondition(message.starts(with: head), "a grant is encoded with its agents first")
        var result = head
        result.reserveCapacity(message.count + agents.reduce(0) { $0 + $1.count + 1 })
        for (index, agent) in agents.enumerated() {
            if index > 0 { result.append(UInt8(ascii: ",")) }
            result += agent
        }
        return result + message[head.count...]
    }
}

/// A frame of a stream around a body that is JSON already.
public enum RawFrame {
    private struct NoBody: Codable, Sendable {}

    public static func compose<Body>(_ frame: StreamFrame<Body>, body: [UInt8]) -> [UInt8] {
        let bare = StreamFrame<NoBody>(
            id: frame.id, seq: frame.seq, lowWaterMark: frame.lowWaterMark, age: frame.age, body: nil)
        return Array("{\"body\":".utf8) + body + Array(",".utf8) + JSON.bytes(bare).dropFirst()
    }
}
