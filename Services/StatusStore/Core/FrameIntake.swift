internal import API
internal import Model
internal import Storage
internal import Streams
internal import Wire

/// Takes the frames of all reconcilers, commits those of a turn together, and acknowledgements what is committed: a pure value.
struct FrameIntake {
    /// How long a turn decodes: what is left waits for the next one.
    private static let judgeLimit = TimeSpan(milliseconds: 100)
    /// After a commit that failed as a whole.
    private static let retryAfter = TimeSpan.seconds(1)
    /// After a frame that failed by itself.
    private static let attemptAfter = TimeSpan(milliseconds: 50)

    /// What a commit came to.
    struct Outcome {
        var orders: [OrderChange] = []
        var outbox: [OutboxEntry] = []
        /// Frames under an old epoch, and those that stand for an epoch that was ended.
        var refused: [ReceivedFrame] = []
        var hasDeadLettered = false
        /// The commit before this one failed, and may have worked all the same: the tables alone know what it wrote.
        var followsFailure = false
    }

    private var receiver = StreamReceiver()
    private var attempts = FrameAttempts()
    private var unjudged = Queue<StoreFrameMessage>()
    private var judgesUntil: Instant?
    /// Judged and not yet committed, in order.
    private var waiting: [ReceivedFrame] = []
    private var retryAt: Instant?
    private(set) var committedFrames: Int64 = 0
    /// Since when nothing can be committed, and why.
    private(set) var trouble = CommitTrouble()

    init(owners: [PartitionOwner], now: Instant) {
        for owner in owners where !owner.stream.isEmpty {
            let stream = StreamID(
                service: ServiceName.reconciler.rawValue, instance: owner.instance, incarnation: owner.incarnation,
                stream: owner.stream)
            receiver.restore(stream, committed: owner.appliedSeq, now: now)
        }
    }

    var isEmpty: Bool { waiting.isEmpty && unjudged.isEmpty }
    /// Whether a turn is wanted at once.
    var hasMore: Bool { !unjudged.isEmpty }
    /// When a turn is wanted.
    var wakeAt: Instant? { waiting.isEmpty ? nil : retryAt }

    mutating func received(_ message: StoreFrameMessage) {
        unjudged.append(message)
    }

    /// What was read and not yet judged is read again by whoever sent it.
    mutating func disconnected() {
        unjudged = Queue()
        receiver.dropAsks()
    }

    /// Judges the next frame; whether the turn has time for more.
    mutating func judgeNext(now: Instant, _ output: inout StoreOutput) -> Bool {
        let end = judgesUntil ?? now + FrameIntake.judgeLimit
        if let message = unjudged.popFirst() { judge(message, now, &output) }
        let goesOn = !unjudged.isEmpty && now < end
        judgesUntil = goesOn ? end : nil
        return goesOn
    }

    /// Commits what was judged; `nil` when there was nothing or it did not work.
    ///
    /// - Parameters:
    ///   - published: of the outbox, everything up to here was acknowledged.
    ///   - keptSince: the time of what is kept for a time.
    /// - Throws: when the database is damaged.
    mutating func commit(
        _ database: any StatusDatabase, published: Int64, keptSince: Timestamp, now: Instant, wallTime: Timestamp,
        _ output: inout StoreOutput
    ) throws(StorageError) -> Outcome? {
        guard !waiting.isEmpty, retryAt.map({ $0 <= now }) ?? true else { return nil }
        retryAt = nil
        let report: CommitReport
        do {
            report = try database.commit(waiting, published: published, now: keptSince)
        } catch {
            if error.kind == .corrupt { throw error }
            failed(error, now, &output)
            return nil
        }
        let troubled = trouble.worked(now: now)
        if let length = troubled {
            output.log(.commitsAgain(length))
            output.act(.announce)
        }
        var outcome = Outcome(orders: report.orders, outbox: report.outbox, followsFailure: troubled != nil)
        var again: [ReceivedFrame] = []
        for (frame, result) in zip(waiting, report.results) {
            switch result {
            case .applied, .duplicate:
                committedFrames += result == .applied ? 1 : 0
                attempts.forget(frame.stream)
                receiver.committed(frame.stream, upTo: frame.seq)
            case .refused:
                // Sent again, it is refused again, and its sender told again.
                receiver.forget(frame.stream)
                attempts.forget(frame.stream)
                outcome.refused.append(frame)
            case .blocked: again.append(frame)
            case .failed(let error):
                let isPutAside =
                    attempts.failed(frame.stream, seq: frame.seq)
                    && deadLetter(
                        DeadLetter(frame, error: error.description, at: wallTime), error, in: database, now, &outcome,
                        &output)
                if !isPutAside { again.append(frame) }
            }
        }
        waiting = again
        if !again.isEmpty { retryAt = max(retryAt ?? now, now + FrameIntake.attemptAfter) }
        return outcome
    }

    /// The acknowledgements that are owed, and the questions for what is missing.
    mutating func takeAcknowledgements() -> [StreamAcknowledgement] { receiver.takeAcknowledgements() }

    // MARK: Judging

    private mutating func judge(_ message: StoreFrameMessage, _ now: Instant, _ output: inout StoreOutput) {
        switch message {
        case .decoded(let frame): take(frame, now)
        case .bytes(let payload):
            do {
                take(try WireFormat.decode(StreamFrame<StoreFrame>.self, from: payload), now)
            } catch {
                let (member, detail) = JSON.describe(error)
                judgeUnreadable(payload, "\(member): \(detail)", now, &output)
            }
        }
    }

    private mutating func take(_ frame: StreamFrame<StoreFrame>, _ now: Instant) {
        guard receiver.accepts(frame, now: now), let body = frame.body else { return }
        waiting.append(ReceivedFrame(stream: frame.id, seq: frame.seq, frame: body))
    }

    /// A frame whose body is no `StoreFrame`: it takes its turn behind those before it, and fails.
    private mutating func judgeUnreadable(
        _ payload: [UInt8], _ error: String, _ now: Instant, _ output: inout StoreOutput
    ) {
        // Without even the frame around it nothing can be acknowledged.
        guard let frame = try? WireFormat.decode(StreamFrame<JSONValue>.self, from: payload) else {
            return output.log(.frameUnreadable(error))
        }
        guard receiver.accepts(frame, now: now) else { return }
        let number = frame.body?["partition"]?.integer.map { Int($0) }
        let epoch = frame.body?["epoch"]?.integer.map { Int($0) }
        let place = number.flatMap { number in epoch.map { (number, $0) } }
        waiting.append(
            ReceivedFrame(
                stream: frame.id, seq: frame.seq, unreadable: frame.body.map { JSON.bytes($0) } ?? [], error: error,
                place: place))
    }

    // MARK: Trouble

    /// Puts a frame aside for good. Whether that worked.
    ///
    /// It is acknowledged, so that what caused it is not repeated for ever; and its epoch is over, so that its sender
    /// forgets what it believes and takes what is stored.
    private mutating func deadLetter(
        _ letter: DeadLetter, _ reason: StorageError, in database: any StatusDatabase, _ now: Instant,
        _ outcome: inout Outcome, _ output: inout StoreOutput
    ) -> Bool {
        let (stream, seq) = (letter.frame.stream, letter.frame.seq)
        let ended: [EndedEpoch]
        do {
            ended = try database.deadLetter(letter)
        } catch {
            failed(error, now, &output)
            return false
        }
        attempts.forget(stream)
        receiver.committed(stream, upTo: seq)
        output.log(.deadLetter(stream, seq: seq, reason, partitions: ended.map(\.partition)))
        for epoch in ended {
            let over = StoreFrame(partition: epoch.partition, epoch: epoch.epoch, entries: [])
            outcome.refused.append(ReceivedFrame(stream: stream, seq: seq, frame: over))
        }
        outcome.hasDeadLettered = true
        return true
    }

    private mutating func failed(_ error: StorageError, _ now: Instant, _ output: inout StoreOutput) {
        if trouble.failed(error.message, now: now) {
            output.log(.commitFailed(error, frames: waiting.count))
            output.act(.announce)
        }
        retryAt = now + FrameIntake.retryAfter
    }
}
