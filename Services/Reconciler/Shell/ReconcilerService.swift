public import Bus
public import Contract
public import Lifecycle
internal import ReconcilerCore
public import ServiceKit
internal import Streams

/// The reconciler: owns partitions, keeps their deadlines, decides.
///
/// One thread reads, decides and sends. What it reads is receipted once all that it caused is committed by the store.
public final class ReconcilerService: Service {
    /// How long a turn works in slices: what is left goes on in the next one, behind what has arrived meanwhile.
    private static let workLimit = TimeSpan(milliseconds: 50)
    /// Frames to the store under way at once: of 200 entries each, which take 12 ms to encode and as long to commit.
    private static let windowOfAll = 32

    private let systemPolicy: Policy
    private var runtime: ServiceRuntime!
    private var connection: Connection?
    private var partitions: [Int: OwnedPartition] = [:]
    private var outlet: StreamOutlet<StoreFrame>!
    private var grants: StreamInlet<ReconcilerMessage>!
    private var gate: VerdictGate!
    private var droppedMessages: Int64 = 0
    private var gatewayStatus: [String: GatewayStatusMessage.State] = [:]
    private var isStopping = false
    private var finishedCounters = PartitionCounters()
    private let room = CommitRoom()
    /// The partition that worked last: the others come first now.
    private var workedLast = -1

    public init(systemPolicy: Policy) {
        self.systemPolicy = systemPolicy
    }

    // MARK: Service

    public func start(_ runtime: ServiceRuntime) throws(ServiceFailure) {
        self.runtime = runtime
        outlet = StreamOutlet(
            topics: runtime.topics, service: .reconciler, instance: runtime.instance, incarnation: runtime.incarnation,
            windowOfAll: ReconcilerService.windowOfAll)
        runtime.watch(outlet.publisher)
        grants = StreamInlet(topics: runtime.topics)
        gate = VerdictGate(runtime)
        runtime.loop.every(TimeSpan(milliseconds: 100)) { [unowned self] in tick() }
    }

    public func connected(_ connection: Connection) {
        self.connection = connection
        outlet.connection = connection
        grants.connection = connection
        gate.connected(connection)
        for partition in partitions.values { partition.inlet.connection = connection }
        let topics = runtime.topics
        connection.subscribe([
            topics.receipts(service: ServiceName.reconciler.rawValue, instance: runtime.instance),
            topics.stream(to: .reconciler(runtime.instance)), topics.allPresence, topics.allGatewayStatus,
            topics.allHeartbeatLines,
            topics.barriers(service: ServiceName.reconciler.rawValue, instance: runtime.instance),
        ])
        connection.subscribe(
            partitions.values.filter(\.isComplete).map { topics.stream(to: .partition($0.owner.partition)) })
        outlet.reconnected(now: Clock.now())
    }

    public func subscribed(refused: [String]) {
        gate.subscribed()
    }

    public func disconnected() {
        gate.disconnected()
        evaluateSight(Clock.now())
    }

    public func received(_ delivery: Delivery) {
        guard let levels = runtime.topics.levels(of: delivery.topic) else { return }
        do {
            switch levels.first {
            case "internal" where levels.count >= 3 && levels[1] == "receipts":
                receipted(try JSON.decode(StreamReceipt.self, from: delivery.payload))
            case "internal" where levels.count == 4 && levels[1] == "streams" && levels[2] == "partition":
                if let number = Int(levels[3]) { try receivePartition(number, delivery.payload) }
            case "internal" where levels.count == 4 && levels[1] == "streams" && levels[2] == "reconciler":
                try receiveGrant(delivery.payload)
            case "internal" where levels.count == 4 && levels[1] == "barriers":
                gate.received(try JSON.decode(BarrierAnswer.self, from: delivery.payload))
                evaluateSight(Clock.now())
            case "internal" where levels.count == 3 && levels[1] == "lines":
                gate.received(
                    try JSON.decode(HeartbeatLineEnded.self, from: delivery.payload), isRetained: delivery.isRetained)
                evaluateSight(Clock.now())
            case "services": try receivePresence(delivery)
            case "gateways": try receiveGatewayStatus(delivery)
            default: break
            }
        } catch {
            let (member, detail) = JSON.describe(error)
            runtime.log.event(
                "service.message_dropped", .error,
                ["topic": LogValue(delivery.topic), "error": LogValue("\(member) \(detail)")])
        }
    }

    public func turnEnded(now: Instant) {
        let now = Clock.now()
        guard !isStopping else { return handOver(now) }
        let stamp = Clock.stamp()
        judge(now, stamp)
        var next: Instant?
        for partition in partitions.values where partition.isComplete {
            if let due = partition.owner.nextDue, due <= now { handle(.timePassed, partition, now, stamp) }
            partition.flush(into: outlet, now: now)
            if let due = partition.owner.nextDue { next = next.map { min($0, due) } ?? due }
        }
        if let due = work(now, stamp) { next = next.map { min($0, due) } ?? due }
        grants.publishReceipts()
        if let verdict = nextVerdict.flatMap({ gate.next($0) }) { next = next.map { min($0, verdict) } ?? verdict }
        runtime.loop.wakeAt = next
    }

    /// Sends what was decided, and decides no more: what is still to do is done by the next owner.
    private func handOver(_ now: Instant) {
        for partition in partitions.values where partition.isComplete { partition.flush(into: outlet, now: now) }
        grants.publishReceipts()
        runtime.loop.wakeAt = nil
    }

    /// Works in slices as long as there is room and time, one partition after the other; when to go on. Without room the
    /// next receipt is the time.
    private func work(_ now: Instant, _ stamp: Timestamp) -> Instant? {
        let end = Clock.now() + ReconcilerService.workLimit
        while hasRoom(now) {
            let due = partitions.values.filter { partition in
                partition.isComplete && partition.owner.nextWork.map { $0 <= now } ?? false
            }.sorted { $0.owner.partition < $1.owner.partition }
            guard let partition = due.first(where: { $0.owner.partition > workedLast }) ?? due.first else {
                return partitions.values.compactMap { $0.isComplete ? $0.owner.nextWork : nil }.min()
            }
            guard Clock.now() < end else { return now }
            workedLast = partition.owner.partition
            handle(.roomCame, partition, now, stamp)
            partition.flush(into: outlet, now: now)
        }
        return nil
    }

    private func hasRoom(_ now: Instant) -> Bool {
        room.isThere(now: now, oldestUncommitted: outlet.oldestKept, frames: outlet.keptCount)
    }

    private var nextVerdict: Instant? {
        partitions.values.compactMap { $0.isComplete ? $0.owner.nextVerdict : nil }.min()
    }

    /// Judges what a barrier has let pass, and begins one for what is due.
    private func judge(_ now: Instant, _ stamp: Timestamp) {
        let asOf = gate.pass(now: now) { number, id, seq in
            guard let partition = partitions[number], partition.isComplete else { return true }
            return partition.inlet.hasGiven(id, upTo: seq)
        }
        if let asOf {
            for partition in partitions.values where partition.isComplete {
                handle(.barrierPassed(asOf: asOf), partition, now, stamp)
            }
        }
        if let verdict = nextVerdict, verdict <= now { gate.ask(for: verdict, now: now) }
    }

    public func describe(_ presence: inout Presence) {
        let owned = partitions.values.filter(\.isComplete)
        presence.partitions = Dictionary(uniqueKeysWithValues: owned.map { (String($0.owner.partition), $0.epoch) })
        gate.describe(&presence)
    }

    public func isDrained() -> Bool {
        if !isStopping {
            isStopping = true
            for partition in partitions.values {
                connection?.unsubscribe(runtime.topics.stream(to: .partition(partition.owner.partition)))
            }
        }
        return outlet.keptCount == 0
    }

    public var counters: [String: Int64] {
        var sum = finishedCounters
        for partition in partitions.values { sum.add(partition.owner.counters) }
        let own = [
            "heartbeats": sum.heartbeats, "rejections": sum.rejections, "events": sum.events, "orders": sum.orders,
            "dropped_messages": droppedMessages,
            "agents": partitions.values.reduce(0) { $0 + Int64($1.owner.agentCount) },
        ]
        return own.merging(gate.counters) { own, _ in own }
    }

    // MARK: Inputs

    private func receipted(_ receipt: StreamReceipt) {
        guard let progress = outlet.receive(receipt, now: Clock.now()) else { return }
        partitions.values.first { $0.stream == progress.stream }?.committed(upTo: progress.upTo)
    }

    private func receivePartition(_ number: Int, _ payload: [UInt8]) throws {
        guard !isStopping, let partition = partitions[number], partition.isComplete else { return }
        let now = Clock.now()
        let arrival: StreamInlet<PartitionMessage>.Arrival
        do {
            // Not an introduction: its receipt would say that its ingest is asked from now on.
            let kinds: Set = ["batch", "request", "report"]
            guard let next = try partition.inlet.receive(payload, now: now, dispensable: kinds) else { return }
            arrival = next
        } catch let unreadable as UnreadableBody {
            return skip(unreadable, partition, now)
        }
        let stamp = Clock.stamp()
        switch arrival.body {
        case .request(let request): handle(.requestReceived(request, held: arrival.held), partition, now, stamp)
        case .report(let report): handle(.reportReceived(report, held: arrival.held), partition, now, stamp)
        case .batch(let batch): handle(.batchReceived(batch, held: arrival.held), partition, now, stamp)
        case .introduction(let line):
            gate.introduced(arrival.id, line: line, now: now)
            evaluateSight(now)
        }
        partition.handled(arrival.id, arrival.seq)
        // Encoding takes as long as deciding: the time that a turn reads is to bound both.
        if partition.fillsFrame { partition.flush(into: outlet, now: now) }
    }

    /// Lets a stream go on without what cannot be read: a command is answered `unavailable` when its time is over, an order is
    /// sent out again, and heartbeats that are lost are a moment of blindness.
    private func skip(_ unreadable: UnreadableBody, _ partition: OwnedPartition, _ now: Instant) {
        droppedMessages += 1
        let (member, detail) = JSON.describe(unreadable.error)
        runtime.log.event(
            "service.message_dropped", .error,
            [
                "partition": LogValue(partition.owner.partition), "kind": LogValue(unreadable.kind),
                "sender": LogValue("\(unreadable.id.service)/\(unreadable.id.instance)"),
                "seq": LogValue(unreadable.seq), "error": LogValue("\(member) \(detail)"),
            ])
        partition.handled(unreadable.id, unreadable.seq)
        guard unreadable.kind == "batch" else { return }
        gate.missedHeartbeats()
        evaluateSight(now)
    }

    private func receiveGrant(_ payload: [UInt8]) throws {
        let now = Clock.now()
        guard let arrival = try grants.receive(payload, now: now) else { return }
        grants.committed(arrival.id, upTo: arrival.seq)
        switch arrival.body {
        case .grant(let chunk): take(chunk, now)
        case .revoke(let number, let epoch):
            if let partition = partitions[number], partition.epoch <= epoch { drop(partition) }
        }
    }

    private func take(_ chunk: GrantChunk, _ now: Instant) {
        guard chunk.incarnation == runtime.incarnation, !isStopping else { return }
        if let present = partitions[chunk.partition] {
            guard present.epoch <= chunk.epoch else { return }
            if present.epoch < chunk.epoch { drop(present) }
        }
        if chunk.index == 0 {
            let owner = PartitionOwner(
                partition: chunk.partition, epoch: chunk.epoch, instance: runtime.instance, systemPolicy: systemPolicy,
                boot: Clock.boot)
            partitions[chunk.partition] = OwnedPartition(
                owner: owner, epoch: chunk.epoch, topics: runtime.topics, connection: connection)
        }
        guard let partition = partitions[chunk.partition], partition.nextChunk == chunk.index else { return }
        handle(.granted(chunk), partition, now, Clock.stamp())
        partition.nextChunk = chunk.index + 1
        // A policy that is another than before changes every agent.
        if partition.fillsFrame { partition.flush(into: outlet, now: now) }
        guard chunk.isLast else { return }
        partition.nextChunk = nil
        runtime.log.event(
            "partition.taken_over", .info,
            [
                "partition": LogValue(chunk.partition), "epoch": LogValue(chunk.epoch),
                "agents": LogValue(partition.owner.agentCount),
            ])
        for (gateway, state) in gatewayStatus {
            handle(.gatewayStatusReceived(gateway: gateway, state), partition, now, Clock.stamp())
        }
        connection?.subscribe([runtime.topics.stream(to: .partition(chunk.partition))])
        if !gate.isBlind { handle(.sightRegained, partition, now, Clock.stamp()) }
        runtime.announce()
    }

    /// Forgets a partition that is somebody else's: nothing that was not committed counts.
    private func drop(_ partition: OwnedPartition) {
        runtime.log.event(
            "partition.dropped", .warning,
            ["partition": LogValue(partition.owner.partition), "epoch": LogValue(partition.epoch)])
        finishedCounters.add(partition.owner.counters)
        outlet.end(stream: partition.stream)
        partitions[partition.owner.partition] = nil
        connection?.unsubscribe(runtime.topics.stream(to: .partition(partition.owner.partition)))
        runtime.announce()
    }

    private func receivePresence(_ delivery: Delivery) throws {
        guard !delivery.payload.isEmpty else { return }
        let presence = try JSON.decode(Presence.self, from: delivery.payload)
        runtime.check(presence, isRetained: delivery.isRetained)
        guard presence.service == ServiceName.heartbeatIngest.rawValue else { return }
        let now = Clock.now()
        gate.received(presence, isRetained: delivery.isRetained, now: now)
        evaluateSight(now)
    }

    private func receiveGatewayStatus(_ delivery: Delivery) throws {
        guard let gateway = runtime.topics.gateway(of: delivery.topic) else { return }
        guard !delivery.payload.isEmpty else {
            gatewayStatus[gateway] = nil
            return
        }
        let message = try JSON.decode(GatewayStatusMessage.self, from: delivery.payload)
        gatewayStatus[gateway] = message.state
        for partition in partitions.values where partition.isComplete {
            handle(.gatewayStatusReceived(gateway: gateway, message.state), partition, Clock.now(), Clock.stamp())
        }
    }

    // MARK: Deciding

    private func handle(_ event: PartitionEvent, _ partition: OwnedPartition, _ now: Instant, _ stamp: Timestamp) {
        var directives: [PartitionDirective] = []
        partition.owner.handle(event, now: now, stamp: stamp, into: &directives)
        for directive in directives {
            switch directive {
            case .commit(let entry): partition.add(entry)
            case .log(let log, let agent, let generation): write(log, agent, generation)
            case .logMissing(let agent):
                runtime.log.event("lifecycle.reconcile.skip_missing_agent", .info, ["agent": LogValue(agent)])
            }
        }
        partition.endStep()
    }

    private func tick() {
        let now = Clock.now()
        evaluateSight(now)
        gate.tick(now: now)
        outlet.tick(now: now)
    }

    private func evaluateSight(_ now: Instant) {
        if Sight.areCommitsLate(now: now, oldestUncommitted: outlet.oldestKept) { tellAll(.commitsAreLate, now) }
        gate.evaluate(now: now, stuckSince: outlet.stuckSince) { tellAll($0, now) }
    }

    private func tellAll(_ event: PartitionEvent, _ now: Instant) {
        let stamp = Clock.stamp()
        for partition in partitions.values where partition.isComplete { handle(event, partition, now, stamp) }
    }

    private func write(_ log: LifecycleLog, _ agent: AgentAddress, _ generation: Int) {
        if case .deadlineDeferred(_, _, .ownOutage) = log { gate.deadlineDeferred() }
        let (name, level, members) = log.line
        let subject: [(key: String, value: LogValue)] = [
            ("agent", LogValue(agent)), ("generation", LogValue(generation)),
        ]
        runtime.log.event(name, level, subject + members)
    }
}
