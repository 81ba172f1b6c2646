public import API
public import Model
public import Wire

/// Gathers heartbeats into batches, one open batch for each partition.
///
/// A batch is closed when it is full or `waitMax` old, whichever comes first. Its segments keep the order of reception;
/// plain heartbeats of the same received millisecond and the same gateway that follow one another share one.
public struct BatchCollector: Sendable {
    public static let segmentsMax = 256
    /// What the owner does about a batch is done in one turn: all of its agents may come online by it.
    public static let namesMax = 1_000
    /// Estimated bytes of a batch as JSON: one frame stays below half of `Limits.messageBytesMax`.
    public static let bytesMax = 400_000
    /// How long a heartbeat waits for others.
    public static let waitMax = TimeSpan(milliseconds: 20)

    /// A closed batch on its way to the owner of a partition.
    public struct Closed: Sendable {
        public let partition: Int
        public let batch: HeartbeatBatch
        /// About as many as JSON.
        public let bytes: Int
    }

    private struct Open: Sendable {
        var segments: [HeartbeatBatch.Segment] = []
        /// When each segment was received, on the monotonic clock.
        var received: [Instant] = []
        var names = 0
        var bytes = 0

        var isFull: Bool { segments.count >= segmentsMax || names >= namesMax || bytes >= bytesMax }
    }

    private var open: [Open]
    private var closed: [(partition: Int, content: Open)] = []

    public init(partitionCount: Int) {
        open = Array(repeating: Open(), count: partitionCount)
    }

    public var isEmpty: Bool { closed.isEmpty && open.allSatisfy(\.segments.isEmpty) }

    /// Adds a heartbeat that says nothing but that its agent is well.
    ///
    /// - Parameter gateway: the gateway that `name` is inside of; `nil` when `name` is a full address.
    public mutating func add(
        _ name: String, gateway: String?, partition: Int, at wallTime: Timestamp, received: Instant
    ) {
        let size = name.utf8.count + 1
        if !extendLast(&open[partition], name, gateway, wallTime, received) {
            append(
                HeartbeatBatch.Segment(
                    at: wallTime.millisecondsSince1970, age: 0, gateway: gateway, names: NameRun([name]), detail: nil),
                bytes: 0, partition, received)
        }
        open[partition].names += 1
        open[partition].bytes += size
        if open[partition].isFull { close(partition) }
    }

    /// Adds the heartbeats of one gateway message, as one segment where they fit.
    public mutating func add(
        _ names: NameRun, gateway: String, partition: Int, at wallTime: Timestamp, received: Instant
    ) {
        for part in names.parts(of: BatchCollector.namesMax) {
            if open[partition].names + part.count > BatchCollector.namesMax { close(partition) }
            append(
                HeartbeatBatch.Segment(
                    at: wallTime.millisecondsSince1970, age: 0, gateway: gateway, names: part, detail: nil),
                bytes: part.byteCount, partition, received)
            open[partition].names += part.count
            if open[partition].isFull { close(partition) }
        }
    }

    /// Adds a heartbeat that says more, or one that is rejected.
    public mutating func add(_ detail: HeartbeatDetail, partition: Int, at wallTime: Timestamp, received: Instant) {
        append(
            HeartbeatBatch.Segment(
                at: wallTime.millisecondsSince1970, age: 0, gateway: nil, names: NameRun(), detail: detail),
            bytes: BatchCollector.estimatedBytes(detail), partition, received)
        if open[partition].isFull { close(partition) }
    }

    /// What is to be sent now: the full batches and those that waited long enough, or all of them.
    public mutating func take(now: Instant, all: Bool) -> [Closed] {
        for partition in open.indices {
            guard let oldest = open[partition].received.first else { continue }
            if all || now.milliseconds(since: oldest) >= BatchCollector.waitMax.milliseconds {
                close(partition)
            }
        }
        defer { closed = [] }
        return closed.map { partition, content in
            var batch = HeartbeatBatch(segments: content.segments)
            // As of now: a batch that was full may have waited while this process stood still.
            for (index, received) in content.received.enumerated() {
                batch.segments[index].age = max(0, now.milliseconds(since: received))
            }
            return Closed(partition: partition, batch: batch, bytes: content.bytes)
        }
    }

    private func extendLast(
        _ open: inout Open, _ name: String, _ gateway: String?, _ wallTime: Timestamp, _ received: Instant
    ) -> Bool {
        let last = open.segments.count - 1
        guard last >= 0, open.segments[last].at == wallTime.millisecondsSince1970, open.segments[last].detail == nil,
            open.segments[last].gateway == gateway, received.milliseconds(since: open.received[last]) < 1
        else { return false }
        open.segments[last].names.append(name)
        return true
    }

    private mutating func append(
        _ segment: HeartbeatBatch.Segment, bytes: Int, _ partition: Int, _ received: Instant
    ) {
        open[partition].segments.append(segment)
        open[partition].received.append(received)
        open[partition].bytes += bytes + 60 + (segment.gateway?.utf8.count ?? 0)
    }

    private mutating func close(_ partition: Int) {
        guard !open[partition].segments.isEmpty else { return }
        closed.append((partition, open[partition]))
        open[partition] = Open()
    }

    /// An upper bound in practice: free text may grow by escapes, which its own limits keep small.
    private static func estimatedBytes(_ detail: HeartbeatDetail) -> Int {
        let texts = [detail.bootID, detail.templatesDigest, detail.note, detail.rejectionDetail]
        return 260 + 2 * Identifier.lengthMax + 6 * texts.reduce(0) { $0 + ($1?.utf8.count ?? 0) }
            + (detail.tokenDigest?.utf8.count ?? 0)
    }
}
