public import Contract
internal import Lifecycle

/// Which inputs of a partition wait for which frame of its owner: one is receipted once everything it caused is committed.
///
/// A pure value. Entries and inputs are gathered for a turn; `flush` makes frames of them.
public struct CommitLedger: Sendable {
    /// Entries in one frame, and their size in bytes, estimated.
    public static let entriesPerFrameMax = 200
    public static let frameBytesMax = 400_000

    /// A frame of some stream to the owner.
    public struct Input: Hashable, Sendable {
        public let id: StreamID
        public let seq: Int
    }

    private var entries: [StoreEntry] = []
    /// Where in `entries` what one input caused ends.
    private var ends: [Int] = []
    /// Inputs of this turn, and inputs that wait until the frame of that seq is committed.
    private var handled: [Input] = []
    private var waiting: [(frame: Int, input: Input)] = []
    private var lastFrame = 0
    private var committedFrame = 0

    public init() {}

    /// Whether what was added so far fills a frame: it may go out before the turn ends.
    public var fillsFrame: Bool { entries.count >= CommitLedger.entriesPerFrameMax }

    /// Something to commit.
    public mutating func add(_ entry: StoreEntry) {
        entries.append(entry)
    }

    /// All that one input, or the time, has caused was added: it goes into one frame if it fits.
    public mutating func endInput() {
        if entries.count > ends.last ?? 0 { ends.append(entries.count) }
    }

    /// An input was handled; what it caused was added before.
    public mutating func handled(_ id: StreamID, _ seq: Int) {
        handled.append(Input(id: id, seq: seq))
    }

    /// Ends a turn: hands its frames to `send`, which says the seq of each. Returns the inputs that need not wait.
    public mutating func flush(_ send: ([StoreEntry]) -> Int) -> [Input] {
        endInput()
        for range in CommitLedger.frames(entries.map(CommitLedger.size), ends: ends) {
            lastFrame = send(Array(entries[range]))
        }
        entries.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        for input in handled { waiting.append((lastFrame, input)) }
        handled.removeAll(keepingCapacity: true)
        return release()
    }

    /// The store has committed the frames up to this seq: the inputs to receipt now.
    public mutating func committed(upTo seq: Int) -> [Input] {
        committedFrame = max(committedFrame, seq)
        return release()
    }

    private mutating func release() -> [Input] {
        let free = waiting.prefix { $0.frame <= committedFrame }.map(\.input)
        waiting.removeFirst(free.count)
        return free
    }

    /// Divides entries of these sizes into frames. What one input caused (up to each of `ends`) stays together, since a crash
    /// may come between two frames; only what is too much for one is divided.
    static func frames(_ sizes: [Int], ends: [Int]) -> [Range<Int>] {
        var frames: [Range<Int>] = []
        var (first, size, begin) = (0, 0, 0)
        func fits(_ count: Int, _ bytes: Int) -> Bool { count <= entriesPerFrameMax && bytes <= frameBytesMax }
        for end in ends where end > begin {
            let bytes = sizes[begin..<end].reduce(0, +)
            if begin > first, !fits(end - first, size + bytes) {
                frames.append(first..<begin)
                (first, size) = (begin, 0)
            }
            if fits(end - first, size + bytes) {
                size += bytes
            } else {
                for index in begin..<end {
                    if index > first, !fits(index + 1 - first, size + sizes[index]) {
                        frames.append(first..<index)
                        (first, size) = (index, 0)
                    }
                    size += sizes[index]
                }
            }
            begin = end
        }
        if begin > first { frames.append(first..<begin) }
        return frames
    }

    private static func size(of entry: StoreEntry) -> Int {
        let variables = entry.state?.record.variables.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count } ?? 0
        return 2_000 + 4 * variables + (entry.sightings?.count ?? 0) * 250 + (entry.seen?.agents.count ?? 0) * 145
            - (entry.state == nil ? 1_900 : 0)
    }
}
