public import Lifecycle
internal import Model
public import Wire

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
    private static let intentRecordBytes = 2_500
    /// An agent that is not encoded yet.
    private static let agentBytes = 2_000

    /// What a grant carries: it fits into a chunk or waits for the next one.
    public enum Item: Sendable {
        case gateway(GatewayState)
        case boardPause(BoardPause)
        case tombstone(Tombstone)
        case request(RememberedRequest)
        case agent(Carried<AgentState>)

        var bytes: Int {
            switch self {
            case .gateway, .boardPause, .tombstone: itemBytes
            case .request(let request): request.intentRecord == nil ? requestBytes : intentRecordBytes
            case .agent(let state): (state.encodedSize ?? agentBytes) + 1
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
    private let bytesMax: Int
    private var items = Queue<Item>()
    private var bytes = 0
    private var requests: ArraySlice<Int64>
    private var agents: ArraySlice<Int64>
    private var nextIndex = 0

    /// - Parameters:
    ///   - first: what is sent before requests and agents: gateways come before their agents.
    ///   - requests, agents: where they lie.
    ///   - bytesMax: about how large a chunk becomes.
    public init(
        partition: Int, epoch: Int, incarnation: String, first: [Item], requests: [Int64] = [], agents: [Int64] = [],
        bytesMax: Int = GrantChunks.bytesMax
    ) {
        self.partition = partition
        self.epoch = epoch
        self.incarnation = incarnation
        self.bytesMax = bytesMax
        self.requests = requests[...]
        self.agents = agents[...]
        for item in first { add(item) }
    }

    /// The next chunk. There is always one.
    ///
    /// - Throws: what `read` throws; then nothing has changed but what was read before.
    public mutating func next<Failure: Error>(
        _ read: (Page) throws(Failure) -> [Item]
    ) throws(Failure) -> GrantChunk {
        while bytes <= bytesMax, let page = nextPage {
            for item in try read(page) { add(item) }
            pass(page)
        }
        var size = 0
        var part: [Item] = []
        while let item = items.first, size == 0 || size + item.bytes <= bytesMax {
            _ = items.popFirst()
            size += item.bytes
            part.append(item)
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
            case .agent(let state): chunk.carriedAgents.append(state)
            }
        }
        nextIndex += 1
        return chunk
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
}
