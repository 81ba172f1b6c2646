internal import API
internal import Model

/// Who asks, what of each waits and what of its answers is under way. Askers are served in turn, so that nobody waits for
/// another's backlog. A pure value.
struct LookupAskers {
    private struct Asker {
        var waiting = Queue<LookupRequest>()
        /// Answers that the broker has not acknowledged, the one that is being made included.
        var underWay = 0
        var bytes = 0
        /// It is among those whose turn comes.
        var isQueued = false

        /// Until the broker takes what it has been given nothing more is looked up.
        var mayBeServed: Bool { !waiting.isEmpty && bytes < Limits.answerBytesUnderWayMax }
    }

    private var askers: [String: Asker] = [:]
    private var turns = Queue<String>()
    private var tickets: [Int: (asker: String, bytes: Int)] = [:]

    /// Whether somebody may be served.
    var hasNext: Bool { !turns.isEmpty }

    /// Takes a request; `false` beyond `Limits.requestsUnderWayMax` of this asker.
    mutating func take(_ request: LookupRequest, of name: String) -> Bool {
        var asker = askers[name] ?? Asker()
        guard asker.waiting.count + asker.underWay < Limits.requestsUnderWayMax else { return false }
        asker.waiting.append(request)
        askers[name] = asker
        enqueue(name)
        return true
    }

    /// Whether one more refusal may be under way to this asker: beyond it there is silence.
    func mayRefuse(_ name: String) -> Bool {
        (askers[name].map { $0.waiting.count + $0.underWay } ?? 0) < 2 * Limits.requestsUnderWayMax
    }

    /// The next request, of whoever's turn it is.
    mutating func next() -> (asker: String, request: LookupRequest)? {
        while let name = turns.popFirst() {
            askers[name]?.isQueued = false
            guard askers[name]?.mayBeServed ?? false, let request = askers[name]?.waiting.popFirst() else { continue }
            askers[name]?.underWay += 1
            enqueue(name)
            return (name, request)
        }
        return nil
    }

    /// An answer goes out, to a request that `next` gave or that was not taken.
    mutating func sent(_ ticket: Int, to name: String, bytes: Int, wasTaken: Bool) {
        tickets[ticket] = (name, bytes)
        if !wasTaken { askers[name, default: Asker()].underWay += 1 }
        askers[name]?.bytes += bytes
    }

    /// The broker has an answer, or it cannot be published; whether it was one of these.
    mutating func settled(_ ticket: Int) -> Bool {
        guard let (name, bytes) = tickets.removeValue(forKey: ticket) else { return false }
        ended(name, bytes: bytes)
        return true
    }

    /// A request that `next` gave is not answered.
    mutating func dropped(_ name: String) { ended(name, bytes: 0) }

    private mutating func ended(_ name: String, bytes: Int) {
        askers[name]?.underWay -= 1
        askers[name]?.bytes -= bytes
        if let asker = askers[name], asker.waiting.isEmpty, asker.underWay == 0 { askers[name] = nil }
        enqueue(name)
    }

    private mutating func enqueue(_ name: String) {
        guard let asker = askers[name], asker.mayBeServed, !asker.isQueued else { return }
        askers[name]?.isQueued = true
        turns.append(name)
    }
}
