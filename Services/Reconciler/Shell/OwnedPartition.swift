internal import Bus
internal import Contract
internal import Lifecycle
internal import ReconcilerCore

/// A partition that this reconciler owns, or is being given: its core, its streams, and which inputs wait for which commit.
final class OwnedPartition {
    /// Entries in one frame, and their size in bytes, estimated.
    static let entriesPerFrameMax = 200
    static let frameBytesMax = 400_000

    var owner: PartitionOwner
    let epoch: Int
    let inlet: StreamInlet<PartitionMessage>
    /// The next chunk of the snapshot; `nil` once it is complete.
    var nextChunk: Int? = 0

    private var entries: [StoreEntry] = []
    /// Where in `entries` what one input caused ends: a frame that holds a part of it holds all of it, if it fits.
    private var ends: [Int] = []
    /// Inputs of this turn, and inputs that wait until the frame of that seq is committed.
    private var handled: [(id: StreamID, seq: Int)] = []
    private var waiting: [(frame: Int, id: StreamID, seq: Int)] = []
    private var lastFrame = 0
    private var committedFrame = 0

    init(owner: PartitionOwner, epoch: Int, topics: Topics, connection: Connection?) {
        self.owner = owner
        self.epoch = epoch
        inlet = StreamInlet(topics: topics)
        inlet.connection = connection
    }

    /// One stream for each epoch: its frames are numbered from 1.
    var stream: String { "events/\(owner.partition)/\(epoch)" }
    var isComplete: Bool { nextChunk == nil }

    func add(_ entry: StoreEntry) {
        entries.append(entry)
    }

    /// All that one input caused has been added.
    func endInput() {
        if let last = ends.last ?? (entries.isEmpty ? nil : 0), last < entries.count { ends.append(entries.count) }
    }

    func handled(_ id: StreamID, _ seq: Int) {
        handled.append((id, seq))
    }

    /// Sends what this turn decided, and receipts what it did not have to wait for.
    func flush(into outlet: StreamOutlet<StoreFrame>, now: Instant) {
        for range in OwnedPartition.frames(entries.map(OwnedPartition.size), ends: ends) {
            send(Array(entries[range]), outlet, now)
        }
        entries.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        for input in handled { waiting.append((lastFrame, input.id, input.seq)) }
        handled.removeAll(keepingCapacity: true)
        release()
        inlet.publishReceipts()
    }

    /// The store has committed the frames up to this seq.
    func committed(upTo seq: Int) {
        committedFrame = max(committedFrame, seq)
        release()
        inlet.publishReceipts()
    }

    private func release() {
        var count = 0
        for input in waiting {
            guard input.frame <= committedFrame else { break }
            inlet.committed(input.id, upTo: input.seq)
            count += 1
        }
        waiting.removeFirst(count)
    }

    private func send(_ frame: [StoreEntry], _ outlet: StreamOutlet<StoreFrame>, _ now: Instant) {
        lastFrame = outlet.send(
            StoreFrame(partition: owner.partition, epoch: epoch, entries: frame), to: .store, stream: stream, now: now)
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
