internal import API
internal import Model

/// A connection, and the request that is on it.
final class Client {
    let connection: OpaquePointer
    let socket: Int32
    /// When it is cut off: it owes a request, or takes an answer too slowly. `nil` while the program owes the answer.
    var deadline: Instant?
    var exchange: Exchange?
    /// It was refused while it may still be sending: it reads the reason only if its socket stays open for a while.
    var isRefused = false

    var isCutOff = false

    /// Nobody owes it anything: it is between two requests, or in the middle of one.
    var owesRequest: Bool {
        guard !isCutOff, !isRefused else { return false }
        switch exchange?.stage {
        case nil, .head, .body: return true
        case .waiting, .answered, .opened, .streaming: return false
        }
    }

    init(_ connection: OpaquePointer, socket: Int32, deadline: Instant) {
        self.connection = connection
        self.socket = socket
        self.deadline = deadline
    }
}

/// One request, from its first line to the end of its answer.
final class Exchange {
    enum Stage {
        /// Its first line is read. Can turn into: `body`.
        case head
        /// Its body is being read. Can turn into: `waiting`.
        case body
        /// The program has it, and the connection is suspended. Can turn into: `answered`, `opened`.
        case waiting
        /// The program has answered, and nothing more is owed.
        case answered(HTTPResponse)
        /// The program has opened a stream. Can turn into: `streaming`.
        case opened([HTTPResponse.Header])
        /// The library asks for its bytes.
        case streaming
    }

    let id: Int
    unowned let client: Client
    /// As the client sent it.
    let target: String
    var stage = Stage.head
    var isSuspended = false
    var method = ""
    var location: Target?
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []
    /// How many bytes of body have come, kept or not.
    var received = 0
    var backlog = Backlog()
    /// The stream ends with its backlog.
    var isEnding = false
    /// Its client has gone, or shall go: nothing more is read or written.
    var isSentAway = false

    init(id: Int, client: Client, target: String) {
        self.id = id
        self.client = client
        self.target = target
    }

    var isStream: Bool {
        switch stage {
        case .opened, .streaming: true
        case .head, .body, .waiting, .answered: false
        }
    }

    /// The program believes that somebody listens.
    var isOwed: Bool {
        if case .waiting = stage { return true }
        return isStream && !isEnding
    }

    var request: HTTPRequest {
        HTTPRequest(
            id: id, method: method, path: location?.path ?? [], query: location?.query ?? [], headers: headers,
            body: body)
    }
}

/// What a stream has not written yet. Streams that are told the same share its bytes.
struct Backlog {
    private var chunks = Queue<[UInt8]>()
    /// How much of the first chunk is written.
    private var offset = 0
    private(set) var count = 0

    mutating func append(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        chunks.append(bytes)
        count += bytes.count
    }

    /// Moves as much as fits into the room; how much.
    mutating func take(into room: UnsafeMutableRawBufferPointer) -> Int {
        var taken = 0
        while taken < room.count, let chunk = chunks.first {
            let part = chunk[offset...].prefix(room.count - taken)
            UnsafeMutableRawBufferPointer(rebasing: room[taken...]).copyBytes(from: part)
            taken += part.count
            offset += part.count
            if offset == chunk.count {
                chunks.removeFirst(1)
                offset = 0
            }
        }
        count -= taken
        return taken
    }
}
