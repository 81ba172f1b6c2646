import Contract
import Lifecycle

/// What provisioners have sent and not handed over.
struct Handovers {
    /// Frames that have no receipt.
    fileprivate var frames: [StreamID: [(seq: Int, body: PartitionMessage)]] = [:]
    /// The newest frame of each stream.
    fileprivate var newest: [StreamID: Int] = [:]
}

// What goes through a provisioner.
extension Oracle {
    func sent(_ frame: StreamFrame<PartitionMessage>) {
        guard let body = frame.body, frame.seq > handovers.newest[frame.id] ?? 0 else { return }
        handovers.newest[frame.id] = frame.seq
        handovers.frames[frame.id, default: []].append((frame.seq, body))
        // It may have waited for receipts of those before it.
        let made = world.time - frame.held * 1_000
        switch body {
        case .request(let request):
            if requests[request.id] == nil {
                requests[request.id] = (request.traceparent ?? "", request.command, made)
            }
        case .report(let report):
            let issue = Issue(agent: report.agent, issue: report.issue)
            if case .failed = report.outcome { wakeFailed(issue, at: made) }
        case .batch, .introduction: break
        }
    }

    /// A receipt means that all that was caused is committed.
    func receipted(_ id: StreamID, upTo seq: Int) {
        guard var open = handovers.frames[id] else { return }
        for item in open.prefix(while: { $0.seq <= seq }) {
            guard case .request(let request) = item.body, answers[request.id] == nil, !undertaken.contains(request.id)
            else { continue }
            violate("\(request.id) is receipted and nothing is committed")
        }
        open.removeAll { $0.seq <= seq }
        handovers.frames[id] = open
    }
}
