internal import API
internal import Lifecycle
internal import Model
public import Wire

/// Which inputs of a partition wait for which frame of its owner: one is acknowledged once everything that it caused, and that it
/// depends on, is committed.
///
/// A pure value. Entries and inputs are gathered for a turn; `flush` makes frames of them. What the owner does is counted in its
/// steps (`PartitionOwner.step`).
public struct AcknowledgementTracker: Sendable {
    /// Entries in one frame, and their size in bytes: no larger frame is made, unless of one entry that cannot be divided. The
    /// largest, an agent with all variables it may have and its order, stays below what a connection publishes.
    public static let entriesPerFrameMax = 200
    public static let frameBytesMax = 800_000

    /// A frame of some stream to the owner.
    public struct Input: Hashable, Sendable {
        public let id: StreamID
        public let seq: Int
    }

    private var entries: [StoreEntry] = []
    /// Where in `entries` what one step caused ends.
    private var ends: [(end: Int, step: Int)] = []
    /// Inputs of this turn, with the newest step that each depends on.
    private var handled: [(input: Input, step: Int)] = []
    /// Frames that are not committed, in order, with the step of their first entry.
    private var sent: [(firstStep: Int, seq: Int)] = []
    /// By stream, in order: those that wait until the frame of that seq, if any, is committed.
    private var waiting: [StreamID: Queue<(frame: Int?, seq: Int)>] = [:]

    public init() {}

    /// Whether what was added so far fills a frame: it may go out before the turn ends.
    public var fillsFrame: Bool { entries.count >= AcknowledgementTracker.entriesPerFrameMax }

    /// Something to commit.
    public mutating func add(_ entry: StoreEntry) {
        entries.append(entry)
    }

    /// All that this step of the owner has caused was added: it goes into one frame if it fits.
    public mutating func endStep(_ step: Int) {
        if entries.count > ends.last?.end ?? 0 { ends.append((entries.count, step)) }
    }

    /// An input was handled; what it depends on are entries of steps up to this one.
    public mutating func handled(_ id: StreamID, _ seq: Int, dependingOn step: Int) {
        handled.append((Input(id: id, seq: seq), step))
    }

    /// Ends a turn: hands its frames to `send`, which says the seq of each. Returns the inputs that need not wait.
    public mutating func flush(_ send: ([StoreEntry]) -> Int) -> [Input] {
        precondition(entries.count == ends.last?.end ?? 0, "what belongs to no step would be lost")
        var step = 0
        for range in AcknowledgementTracker.frames(entries.map(AcknowledgementTracker.size), ends: ends.map(\.end)) {
            while ends[step].end <= range.lowerBound { step += 1 }
            sent.append((ends[step].step, send(Array(entries[range]))))
        }
        entries.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
        for (input, step) in handled {
            let frame = sent.last { $0.firstStep <= step }
            waiting[input.id, default: Queue()].append((frame?.seq, input.seq))
        }
        handled.removeAll(keepingCapacity: true)
        return release()
    }

    /// The store has committed the frames up to this seq: the inputs to acknowledgement now.
    public mutating func committed(upTo seq: Int) -> [Input] {
        sent.removeFirst(sent.prefix { $0.seq <= seq }.count)
        return release()
    }

    /// An acknowledgement says that all before it on its stream is committed as well.
    private mutating func release() -> [Input] {
        let oldest = sent.first?.seq ?? .max
        var free: [Input] = []
        for id in waiting.keys.sorted(by: AcknowledgementTracker.precedes) {
            while let (frame, seq) = waiting[id]?.first, frame.map({ $0 < oldest }) ?? true {
                waiting[id]?.removeFirst(1)
                free.append(Input(id: id, seq: seq))
            }
            if waiting[id]?.isEmpty == true { waiting[id] = nil }
        }
        return free
    }

    private static func precedes(_ left: StreamID, _ right: StreamID) -> Bool {
        (left.service, left.instance, left.incarnation, left.stream)
            < (right.service, right.instance, right.incarnation, right.stream)
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

    /// How many bytes of JSON an entry takes at most. Texts that others have written are measured, what is left has its bounds:
    /// encoding each entry would tell exactly, and cost as much again as sending it.
    static func size(of entry: StoreEntry) -> Int {
        entry.changes.reduce(20) { $0 + size(of: $1) }
    }

    private static func size(of change: StoreChange) -> Int {
        switch change {
        case .agent(let state, let event): size(of: state) + (event == nil ? 0 : eventSize)
        case .event, .gatewayEvent, .removedGateway, .settledOrder: eventSize
        case .removal(let state, _, _): size(of: state) + eventSize + credentialSize
        case .lastSeen(let updates):
            updates.reduce(0) { $0 + lastSeenUpdateSize + self.size(of: $1.lastRejection) }
        case .seen(let seen): seen.agents.count * seenSize
        case .order(let order): self.size(of: order.value)
        case .gateway: gatewaySize
        case .credential, .boardPause, .resumedBoard: credentialSize
        case .intent: intentRecordSize
        case .answer(let answer): answerSize + size(of: answer.outcome)
        }
    }

    private static func size(of state: Carried<AgentState>) -> Int {
        state.value.map { stateSize + size(of: $0.record) + size(of: $0.cycle?.order) } ?? 0
    }

    private static func size(of outcome: CommandOutcome?) -> Int {
        switch outcome {
        case .record(let record, _): size(of: record)
        case .render(let inputs): JSON.size(of: inputs.variables)
        case .refused(let problem):
            problem.errors.reduce(JSON.size(of: problem.detail)) {
                $0 + JSON.size(of: $1.member) + JSON.size(of: $1.detail) + 30
            }
        case .members(let names): names.reduce(0) { $0 + $1.utf8.count + 3 }
        case .paused, .gateway, .gatewayRemoved, .templatesSynced, nil: 0
        }
    }

    private static func size(of record: AgentRecord) -> Int {
        var size = recordSize + JSON.size(of: record.variables) + self.size(of: record.lastRejection)
        let texts = [record.bootID, record.templatesDigestReported, record.lastProvisionError, record.note]
        for text in texts {
            if let text { size += JSON.size(of: text) }
        }
        return size
    }

    private static func size(of rejection: Rejection?) -> Int {
        rejection.map { "\"detail\":,".utf8.count + JSON.size(of: $0.detail ?? "null") } ?? 0
    }

    private static func size(of order: WakeOrder?) -> Int {
        order.map { orderSize + JSON.size(of: $0.variables) } ?? 0
    }

    // With ids, numbers and times as long as they may be.
    private static let (recordSize, stateSize, orderSize) = (2_300, 1_800, 800)
    private static let (eventSize, answerSize, intentRecordSize, gatewaySize) = (800, 700, 2_000, 1_400)
    private static let (credentialSize, lastSeenUpdateSize, seenSize) = (500, 320, 155)
}
