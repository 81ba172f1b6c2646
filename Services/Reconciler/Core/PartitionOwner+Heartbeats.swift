internal import API
internal import Lifecycle
internal import Model
internal import Wire

extension PartitionOwner {
    /// Heartbeats in the order received, each judged by its agent.
    mutating func take(_ batch: HeartbeatBatch, _ frameAge: TimeSpan, ingest: Int) {
        dependence = 0
        for segment in batch.segments {
            let receivedAt = now - TimeSpan(milliseconds: max(0, segment.age)) - frameAge
            let receivedWallTime = Timestamp(millisecondsSince1970: segment.at)
            take(segment.names, of: segment.gateway, receivedAt, receivedWallTime, ingest)
            if let detail = segment.detail { take(detail, receivedAt, receivedWallTime, ingest) }
        }
        settleWaitingAnswers()
        // An answer alone has nothing that could be lost.
        let hasCaused = directives.contains { if case .answer = $0 { false } else { true } }
        if hasCaused { dependence = step }
    }

    /// Names of one gateway, or full addresses. The gateway is looked up when it is another one than before.
    private mutating func take(
        _ names: NameRun, of gateway: String?, _ receivedAt: Instant, _ receivedWallTime: Timestamp, _ ingest: Int
    ) {
        // A heartbeat adds no agent and removes none.
        var agents = gateway.flatMap { gateways[$0]?.agents } ?? [:]
        var current: PackedIdentifier?
        names.forEachName { name in
            var start = 0
            if gateway == nil {
                guard let slash = name.indices.first(where: { name[$0] == UInt8(ascii: "/") }),
                    let its = PackedIdentifier(name.extracting(..<slash))
                else { return }
                if current != its {
                    current = its
                    agents = gateways[PartitionOwner.text(name.extracting(..<slash))]?.agents ?? [:]
                }
                start = slash + 1
            }
            if let agent = PackedIdentifier(name.extracting(start...)), let index = agents[agent] {
                takePlain(index, receivedAt, receivedWallTime, ingest)
            } else if let address = AgentAddress((gateway.map { $0 + "/" } ?? "") + PartitionOwner.text(name)) {
                rejectUnknown(address)
            }
        }
    }

    private static func text(_ bytes: Span<UInt8>) -> String {
        bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// A heartbeat without members: for an agent that is online and well it costs a field and no directive.
    private mutating func takePlain(_ index: Int, _ receivedAt: Instant, _ receivedWallTime: Timestamp, _ ingest: Int) {
        if slots[index]?.note(receivedAt, receivedWallTime, ingest, &dependence) == true {
            countAccepted(1)
            noteLastSeen(index)
        } else {
            var heartbeat = Heartbeat(receivedAt: receivedAt, receivedWallTime: receivedWallTime)
            heartbeat.ingest = ingest
            handle(heartbeat, index)
        }
    }

    private mutating func take(
        _ detail: HeartbeatDetail, _ receivedAt: Instant, _ receivedWallTime: Timestamp, _ ingest: Int
    ) {
        let isTaken = detail.asker?.wish == .probe ? probe(detail) : judge(detail, receivedAt, receivedWallTime, ingest)
        guard let asker = detail.asker else { return }
        let record = index(of: detail.agent).map { self.record($0) }
        let rejection = isTaken ? nil : record?.lastRejection
        directives.append(
            .answer(
                HeartbeatAnswer(
                    asker: asker, rejected: isTaken ? nil : rejection?.reason ?? .unknownAgent,
                    detail: rejection?.detail,
                    record: record)))
    }

    /// Somebody asks about an agent with its token and says nothing of it; whether the token counts.
    private mutating func probe(_ detail: HeartbeatDetail) -> Bool {
        guard let index = index(of: detail.agent) else {
            rejectUnknown(detail.agent)
            return false
        }
        var isTaken = false
        act(index) { isTaken = $0.isToken(detail.tokenDigest ?? "", $1, into: &$2) }
        return isTaken
    }

    /// Whether the heartbeat was accepted.
    private mutating func judge(
        _ detail: HeartbeatDetail, _ receivedAt: Instant, _ receivedWallTime: Timestamp, _ ingest: Int
    ) -> Bool {
        guard let index = index(of: detail.agent) else {
            rejectUnknown(detail.agent)
            return false
        }
        dependence = max(dependence, slots[index]?.changedIn ?? 0)
        if let reason = detail.rejected {
            let isDeleting = slots[index]?.machine.record.status == .deleting
            countRejected(isDeleting ? .deleting : reason)
            act(index) {
                $0.reject(isDeleting ? .deleting : reason, isDeleting ? nil : detail.rejectionDetail, $1, into: &$2)
            }
            return false
        }
        // The broker's Last Will of a time in which connections broke because of us says nothing.
        if detail.status == .lost, isSuspended || observableAt.map({ receivedAt < $0 }) ?? true { return true }
        var heartbeat = Heartbeat(receivedAt: receivedAt, receivedWallTime: receivedWallTime)
        heartbeat.status = detail.status ?? .ok
        heartbeat.ingest = ingest
        heartbeat.reason = detail.reason
        heartbeat.exitStatus = detail.exitStatus
        heartbeat.note = detail.note
        heartbeat.extend = detail.extend
        heartbeat.generation = detail.generation
        heartbeat.attempt = detail.attempt
        heartbeat.bootID = detail.bootID
        heartbeat.seq = detail.seq
        heartbeat.templatesDigest = detail.templatesDigest
        heartbeat.tokenDigest = detail.tokenDigest
        return handle(heartbeat, index)
    }

    @discardableResult
    private mutating func handle(_ heartbeat: Heartbeat, _ index: Int) -> Bool {
        var isAccepted = false
        act(index) { isAccepted = $0.heartbeatReceived(heartbeat, $1, into: &$2) }
        if isAccepted {
            countAccepted(1)
        } else {
            countRejected(slots[index]?.machine.record.lastRejection?.reason ?? .malformed)
        }
        return isAccepted
    }

    /// A heartbeat of nobody we know: published at most once a second for each name.
    private mutating func rejectUnknown(_ agent: AgentAddress) {
        countRejected(.unknownAgent)
        if let last = unknownRejections[agent], now < last + AgentMachine.rejectionEventInterval { return }
        guard rejectionMeter.mayTell(agent.gateway, now) else { return }
        rejectionMeter.noteTold(agent.gateway, now)
        if unknownRejections.count >= PartitionOwner.unknownAgentsMax { unknownRejections = [:] }
        unknownRejections[agent] = now
        unknownCount += 1
        var entry = StoreEntry()
        entry.event = AgentEventEntry(
            id: "\(agent)!\(epoch).\(unknownCount)", event: .heartbeatRejected, agent: agent,
            reason: RejectionReason.unknownAgent.rawValue, time: wallTime, source: source, traceparent: nil)
        directives.append(.commit(entry))
        directives.append(.log(.rejected(.unknownAgent, detail: nil), agent: agent, generation: 0))
    }

    /// A wake has reached nobody. Its gateway may have come since, before this was known: it is told so once for each return.
    private mutating func noteUnheard(_ index: Int, publishedAt: Instant) {
        guard let gateway = slots[index]?.address.gateway, let slot = gateways[gateway] else { return }
        gateways[gateway]?.hasUnheardWakes = true
        guard !isSuspended, slot.state.connection == .connected, let connectedAt = slot.connectedAt,
            connectedAt + AgentMachine.reportOnItsWayMax >= publishedAt, slots[index]?.toldOfReturn != connectedAt
        else { return }
        slots[index]?.toldOfReturn = connectedAt
        drive(index) { $0.hostReturned($1, into: &$2) }
    }

    /// What became of a wake order.
    mutating func take(_ report: WakeReport, _ frameAge: TimeSpan) {
        guard let index = index(of: report.agent) else { return directives.append(.logMissing(agent: report.agent)) }
        let age = TimeSpan(milliseconds: max(0, report.age)) + frameAge
        let outcome: AgentMachine.WakeOutcome =
            switch report.outcome {
            case .woken(let sentAt, let deadlineAt, let delivery):
                .woken(sentAt: sentAt, deadlineAt: deadlineAt, delivery: delivery, age: age)
            case .failed(let at, let error): .failed(at: at, error: error, age: age)
            case .expired: .expired
            }
        drive(index) {
            $0.wakeReported(
                generation: report.generation, attempt: report.attempt, publication: report.publication, outcome, $1,
                into: &$2)
        }
        if slots[index]?.machine.isUnheard == true { noteUnheard(index, publishedAt: now - age) }
        settleWaitingAnswers()
    }
}
