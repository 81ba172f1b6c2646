import API
import Lifecycle
import Model
import Wire

// Records, rates and answers, held to the contract.
extension Oracle {
    /// What was executed is answered as executed, however often it was asked.
    func answered(_ command: SimCommand, _ problem: Problem?, _ payload: [UInt8]) {
        // Where templates differ, one provisioner cannot render what another can.
        if problem?.type == .invalidRequest { return }
        if command.isOtherUse {
            if problem?.type != .conflict, answerTexts[command.key] != nil {
                violate("\(command.key) was used for another request, which is answered")
            }
            return
        }
        // A token is told once.
        let text = String(decoding: payload, as: UTF8.self)
        let told = text.firstRange(of: #","token":"#).map { String(text[..<$0.lowerBound]) } ?? text
        let first = answerTexts.updateValue(told, forKey: command.key)
        if let first, first != told {
            violate("\(command.key) is answered \(told) and was answered \(first)")
        }
        if first == nil, command.verb == .addGateway, problem == nil { checkAdmission(command) }
        guard let problem, let agent = command.agent else { return }
        let events = ["provisioning", "updating", "deleting", "deleted"]
        if let event = events.first(where: { traced.contains("\(command.traceparent) \($0) \(agent)") }) {
            violate("\(command.key) \(command.verb.rawValue) took effect (\(event)) and is answered \(problem.type)")
        }
    }

    /// A token works when its answer arrives.
    private func checkAdmission(_ command: SimCommand) {
        guard let gateway = gateways.first(where: { command.payload.contains("\"\($0.gateway)\"") }),
            !gateway.broker.admitted.contains(gateway.gateway), removedAt[gateway.gateway] ?? -1 < command.askedAt
        else { return }
        violate("\(gateway.gateway) was added, and the broker does not know it")
    }

    /// What was committed of gateways last.
    func noteGateways(_ entry: StoreEntry) {
        for change in entry.changes {
            switch change {
            case .gateway(let gateway):
                lostGateways.remove(gateway.gateway)
                if gateway.connection == .lost { lostGateways.insert(gateway.gateway) }
            case .removedGateway(let gateway):
                lostGateways.remove(gateway)
                removedAt[gateway] = world.time
            default: break
            }
        }
    }

    /// Every event and the record it leaves, as the contract has them.
    func holdToLaw(_ state: AgentState, _ event: AgentEventEntry?) {
        let agent = state.record.address
        let before = agents[agent]?.state
        agents[agent, default: History()].state = state
        guard let event else {
            if before?.record.status != state.record.status || before?.record.generation != state.record.generation {
                violate("\(agent) changed without an event")
            }
            return
        }
        let law = RecordLaw(
            before: before, after: state, event: event.event, reason: event.reason, last: agents[agent]?.lastEvent,
            isGatewayLost: lostGateways.contains(agent.gateway))
        if let broken = law.violation { violate("\(event.id) \(event.event.rawValue): \(broken)") }
        agents[agent]?.lastEvent = event.event
        let publication = Issue(agent: agent, publication: state.cycle?.order?.publication ?? -1)
        if event.event == .woken, let at = state.record.checkinDeadlineAt, let times = told[publication],
            !times.contains(where: { $0 == at || ($0 < at && state.cycle?.extensionUsed ?? 0 > 0) })
        {
            violate("\(event.id) woken: its deadline is not that of its wake")
        }
    }

    /// At most so many of one kind in a second, as one owner decides them.
    func holdToRates(_ entry: StoreEntry, epoch: Int, partition: Int) {
        if let event = entry.event, event.event == .heartbeatRejected {
            let key = "\(event.agent)@\(partition).\(epoch)"
            if let last = rejectedAt.updateValue(world.time, forKey: key),
                world.time < last + 1_000_000 - Oracle.tolerance
            {
                violate("\(event.agent) had two rejections published within a second")
            }
        }
        guard let order = entry.order else { return }
        let key = "\(order.agent.gateway)@\(partition).\(epoch)"
        var times = ordersAt[key] ?? []
        times.removeAll { $0 <= world.time - 1_000_000 }
        times.append(world.time)
        ordersAt[key] = times
        // What may go at once, and what is gained within the second.
        if times.count > world.plan.wakeRate + max(1, world.plan.wakeRate / 5) {
            violate("\(order.agent.gateway) had \(times.count) wakes ordered in a second")
        }
    }

    // MARK: Publications of the store

    func eventPublished(_ fact: PublishedFact) {
        guard let id = fact.id, fact.event != nil else { return }
        if !committedEvents.contains(id) { violate("\(id) is published and not committed") }
        guard fact.revision > 0, fact.event != .heartbeatRejected || id.contains("#") else { return }
        let before = publishedRevision[fact.agent] ?? 0
        if fact.revision > before + 1 { violate("\(id) is published after revision \(before)") }
        publishedRevision[fact.agent] = max(before, fact.revision)
    }

    func answerPublished(_ message: ProvisionerMessage) {
        guard case .answer(let requestID, _, _, _) = message else { return }
        if answers[requestID] == nil { violate("\(requestID) is answered and not committed") }
    }

    func orderPublished(_ order: WakeOrder) {
        if committedOrders[Issue(agent: order.agent, publication: order.publication)] == nil {
            violate("\(order.agent) has an order that is published and not committed")
        }
    }

    func arrived(_ message: SimMessage) {
        if case .fact(let fact) = message.body, let id = fact.id { arrivedEvents.insert(id) }
    }

    /// A command that was begun and is not answered.
    var openIntentRecord: String? { intended.filter { !traced.contains("executed \($0)") }.min() }

    /// The first event that was committed and never reached the broker.
    var missingEvent: String? { committedEvents.filter { !$0.isEmpty && !arrivedEvents.contains($0) }.min() }
}
