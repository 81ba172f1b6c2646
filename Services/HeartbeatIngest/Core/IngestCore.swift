public import API
public import Model
internal import Streams
internal import Wire

/// Takes all heartbeats, judges their form and hands them to the owners of the partitions in batches, each kept until
/// its acknowledgement: all that an ingest decides, its streams, subscriptions and its end included.
///
/// A pure value: inputs and the time go in, actions come out. Its hosts are `HeartbeatIngest` and the simulator. It subscribes
/// once `SubscriptionGate` lets it.
public struct IngestCore: Sendable {
    /// Batches under way to one partition: what a turn of its owner takes at most, whatever they bring.
    public static let windowMax = 4
    /// Dismissals logged in one second; the others are counted.
    public static let dismissalsLoggedMax = 20
    /// Without an acknowledgement of its presence for so long this ingest takes no heartbeats: it ends its subscription before the
    /// reconcilers forget it (`Observability.presenceLimit`).
    public static let acknowledgementLimit = TimeSpan.seconds(5)
    /// What lies unread on a paused subscription for longer is too old to be believed.
    public static let pauseLimit = TimeSpan.seconds(1)

    private let topics: Topics
    private let instance: String
    private let incarnation: String
    private let backlogBytesMax: Int
    private var senders: StreamSenders<PartitionMessage>
    private var intake: HeartbeatIntake?
    private var backlog = Backlog(partitionCount: 0)
    private var subscription = HeartbeatSubscription()
    private var streams: [String] = []
    private var gate = SubscriptionGate()
    private var noted: CrashLoopBackoff?
    private var isConnected = false
    private var acknowledgedAt: Instant?
    private var isWaiting = false
    private var isStopping = false
    private var isDrained = false
    private var dismissalsLogged = 0
    private var dismissalsSuppressed = 0
    /// When a turn is to end again, since heartbeats wait for their batch.
    public private(set) var wakeAt: Instant?

    // The time of the input that is handled.
    private var now = Instant(nanoseconds: 0)
    private var wallTime = Timestamp(millisecondsSince1970: 0)

    /// - Parameters:
    ///   - incarnation: names this incarnation.
    ///   - windowMax: batches under way to one partition.
    ///   - backlogBytesMax: what may wait for acknowledgements before reading stops.
    public init(
        topics: Topics, instance: String, incarnation: String, windowMax: Int = IngestCore.windowMax,
        backlogBytesMax: Int = Backlog.bytesMax
    ) {
        self.topics = topics
        self.instance = instance
        self.incarnation = incarnation
        self.backlogBytesMax = backlogBytesMax
        senders = StreamSenders(
            service: .heartbeatIngest, instance: instance, incarnation: incarnation, windowMax: windowMax)
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: IngestInput, now: Instant, wallTime: Timestamp, into actions: inout [IngestAction]
    ) {
        self.now = now
        self.wallTime = wallTime
        switch input {
        case .heartbeatsReceived(let message, let at): take(message, at, &actions)
        case .connected: connected(&actions)
        case .disconnected: disconnected(&actions)
        case .stalled: gate.stalled(now: now, wallTime: wallTime)
        case .acknowledgementReceived(let acknowledgement): acknowledged(acknowledgement)
        case .presenceReceived(let presence): heard(presence, &actions)
        case .presenceAcknowledged(let announcedAt): acknowledgedAt = announcedAt
        case .noteFound(let note): if gate.past == nil { noted = note }
        case .notesEnded:
            guard gate.past == nil else { break }
            gate.found(noted, now: now, wallTime: wallTime)
            if let past = gate.past { actions.append(.note(past)) }
        case .questionReceived(let question):
            // Without a subscription that stands nothing can be proven yet: the question comes again.
            if subscription.mayHoldHeartbeats {
                subscription.ask(question, now: now, into: &actions)
            } else {
                answer(question, &actions)
            }
        case .subscriptionConnected: subscription.connected(into: &actions)
        case .subscriptionAnswered(let refused):
            guard subscription.subscribed(refused: refused) else { break }
            gate.subscribed()
            actions.append(.announce)
        case .subscriptionLost: if subscription.lost() { subscriptionEnded(&actions) }
        case .canaryReceived(let canary):
            if let question = subscription.received(canary, now: now) { answer(question, &actions) }
        case .ticked: tick(&actions)
        case .secondPassed:
            intake?.beginSecond()
            logSuppressed(&actions)
        case .turnEnded: endTurn(&actions)
        case .stopRequested: isStopping = true
        }
        let frames = senders.takeFrames()
        if isConnected { for frame in frames { actions.append(.send(frame)) } }
    }

    /// The subscription to heartbeats that stands; `nil` while none does.
    public var heartbeatSession: Int? { subscription.session }

    /// What its presence says besides.
    public func describe(_ presence: inout Presence) {
        presence.heartbeatSession = subscription.session
        presence.warn(senders.warning(now: now))
        presence.warn(
            intake?.overdrafts.warning("the broker refuses messages beyond the budgets of", now: now))
    }

    /// Bytes of batches that wait for their acknowledgements.
    public var backlogBytes: Int { backlog.bytes }

    /// What was received since the start.
    public var counters: HeartbeatIntake.Counters { intake?.counters ?? HeartbeatIntake.Counters() }

    public var metrics: [Metric] {
        counters.metrics + [
            Metric(
                "rollcall_canary_round_trip_seconds", "From a canary to its return behind all heartbeats before it.",
                subscription.roundTrips),
            .unacknowledged([("batches", Int64(senders.unacknowledgedCount))]),
        ]
    }

    // MARK: The connection to the owners

    private mutating func connected(_ actions: inout [IngestAction]) {
        isConnected = true
        actions.append(.subscribe)
        // Of what is retained there the first incarnation's question comes behind it: then all is known that there is to know.
        actions.append(gate.past.map { .note($0) } ?? .askForNotes)
        senders.reconnected(now: now)
    }

    private mutating func disconnected(_ actions: inout [IngestAction]) {
        isConnected = false
        acknowledgedAt = nil
        // Owners may be told that this ingest is gone: it receives nothing until they know it again.
        abandonSubscription(reason: "the connection to the owners was lost", &actions)
        gate.closed(now: now)
    }

    /// The store's presence tells how many partitions there are: only then heartbeats can be taken.
    private mutating func heard(_ presence: Presence, _ actions: inout [IngestAction]) {
        if presence.service == ServiceName.heartbeatIngest.rawValue, presence.instance != instance {
            gate.heard(presence, now: now)
        }
        // Its owner is there now: the introductions that nobody took are not left to their next repeat.
        if presence.service == ServiceName.reconciler.rawValue, gate.isIntroducing, !gate.isAcknowledged {
            senders.reconnected(now: now)
        }
        guard presence.service == ServiceName.statusStore.rawValue, let count = presence.partitionCount,
            (1...Partition.countMax).contains(count)
        else { return }
        if let intake {
            guard intake.partitionCount != count else { return }
            return actions.append(.fail("the store has \(count) partitions, it had \(intake.partitionCount)"))
        }
        intake = HeartbeatIntake(topics: topics, partitionCount: count)
        backlog = Backlog(partitionCount: count, bytesMax: backlogBytesMax)
        streams = (0..<count).map { "batches/\($0)" }
    }

    private mutating func acknowledged(_ acknowledgement: StreamAcknowledgement) {
        guard let progress = senders.receive(acknowledgement, now: now),
            case .partition(let partition) = progress.destination
        else { return }
        backlog.acknowledged(partition, upTo: progress.upTo)
        gate.acknowledged(partition, upTo: progress.upTo)
    }

    private mutating func tick(_ actions: inout [IngestAction]) {
        senders.tick(now: now)
        if subscription.isStale(now: now, after: IngestCore.pauseLimit) {
            abandonSubscription(reason: "its batches are not acknowledged", &actions)
        }
        guard subscription.isOpen, !isAcknowledged else { return }
        abandonSubscription(reason: "the broker does not acknowledge this ingest's presence", &actions)
    }

    /// Whether the broker has lately acknowledged, on this connection, what this ingest says: one that is half open shows by
    /// it long before its keepalive.
    private var isAcknowledged: Bool { acknowledgedAt.map { now <= $0 + IngestCore.acknowledgementLimit } ?? false }

    // MARK: The subscription

    /// Introduces the next subscription when it is time, and opens it once every owner has acknowledged it.
    private mutating func admit(_ actions: inout [IngestAction]) {
        guard intake != nil, !isStopping, !subscription.isPaused, isConnected, isAcknowledged else { return }
        if gate.isAcknowledged {
            gate.opened()
            let end = HeartbeatSubscriptionEnded(
                ingest: instance, incarnation: incarnation, subscription: gate.subscription)
            return subscription.open(gate.subscription, end: end, into: &actions)
        }
        noteWait(&actions)
        guard let number = gate.begin(now: now) else { return }
        for (partition, stream) in streams.enumerated() {
            let seq = senders.send(
                .introduction(subscription: number), to: .partition(partition), stream: stream, now: now)
            gate.introduced(to: partition, seq: seq)
        }
    }

    private mutating func noteWait(_ actions: inout [IngestAction]) {
        let wait = gate.wait(now: now)
        if let wait, !isWaiting { actions.append(.log(.subscriptionDelayed(wait))) }
        isWaiting = wait != nil
    }

    private mutating func abandonSubscription(reason: String, _ actions: inout [IngestAction]) {
        if subscription.abandon(reason: reason, into: &actions) { subscriptionEnded(&actions) }
    }

    private mutating func subscriptionEnded(_ actions: inout [IngestAction]) {
        gate.closed(now: now)
        actions.append(.announce)
    }

    /// Stops reading while more waits for the owners than memory is to hold, and begins again.
    private mutating func steer(_ actions: inout [IngestAction]) {
        guard subscription.isPaused != backlog.isFull else { return }
        if backlog.isFull {
            subscription.pause(now: now, into: &actions)
            actions.append(.log(.readingPaused(kept: backlog.count)))
        } else {
            subscription.resume(into: &actions)
            actions.append(.log(.readingResumed(kept: backlog.count)))
        }
    }

    // MARK: Heartbeats

    private mutating func take(_ message: HeartbeatMessage, _ at: Instant, _ actions: inout [IngestAction]) {
        switch message {
        case .bytes(let topic, let payload, let tokenDigest, let asker):
            let dismissal = intake?.receive(
                topic: topic, payload: payload, tokenDigest: tokenDigest, asker: asker, at: wallTime, now: at)
            if let dismissal { dismiss(dismissal, &actions) }
        case .decoded(let detail): intake?.receive(detail, at: wallTime, now: at)
        }
    }

    private mutating func dismiss(_ dismissal: HeartbeatIntake.Dismissal, _ actions: inout [IngestAction]) {
        guard dismissalsLogged < IngestCore.dismissalsLoggedMax else {
            dismissalsSuppressed += dismissal.count
            return
        }
        dismissalsLogged += 1
        actions.append(.log(.rejected(dismissal)))
    }

    private mutating func logSuppressed(_ actions: inout [IngestAction]) {
        if dismissalsSuppressed > 0 { actions.append(.log(.rejectedBesides(dismissalsSuppressed))) }
        dismissalsLogged = 0
        dismissalsSuppressed = 0
    }

    private mutating func flush(all: Bool) {
        for closed in intake?.takeBatches(now: now, all: all) ?? [] {
            let seq = senders.send(
                .batch(closed.batch), to: .partition(closed.partition), stream: streams[closed.partition], now: now)
            backlog.sent(seq, to: closed.partition, bytes: closed.bytes)
        }
    }

    /// The canary is back: what came before it goes out, and the owner is told up to where.
    private mutating func answer(_ question: BarrierQuestion, _ actions: inout [IngestAction]) {
        flush(all: true)
        var batches: [String: Int] = [:]
        for (partition, stream) in streams.enumerated() {
            if let newest = senders.newestUnacknowledged(stream: stream) { batches[String(partition)] = newest }
        }
        let answer = BarrierAnswer(
            number: question.number, ingest: instance, incarnation: incarnation, session: subscription.session,
            batches: batches, isStopping: isStopping)
        // Behind the batches that it names. Lost with the connection: the owner is suspended until it is answered again.
        for frame in senders.takeFrames() where isConnected { actions.append(.send(frame)) }
        if isConnected { actions.append(.answer(answer, to: question.reconciler)) }
    }

    // MARK: Turns and the end

    private mutating func endTurn(_ actions: inout [IngestAction]) {
        flush(all: false)
        steer(&actions)
        admit(&actions)
        if isStopping, !isDrained { drain(&actions) }
        guard let intake, !intake.isEmpty else {
            wakeAt = nil
            return
        }
        if wakeAt.map({ $0 <= now }) ?? true { wakeAt = now + BatchCollector.waitMax }
    }

    private mutating func drain(_ actions: inout [IngestAction]) {
        if intake != nil {
            guard subscription.drain(into: &actions) else { return }
            flush(all: true)
            // Introductions are nothing to hand over.
            guard backlog.count == 0 else { return }
            actions.append(.closeSubscription)
        }
        if let past = gate.past { actions.append(.note(past.ended())) }
        isDrained = true
        actions.append(.drained)
    }
}
