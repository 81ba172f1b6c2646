internal import API
internal import Lifecycle
internal import Model
internal import Wire

/// How heartbeats came: when an ingest received them, and which, for the order of what came by one.
struct Reception {
    let at: Instant
    let wallTime: Timestamp
    let ingest: Int
}

extension Heartbeat {
    /// One without members.
    fileprivate init(_ reception: Reception) {
        self.init(receivedAt: reception.at, receivedWallTime: reception.wallTime)
        ingest = reception.ingest
    }
}

extension PartitionOwner {
    /// Heartbeats in the order received, each judged by its agent.
    mutating func take(_ batch: HeartbeatBatch, _ frameAge: TimeSpan, ingest: Int, _ turn: inout Turn) {
        dependence = 0
        for segment in batch.segments {
            let reception = Reception(
                at: turn.now - TimeSpan(milliseconds: max(0, segment.age)) - frameAge,
                wallTime: Timestamp(millisecondsSince1970: segment.at), ingest: ingest)
            take(segment.names, of: segment.gateway, reception, &turn)
            if let detail = segment.detail { take(detail, reception, &turn) }
        }
        settleWaitingAnswers(&turn)
        if turn.hasCaused { dependence = step }
    }

    /// Names of one gateway, or full addresses. The gateway is looked up when it is another one than before.
    private mutating func take(
        _ names: NameRun, of gateway: String?, _ reception: Reception, _ turn: inout Turn
    ) {
        // A heartbeat adds no agent and removes none.
        var places = gateway.flatMap { gateways[$0]?.agents } ?? [:]
        var current: PackedIdentifier?
        names.forEachName { name in
            var start = 0
            if gateway == nil {
                guard let slash = name.indices.first(where: { name[$0] == UInt8(ascii: "/") }),
                    let its = PackedIdentifier(name.extracting(..<slash))
                else { return }
                if current != its {
                    current = its
                    places = gateways[PartitionOwner.text(name.extracting(..<slash))]?.agents ?? [:]
                }
                start = slash + 1
            }
            if let agent = PackedIdentifier(name.extracting(start...)), let index = places[agent] {
                takePlain(index, reception, &turn)
            } else if let address = AgentAddress((gateway.map { $0 + "/" } ?? "") + PartitionOwner.text(name)) {
                rejectUnknown(address, &turn)
            }
        }
    }

    private static func text(_ bytes: Span<UInt8>) -> String {
        bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// A heartbeat without members: for an agent that is online and well it costs a field and no directive.
    private mutating func takePlain(_ index: Int, _ reception: Reception, _ turn: inout Turn) {
        if agents[index]?.note(reception, &dependence) == true {
            counters.heartbeats += 1
            noteLastSeen(index, &turn)
        } else {
            handle(Heartbeat(reception), index, &turn)
        }
    }

    private mutating func take(
        _ detail: HeartbeatDetail, _ reception: Reception, _ turn: inout Turn
    ) {
        let isTaken = detail.asker?.wish == .probe ? probe(detail, &turn) : judge(detail, reception, &turn)
        guard let asker = detail.asker else { return }
        let record = index(of: detail.agent).map { self.record($0) }
        let rejection = isTaken ? nil : record?.lastRejection
        turn.answer(
            HeartbeatAnswer(
                asker: asker, rejected: isTaken ? nil : rejection?.reason ?? .unknownAgent, detail: rejection?.detail,
                record: record))
    }

    /// Somebody asks about an agent with its token and says nothing of it; whether the token counts.
    private mutating func probe(_ detail: HeartbeatDetail, _ turn: inout Turn) -> Bool {
        guard let index = index(of: detail.agent) else {
            rejectUnknown(detail.agent, &turn)
            return false
        }
        var isTaken = false
        act(index, &turn) { isTaken = $0.isToken(detail.tokenDigest ?? "", $1, into: &$2) }
        return isTaken
    }

    /// Whether the heartbeat was accepted.
    private mutating func judge(
        _ detail: HeartbeatDetail, _ reception: Reception, _ turn: inout Turn
    ) -> Bool {
        guard let index = index(of: detail.agent) else {
            rejectUnknown(detail.agent, &turn)
            return false
        }
        dependence = max(dependence, agents[index]?.changedIn ?? 0)
        if let reason = detail.rejected {
            let isDeleting = agents[index]?.machine.record.status == .deleting
            counters.count(rejected: isDeleting ? .deleting : reason)
            act(index, &turn) {
                $0.reject(isDeleting ? .deleting : reason, isDeleting ? nil : detail.rejectionDetail, $1, into: &$2)
            }
            return false
        }
        // The broker's Last Will of a time in which connections broke because of us says nothing.
        if detail.status == .lost, isSuspended || observableAt.map({ reception.at < $0 }) ?? true { return true }
        var heartbeat = Heartbeat(reception)
        heartbeat.status = detail.status ?? .ok
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
        return handle(heartbeat, index, &turn)
    }

    @discardableResult
    private mutating func handle(_ heartbeat: Heartbeat, _ index: Int, _ turn: inout Turn) -> Bool {
        var isAccepted = false
        act(index, &turn) { isAccepted = $0.heartbeatReceived(heartbeat, $1, into: &$2) }
        grantAskedPermits(&turn)
        if isAccepted {
            counters.heartbeats += 1
        } else {
            counters.count(rejected: agents[index]?.machine.record.lastRejection?.reason ?? .malformed)
        }
        return isAccepted
    }

    /// A wake has reached nobody. Its gateway may have come since, before this was known: it is told so once for each return.
    private mutating func noteUnheard(_ index: Int, publishedAt: Instant, _ turn: inout Turn) {
        guard let gateway = agents[index]?.address.gateway, let slot = gateways[gateway] else { return }
        gateways[gateway]?.hasUnheardWakes = true
        guard !isSuspended, slot.state.connection == .connected, let connectedAt = slot.connectedAt,
            connectedAt + AgentMachine.reportOnItsWayMax >= publishedAt, agents[index]?.toldOfReturn != connectedAt
        else { return }
        agents[index]?.toldOfReturn = connectedAt
        drive(index, &turn) { $0.hostReturned($1, into: &$2) }
    }

    /// What became of a wake order.
    mutating func take(_ report: WakeReport, _ frameAge: TimeSpan, _ turn: inout Turn) {
        guard let index = index(of: report.agent) else { return turn.logMissing(report.agent) }
        let age = TimeSpan(milliseconds: max(0, report.age)) + frameAge
        let outcome: AgentMachine.WakeOutcome =
            switch report.outcome {
            case .woken(let sentAt, let deadlineAt, let delivery):
                .woken(sentAt: sentAt, deadlineAt: deadlineAt, delivery: delivery, age: age)
            case .failed(let at, let error): .failed(at: at, error: error, age: age)
            case .expired: .expired
            }
        drive(index, &turn) {
            $0.wakeReported(
                generation: report.generation, attempt: report.attempt, publication: report.publication, outcome, $1,
                into: &$2)
        }
        if agents[index]?.machine.isUnheard == true { noteUnheard(index, publishedAt: turn.now - age, &turn) }
        settleWaitingAnswers(&turn)
    }
}
