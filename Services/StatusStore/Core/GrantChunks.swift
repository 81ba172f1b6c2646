public import Contract
public import Lifecycle

/// Divides what lies in a partition into messages of bounded size, one at a time: a hundred thousand agents are neither read
/// nor composed in one turn, and never held in memory together.
public struct GrantChunks: Sendable {
    /// About how large a chunk becomes.
    public static let bytesMax = 450_000
    /// Agents, or requests, read at once.
    public static let pageMax = 100
    /// What one tombstone, pause or gateway, and one remembered request take at most, roughly.
    private static let itemBytes = 400
    private static let requestBytes = 700
    /// A pause, a resume or a removal, with its names.
    private static let undertakingBytes = 2_500

    /// What a grant carries: it fits into a chunk or waits for the next one.
    public enum Item: Sendable {
        case gateway(GatewayState)
        case boardPause(BoardPause)
        case tombstone(Tombstone)
        case request(RememberedRequest)
        /// As its stored JSON.
        case agent([UInt8])

        var bytes: Int {
            switch self {
            case .gateway, .boardPause, .tombstone: itemBytes
            case .request(let request): request.undertaking == nil ? requestBytes : undertakingBytes
            case .agent(let json): json.count + 1
            }
        }
    }

    /// What is to be read next, by the places that the snapshot named.
    public enum Page: Sendable {
        case requests(ArraySlice<Int64>)
        case agents(ArraySlice<Int64>)
    }

    public let partition: Int
    public let epoch: Int
    private let incarnation: String
    private var items = Queue<Item>()
    private var bytes = 0
    private var requests: ArraySlice<Int64>
    private var agents: ArraySlice<Int64>
    private var nextIndex = 0

    /// - Parameters:
    ///   - first: what is sent before requests and agents: gateways come before their agents.
    ///   - requests, agents: where they lie.
    public init(
        partition: Int, epoch: Int, incarnation: String, first: [Item], requests: [Int64] = [], agents: [Int64] = []
    ) {
        self.partition = partition
        self.epoch = epoch
        self.incarnation = incarnation
        self.requests = requests[...]
        self.agents = agents[...]
        for item in first { add(item) }
    }

    /// The JSON of the next `ReconcilerMessage.grant`, and whether it is the last. There is always one.
    ///
    /// - Throws: what `read` throws; then nothing has changed but what was read before.
    public mutating func next<Failure: Error>(
        _ read: (Page) throws(Failure) -> [Item]
    ) throws(Failure) -> (body: [UInt8], isLast: Bool) {
        while bytes <= GrantChunks.bytesMax, let page = nextPage {
            for item in try read(page) { add(item) }
            pass(page)
        }
        var agents: [[UInt8]] = []
        var size = 0
        var part: [Item] = []
        while let item = items.first, size == 0 || size + item.bytes <= GrantChunks.bytesMax {
            _ = items.popFirst()
            size += item.bytes
            if case .agent(let json) = item { agents.append(json) } else { part.append(item) }
        }
        bytes -= size
        let isLast = items.isEmpty && nextPage == nil
        var chunk = GrantChunk(
            partition: partition, epoch: epoch, incarnation: incarnation, index: nextIndex, isLast: isLast)
        for item in part {
            switch item {
            case .gateway(let gateway): chunk.gateways.append(gateway)
            case .boardPause(let pause): chunk.boardPauses.append(pause)
            case .tombstone(let tombstone): chunk.tombstones.append(tombstone)
            case .request(let request): chunk.requests.append(request)
            case .agent: break
            }
        }
        nextIndex += 1
        return (GrantChunks.insert(agents, into: JSON.bytes(ReconcilerMessage.grant(chunk))), isLast)
    }

    private mutating func add(_ item: Item) {
        items.append(item)
        bytes += item.bytes
    }

    private var nextPage: Page? {
        if !requests.isEmpty { return .requests(requests.prefix(GrantChunks.pageMax)) }
        return agents.isEmpty ? nil : .agents(agents.prefix(GrantChunks.pageMax))
    }

    private mutating func pass(_ page: Page) {
        switch page {
        case .requests(let read): requests = requests.dropFirst(read.count)
        case .agents(let read): agents = agents.dropFirst(read.count)
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
            id: frame.id, seq: frame.seq, lowest: frame.lowest, held: frame.held, body: nil)
        return Array("{\"body\":".utf8) + body + Array(",".utf8) + JSON.bytes(bare).dropFirst()
    }
}
