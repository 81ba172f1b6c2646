public import API
internal import Lifecycle
public import Model
public import Streams
public import Wire

/// Owns partitions, keeps their deadlines and decides: all that a reconciler does about its streams, its subscriptions, its
/// verdicts and its end.
///
/// Pure: inputs and the time go in, actions come out. Its hosts are `ReconcilerService` and the simulator; neither copies it, since
/// its partitions are objects. What it reads is acknowledged once all that it caused is committed by the store.
public struct ReconcilerCore<Owner: PartitionOwning> {
    private let instance: String
    private let incarnation: String
    private let room: Backpressure
    private let makeOwner: (_ partition: Int, _ epoch: Int) -> Owner
    /// By number.
    private var partitions: [OwnedPartition<Owner>] = []
    private var senders: StreamSenders<StoreFrame>
    private var grants = StreamReceiver()
    private var gate: VerdictGate
    /// What gateways have said in this session.
    private var gatewayStatus: [String: GatewayStatusMessage] = [:]
    private var isConnected = false
    private var isStopping = false
    private var droppedMessages: Int64 = 0
    private var finishedCounters = PartitionCounters()
    private var deferrals: [LifecycleLog.Deferral: Int64] = [:]
    private var takeovers: Int64 = 0
    private var commits = Histogram(bounds: Histogram.commitBounds)
    /// The partition that worked last: the others come first now.
    private var workedLast = -1
    private var directives: [PartitionDirective] = []

    // The time of the input that is handled.
    private var now: Instant
    private var wallTime: Timestamp

    /// - Parameters:
    ///   - incarnation: names this incarnation.
    ///   - windowMax: frames of one partition under way to the store at once.
    ///   - windowOfAll: those of all partitions: of 200 entries each, which take 12 ms to encode and as long to commit.
    ///   - makeOwner: makes the owner of a partition under an epoch.
    public init(
        instance: String, incarnation: String, windowMax: Int = StreamSender<StoreFrame>.windowMax,
        windowOfAll: Int = 32, room: Backpressure = Backpressure(), limits: ObservabilityLimits = ObservabilityLimits(),
        now: Instant,
        wallTime: Timestamp, makeOwner: @escaping (_ partition: Int, _ epoch: Int) -> Owner
    ) {
        self.instance = instance
        self.incarnation = incarnation
        self.room = room
        self.makeOwner = makeOwner
        self.now = now
        self.wallTime = wallTime
        senders = StreamSenders(
            service: .reconciler, instance: instance, incarnation: incarnation, windowMax: windowMax,
            windowOfAll: windowOfAll)
        gate = VerdictGate(limits: limits, now: now, wallTime: wallTime)
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: ReconcilerInput, now: Instant, wallTime: Timestamp, into actions: inout [ReconcilerAction]
    ) {
        self.now = now
        self.wallTime = wallTime
        switch input {
        case .connected: connected(&actions)
        case .subscribed: gate.subscribed()
        case .disconnected:
            isConnected = false
            gate.disconnected()
            evaluateObservability(&actions)
        case .frameReceived(let frame, let number): take(frame, number, &actions)
        case .unreadFrameReceived(let unread): skip(unread, &actions)
        case .grantReceived(let frame): take(frame, &actions)
        case .acknowledgementReceived(let acknowledgement): acknowledged(acknowledgement, &actions)
        case .presenceReceived(let presence, let isRetained):
            guard presence.service == ServiceName.heartbeatIngest.rawValue else { break }
            gate.received(presence, isRetained: isRetained, now: now)
            evaluateObservability(&actions)
        case .subscriptionEnded(let end, let isRetained):
            gate.ended(end, isRetained: isRetained)
            evaluateObservability(&actions)
        case .answerReceived(let answer):
            gate.received(answer, now: now)
            evaluateObservability(&actions)
        case .gatewayStatusReceived(let gateway, let message):
            gatewayStatus[gateway] = message
            tellAll(.gatewayStatusReceived(gateway: gateway, message), &actions)
        case .ticked:
            evaluateObservability(&actions)
            if let (number, ingests) = gate.askAgain(now: now) { ask(ingests, number, &actions) }
            senders.tick(now: now)
        case .turnEnded: endTurn(&actions)
        case .sliceBegan: work(&actions)
        case .stopRequested:
            guard !isStopping else { break }
            isStopping = true
            for partition in partitions { actions.append(.unsubscribePartition(partition.number)) }
        }
        takeFrames(&actions)
    }

    /// Whether all that was decided is committed, once it is to stop.
    public var isDrained: Bool { isStopping && senders.unacknowledgedCount == 0 }

    /// Whether a slice of the work is due and the store has room for it.
    public func hasWork(now: Instant) -> Bool {
        !isStopping && hasRoom(now) && partitions.contains { $0.hasWork(now: now) }
    }

    /// When a turn is to end again. Without room for the work the next acknowledgement is the time.
    public func wakeAt(now: Instant) -> Instant? {
        guard !isStopping else { return nil }
        let verdict = nextVerdict.flatMap { gate.next($0) }
        let isRoom = hasRoom(now)
        return partitions.reduce(verdict) { next, partition in
            guard partition.isComplete else { return next }
            let work = isRoom ? partition.owner.nextWork : nil
            return [next, partition.owner.nextDue, work].compactMap { $0 }.min()
        }
    }

    /// What its presence says besides.
    public func describe(_ presence: inout Presence, now: Instant) {
        let owned = partitions.filter { $0.isComplete }
        presence.partitions = Dictionary(uniqueKeysWithValues: owned.map { (String($0.number), $0.epoch) })
        gate.describe(&presence, now: now)
        presence.warn(senders.warning(now: now))
    }

    public func counters(now: Instant) -> ReconcilerCounters {
        var counters = ReconcilerCounters(
            owners: finishedCounters, commits: commits, barrierWaits: gate.waits, deferrals: deferrals,
            droppedMessages: droppedMessages, takeovers: takeovers, suspensions: gate.suspensionCount,
            suspended: gate.suspended(now: now), isSuspended: gate.isSuspended,
            unacknowledged: Int64(senders.unacknowledgedCount))
        for partition in partitions {
            counters.owners.add(partition.owner.counters)
            counters.fleet.add(partition.owner.tally)
            counters.partitions += partition.isComplete ? 1 : 0
        }
        return counters
    }

    /// Since when frames have waited for the store and none was acknowledged.
    package var stuckSince: Instant? { senders.stuckSince }

    // MARK: The connection

    private mutating func connected(_ actions: inout [ReconcilerAction]) {
        isConnected = true
        gatewayStatus = [:]
        tellAll(.sessionBegan, &actions)
        actions.append(.subscribe(partitions: partitions.filter { $0.isComplete }.map { $0.number }))
        senders.reconnected(now: now)
    }

    private mutating func acknowledged(_ acknowledgement: StreamAcknowledgement, _ actions: inout [ReconcilerAction]) {
        guard let progress = senders.receive(acknowledgement, now: now),
            let index = partitions.firstIndex(where: { $0.stream == progress.stream })
        else { return }
        partitions[index].committed(upTo: progress.upTo, now: now, &commits)
        takeAcknowledgements(index, &actions)
    }

    private mutating func takeFrames(_ actions: inout [ReconcilerAction]) {
        let frames = senders.takeFrames()
        // Without a connection they are kept, and go out on the next one.
        if isConnected { for frame in frames { actions.append(.send(frame)) } }
    }

    private mutating func takeAcknowledgements(_ index: Int, _ actions: inout [ReconcilerAction]) {
        for acknowledgement in partitions[index].receiver.takeAcknowledgements() {
            actions.append(.acknowledgement(acknowledgement))
        }
        for answer in partitions[index].takeAnswers() { actions.append(.answer(answer)) }
    }

    private func index(of number: Int) -> Int? { partitions.firstIndex { $0.number == number } }

    // MARK: What partitions are told

    private mutating func take(
        _ frame: StreamFrame<PartitionMessage>, _ number: Int, _ actions: inout [ReconcilerAction]
    ) {
        guard !isStopping, let index = index(of: number), partitions[index].isComplete,
            partitions[index].receiver.accepts(frame, now: now), let body = frame.body
        else { return }
        let frameAge = TimeSpan(milliseconds: frame.age)
        switch body {
        case .request(let request): tell(.requestReceived(request, frameAge: frameAge), index, &actions)
        case .report(let report): tell(.reportReceived(report, frameAge: frameAge), index, &actions)
        case .batch(let batch):
            tell(
                .batchReceived(batch, frameAge: frameAge, ingest: ReconcilerCore.number(of: frame.id)), index, &actions)
        case .introduction(let subscription):
            gate.introduced(frame.id, subscription: subscription, now: now)
            evaluateObservability(&actions)
        }
        partitions[index].handled(frame.id, frame.seq)
        // Encoding takes as long as deciding: the time that a turn reads is to bound both.
        if partitions[index].fillsFrame { flush(index, &actions) }
    }

    /// Lets a stream go on without what cannot be read: a command is answered `unavailable` when its time is over, an order is
    /// sent out again, and heartbeats that are lost are a moment of suspension. Not without an introduction: its acknowledgement would
    /// say that its ingest is asked from now on.
    private mutating func skip(_ unread: UnreadFrame, _ actions: inout [ReconcilerAction]) {
        let (frame, kind) = (unread.frame, unread.frame.body?.kind)
        guard !isStopping, let index = index(of: unread.partition), partitions[index].isComplete,
            ["batch", "request", "report"].contains(kind), partitions[index].receiver.accepts(frame, now: now)
        else { return }
        droppedMessages += 1
        actions.append(.log(.messageDropped(unread)))
        partitions[index].handled(frame.id, frame.seq)
        guard kind == "batch" else { return }
        gate.missedHeartbeats()
        evaluateObservability(&actions)
    }

    /// Names an incarnation of an ingest.
    private static func number(of id: StreamID) -> Int {
        Int(truncatingIfNeeded: Partition.fnv1a("\(id.instance)/\(id.incarnation)") | 1)
    }

    // MARK: Ownership

    private mutating func take(_ frame: StreamFrame<ReconcilerMessage>, _ actions: inout [ReconcilerAction]) {
        guard grants.accepts(frame, now: now), let body = frame.body else { return }
        grants.committed(frame.id, upTo: frame.seq)
        switch body {
        case .grant(let chunk): take(chunk, &actions)
        case .revoke(let number, let epoch):
            if let index = index(of: number), partitions[index].epoch <= epoch { drop(index, &actions) }
        }
    }

    private mutating func take(_ chunk: GrantChunk, _ actions: inout [ReconcilerAction]) {
        guard chunk.incarnation == incarnation, !isStopping else { return }
        if let present = index(of: chunk.partition) {
            guard partitions[present].epoch <= chunk.epoch else { return }
            if partitions[present].epoch < chunk.epoch { drop(present, &actions) }
        }
        if chunk.index == 0 {
            partitions.removeAll { $0.number == chunk.partition }
            let place = partitions.firstIndex { $0.number > chunk.partition } ?? partitions.count
            partitions.insert(OwnedPartition(makeOwner(chunk.partition, chunk.epoch)), at: place)
        }
        guard let index = index(of: chunk.partition), partitions[index].nextChunk == chunk.index else { return }
        tell(.granted(chunk), index, &actions)
        partitions[index].nextChunk = chunk.index + 1
        // A policy that is another than before changes every agent.
        if partitions[index].fillsFrame { flush(index, &actions) }
        if chunk.isLast { begin(index, &actions) }
    }

    /// The snapshot is complete: the partition is ours.
    private mutating func begin(_ index: Int, _ actions: inout [ReconcilerAction]) {
        partitions[index].nextChunk = nil
        takeovers += 1
        let (number, epoch, agents) = (
            partitions[index].number, partitions[index].epoch, partitions[index].owner.agentCount
        )
        actions.append(.log(.takenOver(partition: number, epoch: epoch, agents: agents)))
        for (gateway, message) in gatewayStatus.sorted(by: { $0.key < $1.key }) {
            tell(.gatewayStatusReceived(gateway: gateway, message), index, &actions)
        }
        actions.append(.subscribePartition(number))
        if !gate.isSuspended { tell(.observabilityRestored, index, &actions) }
        actions.append(.announce)
    }

    /// Forgets a partition that is somebody else's: nothing that was not committed counts.
    private mutating func drop(_ index: Int, _ actions: inout [ReconcilerAction]) {
        let partition = partitions.remove(at: index)
        finishedCounters.add(partition.owner.counters)
        senders.end(stream: partition.stream)
        actions.append(.log(.dropped(partition: partition.number, epoch: partition.epoch)))
        actions.append(.unsubscribePartition(partition.number))
        actions.append(.announce)
    }

    // MARK: Turns

    private mutating func endTurn(_ actions: inout [ReconcilerAction]) {
        if !isStopping { judge(&actions) }
        for index in partitions.indices where partitions[index].isComplete {
            if !isStopping, let due = partitions[index].owner.nextDue, due <= now { tell(.timePassed, index, &actions) }
            flush(index, &actions)
        }
        for acknowledgement in grants.takeAcknowledgements() { actions.append(.acknowledgement(acknowledgement)) }
    }

    /// One slice of the work, of one partition after the other.
    private mutating func work(_ actions: inout [ReconcilerAction]) {
        let due = partitions.indices.filter { partitions[$0].hasWork(now: now) }
        guard let index = due.first(where: { partitions[$0].number > workedLast }) ?? due.first else { return }
        workedLast = partitions[index].number
        tell(.roomCame, index, &actions)
        flush(index, &actions)
    }

    private func hasRoom(_ now: Instant) -> Bool {
        room.isThere(now: now, oldestUncommitted: senders.oldestUnacknowledged, frames: senders.unacknowledgedCount)
    }

    /// Sends what was decided, and acknowledgements what it did not have to wait for.
    private mutating func flush(_ index: Int, _ actions: inout [ReconcilerAction]) {
        partitions[index].flush(into: &senders, now: now)
        takeFrames(&actions)
        takeAcknowledgements(index, &actions)
    }

    // MARK: Verdicts

    private var nextVerdict: Instant? {
        partitions.compactMap { $0.isComplete ? $0.owner.nextVerdict : nil }.min()
    }

    /// Judges what a barrier has let pass, and begins one for what is due.
    private mutating func judge(_ actions: inout [ReconcilerAction]) {
        if let asOf = gate.pass(now: now, partitions) { tellAll(.barrierPassed(asOf: asOf), &actions) }
        guard let verdict = nextVerdict, verdict <= now, let (number, ingests) = gate.begin(for: verdict, now: now)
        else { return }
        ask(ingests, number, &actions)
    }

    private func ask(_ ingests: [String], _ number: Int, _ actions: inout [ReconcilerAction]) {
        let question = BarrierQuestion(number: number, reconciler: instance)
        // Lost with the connection: then nothing is judged.
        for ingest in ingests where isConnected { actions.append(.ask(question, ingest: ingest)) }
    }

    private mutating func evaluateObservability(_ actions: inout [ReconcilerAction]) {
        if gate.areCommitsLate(now: now, oldestUncommitted: senders.oldestUnacknowledged) {
            tellAll(.commitsAreLate, &actions)
        }
        let evaluation = gate.evaluate(now: now, stuckSince: senders.stuckSince)
        for event in evaluation.events { tellAll(event, &actions) }
        guard let log = gate.noted(evaluation, now: now, wallTime: wallTime) else { return }
        actions.append(.log(log))
        actions.append(.announce)
    }

    // MARK: Owners

    private mutating func tellAll(_ event: PartitionEvent, _ actions: inout [ReconcilerAction]) {
        for index in partitions.indices where partitions[index].isComplete { tell(event, index, &actions) }
    }

    private mutating func tell(_ event: PartitionEvent, _ index: Int, _ actions: inout [ReconcilerAction]) {
        directives.removeAll(keepingCapacity: true)
        partitions[index].owner.handle(event, now: now, wallTime: wallTime, into: &directives)
        for directive in directives {
            switch directive {
            case .commit(let entry): partitions[index].add(entry)
            case .answer(let answer): partitions[index].add(answer)
            case .log(let log, let agent, let generation):
                if case .deadlineDeferred(_, _, let why) = log {
                    deferrals[why, default: 0] += 1
                    if why == .ownOutage { gate.deadlineDeferred() }
                }
                actions.append(.log(.lifecycle(log, agent: agent, generation: generation)))
            case .logMissing(let agent): actions.append(.log(.missingAgent(agent)))
            }
        }
        partitions[index].endStep()
    }
}
