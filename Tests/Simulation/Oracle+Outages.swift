import Lifecycle
import Model
import Wire

/// What owners could see, and what they heard meanwhile.
struct Outages {
    /// When each owner was told last that check-ins can be counted again.
    var observableAt: [String: Int64] = [:]
    /// The Last Wills that were received since then: when the first was handled.
    private var wills: [String: Int64] = [:]
    /// When each owner waited last for a commit that was late beyond doubt.
    var stuckAt: [String: Int64] = [:]
    /// When each deadline was armed.
    var armedAt: [Issue: Int64] = [:]
    /// When the broker stood still.
    var stalls: [Range<Int64>] = []

    mutating func heardWill(of agent: AgentAddress, by owner: String, at received: Int64, _ now: Int64) {
        guard let observable = observableAt[owner], received >= observable - Oracle.tolerance else { return }
        let key = "\(agent)@\(owner)"
        if wills[key] ?? -1 < observable { wills[key] = now }
    }

    /// The first Last Will that an owner handled since it can see.
    func will(of agent: AgentAddress, _ owner: String) -> Int64? {
        guard let at = wills["\(agent)@\(owner)"], let observable = observableAt[owner], at >= observable else {
            return nil
        }
        return at
    }
}

// What is promised after a time in which check-ins could not arrive or be counted.
extension Oracle {
    func observable(_ owner: String) { outages.observableAt[owner] = world.time }

    /// The same wake is repeated and a full deadline runs; an online agent gets one interval and one deadline.
    func checkOutage(_ event: AgentEventEntry, _ state: AgentState, _ owner: String) {
        // Of an outage of the store it tells nobody; it has waited for a commit for long.
        guard let observable = outages.observableAt[owner].map({ max($0, outages.stuckAt[owner] ?? 0) }) else { return }
        switch event.event {
        case .offline where event.reason != OfflineReason.checkinMissed.rawValue: return
        case .retriggered, .offline: checkRepeat(state, since: observable)
        // A host that began anew is known to have ended what it ran.
        case .lapsed: if event.reason != "host_restarted" { checkRespite(event, state, owner, since: observable) }
        case .provisioning, .updating, .woken, .online, .changed, .provisionFailed, .deleting, .deleted, .paused,
            .resumed, .heartbeatRejected, .tokenRotated, .templatesSynced:
            break
        }
    }

    private func checkRepeat(_ state: AgentState, since observable: Int64) {
        let agent = state.record.address
        checkStalls(state)
        guard let published = outcomeAt[Issue(agent: agent, publication: state.publication)], published < observable
        else { return }
        violate("\(agent) is judged by a wake from before an outage")
    }

    /// A broker that stands still is an outage, too: whose deadline ended meanwhile, and was known, its owner has asked in vain.
    private func checkStalls(_ state: AgentState) {
        let publication = Issue(agent: state.record.address, publication: state.publication)
        guard let published = outcomeAt[publication], let order = committedOrders[publication] else { return }
        let due = published + order.checkinDeadline.span.milliseconds * 1_000
        guard let armed = outages.armedAt[publication], armed <= due else { return }
        let isStalled = outages.stalls.contains {
            published < $0.lowerBound && due < $0.upperBound - 2_200_000 && due > $0.lowerBound
        }
        if isStalled { violate("\(publication.agent) is judged by a deadline that ended while the broker stood still") }
    }

    private func checkRespite(_ event: AgentEventEntry, _ state: AgentState, _ owner: String, since observable: Int64) {
        let agent = event.agent
        // Who came later, or has another policy since, was promised something else.
        guard let history = agents[agent], let known = history.state, known.record.policy == state.record.policy,
            max(history.bornAt, history.policyAt) < observable
        else { return }
        let policy = state.record.policy
        var earliest = observable + (policy.heartbeatInterval.span + policy.checkinDeadline.span).milliseconds * 1_000
        if let will = outages.will(of: agent, owner) {
            earliest = min(earliest, will + policy.lostGrace.span.milliseconds * 1_000)
        }
        if world.time < earliest - Oracle.tolerance {
            violate("\(agent) lapsed \((world.time - observable) / 1_000) ms after an outage")
        }
    }

    /// A deadline runs from its wake's publication; what is on its way to the owner is not known to anybody.
    func armed(_ state: AgentState, due: Int64, transit: Int64) {
        let agent = state.record.address
        let publication = Issue(agent: agent, publication: state.publication)
        outages.armedAt[publication] = world.time
        guard let cycle = state.cycle, let published = publishedAt[publication] else { return }
        let wanted = published + (cycle.policy.checkinDeadline.span.milliseconds + cycle.extensionUsed) * 1_000
        // Between a turn's beginning and the end in which it publishes, its process may stand still.
        if due > wanted + transit + Process.stallLimit + 200_000 {
            violate("\(agent) has a deadline \((due - wanted) / 1_000) ms after its wake's")
        }
    }

    /// Whoever was well when it was woken has answered; so has, to a repeat, whose wake reached nobody before its gateway came back.
    func judge(
        _ agent: AgentAddress, _ publication: Issue, _ model: GatewayClient.Agent, _ published: Int64, _ due: Int64
    ) {
        guard unheard.contains(publication) else {
            guard model.wellSince < published else { return }
            return violate("\(agent) is offline though it was well since \(model.wellSince / 1_000) ms")
        }
        guard let gateway = gateways.first(where: { $0.gateway == agent.gateway }), gateway.openedAt > published,
            max(gateway.openedAt, model.wellSince) < due - Oracle.returnIsHeardIn
        else { return }
        violate("\(agent) is offline though its gateway was back since \(gateway.openedAt / 1_000) ms")
    }

    /// From a gateway's connection to what its owner does about it.
    private static let returnIsHeardIn: Int64 = 400_000

    func wakeReachedNobody(_ publication: Issue) { unheard.insert(publication) }
}
