import Lifecycle
import Model
import Wire

/// What provisioners were given and have not handed on.
struct Handovers {
    /// Commands that are not answered, and orders that are not reported, by the session on which the broker gave them. What came
    /// on another one may be lost with it.
    fileprivate var commands: [Int: [String]] = [:]
    fileprivate var orders: [Int: [Issue]] = [:]
    /// Heartbeats that were not read, by the session on which the broker gave them.
    var heartbeats: [Int: Int] = [:]
    /// Frames that have no acknowledgement.
    fileprivate var frames: [StreamID: [(seq: Int, body: PartitionMessage)]] = [:]
    /// The newest frame of each stream.
    fileprivate var newest: [StreamID: Int] = [:]
}

// What goes through a provisioner.
extension Oracle {
    /// The broker gives a message to one of those who share a subscription.
    func handed(_ message: SimMessage, to session: Session) {
        if case .heartbeat = message.body { handovers.heartbeats[session.number, default: 0] += 1 }
        if case .command(let command) = message.body {
            handovers.commands[session.number, default: []].append(command.tag)
        }
        // Elsewhere an order may be lost on its way.
        if case .order(let message) = message.body, world.plan.isHonest {
            let publication = Issue(agent: message.order.agent, publication: message.order.publication)
            handovers.orders[session.number, default: []].append(publication)
        }
    }

    func replied(_ tag: String, _ session: Session) {
        guard let index = handovers.commands[session.number]?.firstIndex(of: tag) else { return }
        handovers.commands[session.number]?.remove(at: index)
    }

    func sent(_ frame: StreamFrame<PartitionMessage>, by provisioner: ProvisionerProcess) {
        guard let body = frame.body, frame.seq > handovers.newest[frame.id] ?? 0 else { return }
        handovers.newest[frame.id] = frame.seq
        handovers.frames[frame.id, default: []].append((frame.seq, body))
        // It may have waited for acknowledgements of those before it.
        let made = world.time - frame.age * 1_000
        switch body {
        case .request(let request):
            if requests[request.id] == nil {
                requests[request.id] = (request.traceparent ?? "", request.command, made)
            }
        case .report(let report):
            let publication = Issue(agent: report.agent, publication: report.publication)
            if case .failed = report.outcome { wakeFailed(publication, at: made) }
            if let session = provisioner.session { handovers.orders[session.number]?.removeAll { $0 == publication } }
        case .batch, .introduction: break
        }
    }

    /// An acknowledgement means that all that was caused is committed.
    func acknowledged(_ id: StreamID, upTo seq: Int) {
        guard var open = handovers.frames[id] else { return }
        for item in open.prefix(while: { $0.seq <= seq }) {
            guard case .request(let request) = item.body, answers[request.id] == nil, !intended.contains(request.id)
            else { continue }
            violate("\(request.id) is acknowledged and nothing is committed")
        }
        open.removeAll { $0.seq <= seq }
        handovers.frames[id] = open
    }

    /// A provisioner says that it has handed over all that it was given.
    func stopped(_ provisioner: ProvisionerProcess, _ session: Session) {
        if let tag = handovers.commands[session.number]?.first {
            violate("\(provisioner.name) has stopped and \(tag) is not answered")
        }
        if let publication = handovers.orders[session.number]?.first {
            violate("\(provisioner.name) has stopped and an order of \(publication.agent) is not reported")
        }
        let isLeft = handovers.frames.contains { $0.key.incarnation == provisioner.incarnation && !$0.value.isEmpty }
        if isLeft { violate("\(provisioner.name) has stopped and what it has sent has no acknowledgement") }
    }
}
