import API
import Lifecycle
import Model
import Wire

/// One publication of one wake.
struct Issue: Hashable {
    let agent: AgentAddress
    let publication: Int
}

/// Sees everything and holds it against the invariants of the contract, at every step.
final class Oracle {
    /// Milliseconds are rounded on the way.
    static let tolerance: Int64 = 6_000

    /// One heartbeat as an ingest received it.
    struct Received {
        let at: Int64
        let detail: HeartbeatDetail
        let ingest: IngestProcess
        let launch: Int
    }

    /// What was committed of one agent.
    struct History {
        var revision = 0
        var generation = 0
        var attempt = 0
        var isOffline = false
        var missedGenerations: Set<Int> = []
        /// The newest wake under each attempt of this generation.
        var frozen: WakeOrder?
        /// No wake may be published: paused and answered.
        var isDrained = false
        var deletedGeneration = 0
        var resumedAt: Int64 = -1
        var heartbeats: [Received] = []
        /// As it was committed last.
        var state: AgentState?
        var lastEvent: LifecycleEvent?
        /// Since when it is there, and has this policy.
        var bornAt: Int64 = 0
        var policyAt: Int64 = 0
    }

    unowned let world: World
    var gateways: [GatewayClient] = []
    var lastFault: Int64 = 0
    var lastWallStep: Int64 = -1
    /// Where wall clocks differ, a successor on another machine cannot tell what came after the cycle's first order.
    private var clocksAgree: Bool { lastWallStep < 0 || world.plan.isOneMachine }
    var agents: [AgentAddress: History] = [:]
    /// When an owner decided something.
    private var decisions: [String: Int64] = [:]
    var committedEvents: Set<String> = []
    var arrivedEvents: Set<String> = []
    var committedOrders: [Issue: WakeOrder] = [:]
    var answers: [String: Int] = [:]
    var requests: [String: (key: String, command: Command, at: Int64)] = [:]
    var handovers = Handovers()
    var intended: Set<String> = []
    var traced: Set<String> = []
    /// When the first wake of each cycle was ordered: by an owner, and by the owner whose order was committed.
    private var orderDecidedAt: [String: Int64] = [:]
    private var firstOrdered: [String: Int64] = [:]
    private(set) var outcomeAt: [Issue: Int64] = [:]
    /// When each wake was published last.
    private(set) var publishedAt: [Issue: Int64] = [:]
    /// Wakes that reached nobody.
    var unheard: Set<Issue> = []
    var outages = Outages()
    private var failedPublications: Set<Issue> = []
    var publishedRevision: [AgentAddress: Int] = [:]
    var answerTexts: [String: String] = [:]
    var lostGateways: Set<String> = []
    /// When each gateway's removal was committed last.
    var removedAt: [String: Int64] = [:]
    var told: [Issue: [Timestamp]] = [:]
    var rejectedAt: [String: Int64] = [:]
    var ordersAt: [String: [Int64]] = [:]
    /// How many entries each owner has decided that are not committed.
    var uncommitted: [String: Int] = [:]
    private var batch: [(agent: AgentAddress, receivedAt: Int64, detail: HeartbeatDetail)] = []

    init(_ world: World) {
        self.world = world
    }

    func violate(_ text: String) { world.violate(text) }

    // MARK: Operators

    func asked(_ command: SimCommand) {}

    // MARK: Heartbeats

    func heartbeatReceived(_ detail: HeartbeatDetail, by ingest: IngestProcess) {
        agents[detail.agent, default: History()].heartbeats.append(
            Received(at: world.time, detail: detail, ingest: ingest, launch: ingest.launch))
        if (agents[detail.agent]?.heartbeats.count ?? 0) > 60 { agents[detail.agent]?.heartbeats.removeFirst(20) }
    }

    /// The batch that an owner is about to handle, with when each heartbeat was received as far as its ages tell.
    func batchArrived(_ message: HeartbeatBatch, frameAge: Int64, by owner: String) {
        batch = []
        for segment in message.segments {
            let at = world.time - (segment.age + frameAge) * 1_000
            for name in segment.names.strings {
                guard let agent = AgentAddress(name) else { continue }
                batch.append((agent, at, HeartbeatDetail(agent: agent)))
            }
            if let detail = segment.detail { batch.append((detail.agent, at, detail)) }
        }
        for item in batch {
            if item.detail.status == .lost {
                outages.heardWill(of: item.agent, by: owner, at: item.receivedAt, world.time)
            }
            world.note(
                "\(item.agent) beats \(item.detail.status?.rawValue ?? "") \((world.time - item.receivedAt) / 1_000) ms ago"
            )
        }
    }

    func batchHandled() { batch = [] }

    // MARK: Owners

    /// An owner has decided: it counts once it is committed, but when it was decided shows now.
    func decided(_ entry: StoreEntry, epoch: Int, partition: Int) {
        holdToRates(entry, epoch: epoch, partition: partition)
        uncommitted["\(partition).\(epoch)", default: 0] += 1
        if let order = entry.order {
            let key = "\(order.agent)#\(order.generation)@\(epoch)"
            if orderDecidedAt[key] == nil { orderDecidedAt[key] = world.time }
        }
        guard let (state, happened) = entry.agent, let event = happened else { return }
        decisions["\(event.id)@\(partition).\(epoch)"] = world.time
        world.note(
            "\(partition).\(epoch) decides \(event.id) \(event.event.rawValue) \(event.reason ?? "") \(event.traceparent ?? "")"
        )
        checkOutage(event, state, "\(partition).\(epoch)")
        if event.event == .offline, event.reason == OfflineReason.goodbye.rawValue { checkGoodbye(event, state) }
        guard event.event == .online else { return }
        checkEvidence(event, state, epoch)
    }

    /// Nobody says goodbye for another start of the agent.
    private func checkGoodbye(_ event: AgentEventEntry, _ state: AgentState) {
        let isMeant = batch.contains {
            $0.agent == event.agent && $0.detail.status == .stopping
                && ($0.detail.bootID == nil || state.record.bootID == nil || $0.detail.bootID == state.record.bootID)
        }
        if !isMeant { violate("\(event.agent) is offline by the goodbye of another start") }
    }

    /// Never online without a check-in.
    private func checkEvidence(_ event: AgentEventEntry, _ state: AgentState, _ epoch: Int) {
        let mine = batch.filter { $0.agent == event.agent && [nil, .ok, .degraded].contains($0.detail.status) }
        guard !mine.isEmpty else { return violate("\(event.agent) is online without a heartbeat") }
        let cycle = "\(event.agent)#\(state.record.generation)"
        guard event.reason == "checked_in", let ordered = firstOrdered[cycle] ?? orderDecidedAt["\(cycle)@\(epoch)"],
            clocksAgree
        else { return }
        let counts = mine.contains {
            $0.detail.generation == state.record.generation
                || ($0.detail.generation == nil || state.record.provisionAction == .recover)
                    && $0.receivedAt >= ordered - Oracle.tolerance
        }
        if !counts { violate("\(event.agent) is online by a heartbeat older than its cycle's first order") }
    }

    // MARK: Commits

    func committed(_ entry: StoreEntry, epoch: Int, partition: Int) {
        uncommitted["\(partition).\(epoch)", default: 0] -= 1
        noteGateways(entry)
        if let (state, event) = entry.agent {
            check(state, event)
            holdToLaw(state, event)
        }
        if let event = entry.event {
            if !committedEvents.insert(event.id).inserted { violate("\(event.id) is committed twice") }
            world.note("committed \(event.id) \(event.event.rawValue)")
            if let state = entry.agent?.state { follow(event, state, decisions["\(event.id)@\(partition).\(epoch)"]) }
        }
        if let order = entry.order {
            check(order)
            let key = "\(order.agent)#\(order.generation)"
            if firstOrdered[key] == nil { firstOrdered[key] = orderDecidedAt["\(key)@\(epoch)"] }
        }
        for change in entry.changes {
            switch change {
            case .removal(_, _, let tombstone): removed(tombstone)
            case .intent(let intent): intended.insert(intent.request.id)
            case .answer(let answer): check(answer)
            default: break
            }
        }
    }

    private func removed(_ tombstone: Tombstone) {
        agents[tombstone.agent, default: History()].deletedGeneration = tombstone.generation
        if let last = agents[tombstone.agent]?.state,
            last.record.generation != tombstone.generation || last.record.revision != tombstone.revision
        {
            violate("\(tombstone.agent) is remembered by other numbers")
        }
        agents[tombstone.agent]?.state = nil
    }

    private func check(_ state: AgentState, _ event: AgentEventEntry?) {
        let agent = state.record.address
        var history = agents[agent, default: History()]
        defer { agents[agent] = history }
        let expected = history.revision + (event == nil ? 0 : 1)
        if state.record.revision != expected {
            violate("\(agent) has revision \(state.record.revision) after \(history.revision)")
        }
        history.revision = state.record.revision
        if history.state == nil { history.bornAt = world.time }
        if history.state?.record.policy != state.record.policy { history.policyAt = world.time }
        if state.record.generation < history.generation {
            violate("\(agent) has generation \(state.record.generation) after \(history.generation)")
        }
        if state.record.generation > history.generation {
            history.generation = state.record.generation
            history.attempt = 0
            history.frozen = nil
        }
        // Two cycles under one number show by their first event.
        if let event, event.event == .provisioning || event.event == .updating,
            !traced.insert("\(agent) cycle \(state.record.generation)").inserted
        {
            violate("\(agent) began generation \(state.record.generation) twice")
        }
    }

    private func follow(_ event: AgentEventEntry, _ state: AgentState, _ decision: Int64?) {
        let decided = decision ?? world.time
        let agent = event.agent
        if let trace = event.traceparent, !["woken", "changed"].contains(event.event.rawValue) {
            let key = "\(trace) \(event.event.rawValue) \(agent)"
            let isNew = traced.insert(key).inserted
            let isEffect = [.provisioning, .updating, .deleting].contains(event.event) && event.reason != "recover"
            if !isNew, isEffect { violate("\(trace) was executed twice: \(event.event.rawValue) \(agent)") }
        }
        switch event.event {
        case .provisioning, .updating: agents[agent]?.isOffline = false
        case .online: agents[agent]?.isOffline = false
        case .resumed:
            agents[agent]?.resumedAt = world.time
            if !state.record.isPaused { agents[agent]?.isDrained = false }
        case .deleting: agents[agent]?.isDrained = false
        case .offline:
            if agents[agent]?.isOffline == true { violate("\(agent) is offline twice") }
            agents[agent]?.isOffline = true
            if event.reason == OfflineReason.checkinMissed.rawValue {
                if agents[agent]?.missedGenerations.insert(state.record.generation).inserted == false {
                    violate("\(agent) missed generation \(state.record.generation) twice")
                }
                judge(state, decided, isFinal: true)
            }
        case .retriggered: judge(state, decided, isFinal: false)
        case .lapsed: judgeLapse(state, decided, isLost: event.reason != "silent")
        case .woken, .changed, .provisionFailed, .deleted, .paused, .heartbeatRejected, .tokenRotated,
            .templatesSynced:
            break
        }
    }

    // MARK: Verdicts

    /// A missed check-in: its deadline ran from the publication of the newest publication, and nobody was wronged.
    private func judge(_ state: AgentState, _ decided: Int64, isFinal: Bool) {
        let agent = state.record.address
        let publication = Issue(agent: agent, publication: state.publication)
        guard let order = committedOrders[publication], let published = outcomeAt[publication] else {
            return violate("\(agent) missed a wake that was never published")
        }
        let due = published + order.checkinDeadline.span.milliseconds * 1_000
        if decided < due - Oracle.tolerance {
            violate("\(agent) was judged \((due - decided) / 1_000) ms before its deadline")
        }
        guard isFinal, !failedPublications.contains(publication) else { return }
        if let model = model(agent), model.mode == .well || model.mode == .shy, !model.echoes {
            judge(agent, publication, model, published, due)
        }
        let ordered = firstOrdered["\(agent)#\(order.generation)"] ?? 0
        guard clocksAgree else { return }
        let inTime = agents[agent]?.heartbeats.first {
            $0.at >= ordered && $0.at <= due && !$0.ingest.lostIncarnations.contains($0.launch)
                && [nil, .ok, .degraded].contains($0.detail.status)
                && ($0.detail.generation == nil || $0.detail.generation == order.generation)
        }
        if let inTime {
            violate("\(agent) is offline though a heartbeat came \((due - inTime.at) / 1_000) ms before its deadline")
        }
    }

    private func judgeLapse(_ state: AgentState, _ decided: Int64, isLost: Bool) {
        let agent = state.record.address
        guard let model = model(agent), model.mode == .well, model.isRunning, !model.echoes else {
            return
        }
        let since = max(model.wellSince, model.runningSince)
        // Its silence may last so long, or its grace, and the way of the next heartbeat.
        let limit: Int64 = isLost ? 1_500_000 : 3_500_000
        if since < decided - limit { violate("\(agent) lapsed though it beat since \(since / 1_000) ms") }
    }

    private func model(_ agent: AgentAddress) -> GatewayClient.Agent? {
        gateways.first { $0.gateway == agent.gateway }.flatMap { $0.isUp ? $0.agent(agent) : nil }
    }

    // MARK: Wakes

    private func check(_ order: WakeOrder) {
        var history = agents[order.agent, default: History()]
        defer { agents[order.agent] = history }
        committedOrders[Issue(agent: order.agent, publication: order.publication)] = order
        guard order.generation == history.generation else {
            return violate("\(order.agent) is ordered in generation \(order.generation) of \(history.generation)")
        }
        if order.attempt > order.maxAttempts { violate("\(order.agent) has attempt \(order.attempt)") }
        if order.attempt == history.attempt {
            var again = order
            again.publication = history.frozen?.publication ?? order.publication
            if let frozen = history.frozen, again != frozen { violate("\(order.agent) has two wakes under one number") }
        } else if order.attempt != history.attempt + 1 {
            violate("\(order.agent) has attempt \(order.attempt) after \(history.attempt)")
        }
        history.attempt = order.attempt
        history.frozen = order
    }

    func wakePublished(_ wake: WakeMessage, _ order: WakeOrder, digest: String?) {
        let publication = Issue(agent: wake.agent, publication: order.publication)
        world.note("wake \(wake.agent) \(wake.generation).\(wake.attempt) publication \(order.publication)")
        guard let committed = committedOrders[publication] else {
            return violate("\(wake.agent) is woken by an order that was not committed")
        }
        if committed.templatesDigest != digest || committed.generation != wake.generation
            || committed.attempt != wake.attempt
        {
            violate("\(wake.agent) has two wakes under one number")
        }
        // The same publication by a second provisioner, which was given the order as well, starts nothing.
        told[publication, default: []].append(wake.deadlineAt)
        publishedAt[publication] = world.time
        guard outcomeAt[publication] == nil else { return }
        outcomeAt[publication] = world.time
        guard let history = agents[wake.agent] else { return }
        if history.isDrained { violate("\(wake.agent) is woken after its pause was answered") }
        if wake.generation <= history.deletedGeneration { violate("\(wake.agent) is woken after it was deleted") }
    }

    func wakeFailed(_ publication: Issue, at made: Int64) {
        failedPublications.insert(publication)
        outcomeAt[publication] = min(outcomeAt[publication] ?? made, made)
    }

    // MARK: Answers

    private func check(_ answer: AnswerEntry) {
        answers[answer.requestID, default: 0] += 1
        world.note("committed answer to \(requests[answer.requestID]?.key ?? answer.requestID)")
        guard answer.isFinal, let outcome = answer.outcome else { return }
        if !traced.insert("executed \(answer.requestID)").inserted { violate("\(answer.requestID) was executed twice") }
        guard case .paused = outcome, let request = requests[answer.requestID],
            case .pause(let target, _) = request.command
        else { return }
        for (agent, history) in agents where history.state?.record.pausedBy.contains(target.cause) ?? false {
            // A pause that was ended meanwhile, and another one, are not told apart.
            if history.resumedAt >= request.at { continue }
            switch target {
            case .agent(let one): if one == agent { agents[agent]?.isDrained = true }
            case .gateway(let gateway): if gateway == agent.gateway { agents[agent]?.isDrained = true }
            case .board: break
            }
        }
    }
}
