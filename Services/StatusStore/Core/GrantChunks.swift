public import Contract
public import Lifecycle

/// Divides what lies in a partition into messages of bounded size.
public enum GrantChunks {
    /// About how large a chunk becomes.
    public static let bytesMax = 450_000
    /// What one tombstone, pause or gateway, and one remembered request take at most, roughly.
    private static let itemBytes = 400
    private static let requestBytes = 700
    /// A pause, a resume or a removal, with its names.
    private static let undertakingBytes = 2_500

    /// All that a grant carries; agents as their stored JSON.
    public struct Content: Sendable {
        public var agents: [[UInt8]] = []
        public var tombstones: [Tombstone] = []
        public var gateways: [GatewayState] = []
        public var boardPauses: [BoardPause] = []
        public var requests: [RememberedRequest] = []

        public init() {}
    }

    /// The JSON of each `ReconcilerMessage.grant`, in order: always at least one.
    public static func compose(
        partition: Int, epoch: Int, incarnation: String, _ content: Content
    ) -> [[UInt8]] {
        let parts = divide(content)
        return parts.enumerated().map { index, part in
            var chunk = GrantChunk(
                partition: partition, epoch: epoch, incarnation: incarnation, index: index, count: parts.count)
            chunk.tombstones = part.tombstones
            chunk.gateways = part.gateways
            chunk.boardPauses = part.boardPauses
            chunk.requests = part.requests
            return insert(part.agents, into: JSON.bytes(ReconcilerMessage.grant(chunk)))
        }
    }

    private static func divide(_ content: Content) -> [Content] {
        var parts: [Content] = []
        var part = Content()
        var size = 0
        func take(_ bytes: Int) {
            if size > 0, size + bytes > bytesMax {
                parts.append(part)
                part = Content()
                size = 0
            }
            size += bytes
        }
        for gateway in content.gateways {
            take(itemBytes)
            part.gateways.append(gateway)
        }
        for pause in content.boardPauses {
            take(itemBytes)
            part.boardPauses.append(pause)
        }
        for tombstone in content.tombstones {
            take(itemBytes)
            part.tombstones.append(tombstone)
        }
        for request in content.requests {
            take(request.undertaking == nil ? requestBytes : undertakingBytes)
            part.requests.append(request)
        }
        for agent in content.agents {
            take(agent.count + 1)
            part.agents.append(agent)
        }
        parts.append(part)
        return parts
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
            id: frame.id, seq: frame.seq, lowest: frame.lowest, held: frame.held, body: nil)
        return Array("{\"body\":".utf8) + body + Array(",".utf8) + JSON.bytes(bare).dropFirst()
    }
}
