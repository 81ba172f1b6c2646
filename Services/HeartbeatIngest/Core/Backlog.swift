internal import Model

/// The batches that wait for the acknowledgements of the partitions' owners, and whether they are too many to take more heartbeats.
///
/// An owner that hangs leaves its batches here until the reconcilers forget it and another one takes over, some 12 s. That
/// must not stop the heartbeats of all others, so what counts is only what memory holds.
public struct Backlog: Sendable {
    /// What may wait: more than 20,000 heartbeats a second bring in half a minute, when nobody takes any. As values it is
    /// a few times that. Beyond it heartbeats wait at the broker.
    public static let bytesMax = 64 << 20
    /// What a batch takes besides its segments.
    static let batchBytes = 300

    private struct Batch: Sendable {
        let seq: Int
        let bytes: Int
    }

    private let bytesMax: Int
    private var waiting: [Queue<Batch>]
    /// About as many as JSON.
    public private(set) var bytes = 0
    public private(set) var isFull = false

    /// - Parameter bytesMax: what may wait; below half of it heartbeats are read again.
    public init(partitionCount: Int, bytesMax: Int = Backlog.bytesMax) {
        self.bytesMax = bytesMax
        waiting = Array(repeating: Queue(), count: partitionCount)
    }

    /// How many batches wait.
    public var count: Int { waiting.reduce(0) { $0 + $1.count } }

    /// A batch went out to a partition under this seq.
    public mutating func sent(_ seq: Int, to partition: Int, bytes: Int) {
        let batch = Batch(seq: seq, bytes: bytes + Backlog.batchBytes)
        waiting[partition].append(batch)
        self.bytes += batch.bytes
        if self.bytes > bytesMax { isFull = true }
    }

    /// All of a partition up to this seq has its acknowledgement.
    public mutating func acknowledged(_ partition: Int, upTo seq: Int) {
        while let batch = waiting[partition].first, batch.seq <= seq {
            waiting[partition].removeFirst(1)
            bytes -= batch.bytes
        }
        if bytes < bytesMax / 2 { isFull = false }
    }
}
