internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage
internal import Streams

/// Takes the frames of all reconcilers, commits those of a turn together, and receipts what is committed.
final class FrameIntake {
    /// How long a turn decodes: what is left waits for the next one.
    private static let decodeLimit = TimeSpan(milliseconds: 100)
    /// After a commit that failed as a whole.
    private static let retryAfter = TimeSpan.seconds(1)
    /// After a frame that failed by itself.
    private static let attemptAfter = TimeSpan(milliseconds: 50)

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private let keeping: KeepingClock
    private var receiver = StreamReceiver()
    private var attempts = FrameAttempts()
    private var payloads: [[UInt8]] = []
    /// Judged and not yet committed, in order.
    private var waiting: [ReceivedFrame] = []
    private var retryAt: Instant?
    private(set) var committedFrames: Int64 = 0
    /// Called for each frame that came under an old epoch, and for one that ended its epoch.
    var refused: (_ frame: ReceivedFrame) -> Void = { _ in }
    /// Called when a frame was put aside.
    var buried: () -> Void = {}
    /// Since when nothing can be committed, and why.
    private(set) var trouble = CommitTrouble()

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase, _ keeping: KeepingClock, owners: [PartitionOwner]) {
        self.runtime = runtime
        self.database = database
        self.keeping = keeping
        for owner in owners where !owner.stream.isEmpty {
            let stream = StreamID(
                service: ServiceName.reconciler.rawValue, instance: owner.instance, incarnation: owner.incarnation,
                stream: owner.stream)
            receiver.restore(stream, committed: owner.appliedSeq, now: Clock.now())
        }
    }

    var isEmpty: Bool { waiting.isEmpty && payloads.isEmpty }

    func received(_ payload: [UInt8]) {
        payloads.append(payload)
    }

    /// What was read and not yet judged is read again by whoever sent it.
    func disconnected() {
        payloads.removeAll()
        receiver.dropAsks()
    }

    /// Commits what has arrived; `nil` when there was nothing or it did not work.
    ///
    /// - Throws: when the database is damaged.
    func commit(published: Int64, now: Instant) throws(StorageError) -> CommitReport? {
        judgePayloads(now)
        guard !waiting.isEmpty, retryAt.map({ $0 <= now }) ?? true else { return nil }
        retryAt = nil
        let report: CommitReport
        do {
            report = try database.commit(waiting, published: published, now: keeping.stamp(at: now))
        } catch {
            if error.kind == .corrupt { throw error }
            failed(error, now)
            return nil
        }
        worked(now)
        var again: [ReceivedFrame] = []
        for (frame, result) in zip(waiting, report.results) {
            if settle(frame, result, now) { again.append(frame) }
        }
        waiting = again
        if !again.isEmpty {
            retryAt = max(retryAt ?? now, now + FrameIntake.attemptAfter)
            runtime.loop.after(FrameIntake.attemptAfter) {}
        }
        return report
    }

    /// Publishes the receipts that are owed, and asks for what is missing.
    func publishReceipts(on connection: Connection) {
        guard connection.isConnected else { return }
        for receipt in receiver.takeReceipts() { publish(receipt, on: connection) }
    }

    // MARK: Inside

    /// Notes what became of a frame. Whether it is to be tried again.
    private func settle(_ frame: ReceivedFrame, _ result: FrameResult, _ now: Instant) -> Bool {
        switch result {
        case .applied, .duplicate:
            committedFrames += result == .applied ? 1 : 0
            attempts.forget(frame.stream)
            receiver.committed(frame.stream, upTo: frame.seq)
            return false
        case .refused:
            // Sent again, it is refused again, and its sender told again.
            receiver.forget(frame.stream)
            attempts.forget(frame.stream)
            refused(frame)
            return false
        case .heldBack: return true
        case .failed(let error):
            guard attempts.failed(frame.stream, seq: frame.seq) else { return true }
            return !bury(frame, error, now)
        }
    }

    private func judgePayloads(_ now: Instant) {
        guard !payloads.isEmpty else { return }
        let end = Clock.now() + FrameIntake.decodeLimit
        var count = 0
        for payload in payloads {
            judge(payload, now)
            count += 1
            if Clock.now() >= end { break }
        }
        payloads.removeFirst(count)
        if !payloads.isEmpty { runtime.loop.after(.zero) {} }
    }

    private func judge(_ payload: [UInt8], _ now: Instant) {
        do {
            let frame = try JSON.decode(StreamFrame<StoreFrame>.self, from: payload)
            guard receiver.accepts(frame, now: now), let body = frame.body else { return }
            waiting.append(ReceivedFrame(stream: frame.id, seq: frame.seq, frame: body))
        } catch {
            let (member, detail) = JSON.describe(error)
            judgeUnreadable(payload, "\(member): \(detail)", now)
        }
    }

    /// A frame whose body is no `StoreFrame`: it takes its turn behind those before it, and fails.
    private func judgeUnreadable(_ payload: [UInt8], _ error: String, _ now: Instant) {
        // Without even the frame around it nothing can be receipted.
        guard let frame = try? JSON.decode(StreamFrame<JSONValue>.self, from: payload) else {
            runtime.log.event("store.frame_unreadable", .error, ["error": LogValue(error)])
            return
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

    /// Puts a frame aside for good. Whether that worked.
    ///
    /// It is receipted, so that what caused it is not repeated for ever; and its epoch is over, so that its sender
    /// forgets what it believes and takes what is stored.
    private func bury(_ frame: ReceivedFrame, _ error: StorageError, _ now: Instant) -> Bool {
        let ended: [EndedEpoch]
        do {
            ended = try database.bury(DeadLetter(frame, error: error.description, at: Clock.stamp()))
        } catch {
            failed(error, now)
            return false
        }
        let stream = frame.stream
        attempts.forget(stream)
        receiver.committed(stream, upTo: frame.seq)
        runtime.log.event(
            "store.dead_letter", .error,
            [
                "stream": LogValue("\(stream.instance)/\(stream.incarnation)/\(stream.stream)"),
                "seq": LogValue(frame.seq), "error": LogValue(error),
                "partitions": LogValue(ended.map { String($0.partition) }.joined(separator: ",")),
            ])
        for epoch in ended {
            let over = StoreFrame(partition: epoch.partition, epoch: epoch.epoch, entries: [])
            refused(ReceivedFrame(stream: stream, seq: frame.seq, frame: over))
        }
        buried()
        return true
    }

    // MARK: Trouble

    private func failed(_ error: StorageError, _ now: Instant) {
        if trouble.failed(error.message, now: now) {
            var members: [(key: String, value: LogValue)] = [
                ("error", LogValue(error)), ("frames", LogValue(waiting.count)),
            ]
            if let advice = error.kind.advice { members.append(("advice", LogValue(advice))) }
            runtime.log.event("store.commit_failed", .error, members)
            runtime.announce()
        }
        retryAt = now + FrameIntake.retryAfter
        runtime.loop.after(FrameIntake.retryAfter) {}
    }

    private func worked(_ now: Instant) {
        guard let length = trouble.worked(now: now) else { return }
        runtime.log.event("store.commits_again", .info, ["seconds": LogValue(length.seconds)])
        runtime.announce()
    }

    private func publish(_ receipt: StreamReceipt, on connection: Connection) {
        let topic = runtime.topics.receipts(service: receipt.id.service, instance: receipt.id.instance)
        // Lost with the connection: the sender repeats its frame and is receipted again.
        _ = try? connection.publish(Publication(topic: topic, payload: JSON.bytes(receipt)))
    }
}
