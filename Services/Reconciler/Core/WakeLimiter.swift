internal import Model

/// Lets a gateway's wakes go at its rate: a storm is paced, a single wake is not delayed.
struct WakeLimiter: Sendable {
    private var waiting: [SlotReference] = []
    private var head = 0
    private(set) var next: Instant?
    private var credit: Double
    private var creditedAt: Instant?
    var rate: Rate

    init(rate: Rate) {
        self.rate = rate
        credit = Double(max(1, rate.perSecond / 5))
    }

    var isEmpty: Bool { head == waiting.count }
    /// Who gets the next permit.
    var first: SlotReference? { isEmpty ? nil : waiting[head] }

    mutating func append(_ agent: SlotReference) {
        waiting.append(agent)
    }

    /// Passes over the next agent, which is gone or needs no permit any more.
    mutating func skip() {
        head += 1
    }

    /// There is no room for more permits in this slice.
    mutating func waitForRoom(_ now: Instant) {
        next = isEmpty ? nil : now
    }

    /// The next agent that gets a permit now; `nil` when none waits or the rate is used up until `next`.
    mutating func take(_ now: Instant) -> SlotReference? {
        guard !isEmpty else {
            waiting = []
            head = 0
            next = nil
            return nil
        }
        if !rate.isUnlimited {
            if let creditedAt, now > creditedAt {
                let gained = Double(now.nanoseconds(since: creditedAt)) / 1e9 * Double(rate.perSecond)
                credit = min(Double(max(1, rate.perSecond / 5)), credit + gained)
            }
            creditedAt = now
            guard credit >= 1 else {
                let wait = (1 - credit) / Double(rate.perSecond)
                next = Instant(nanoseconds: now.nanoseconds + Int64(wait * 1e9) + 1)
                return nil
            }
            credit -= 1
        }
        defer { head += 1 }
        return waiting[head]
    }
}

/// The gateways with agents that wait for permits: when there is no room for all, one comes after the other.
struct WakePacing: Sendable {
    private(set) var gateways: Set<String> = []
    /// The one whose wakes got their permits last: the others come first now.
    var last = ""

    var inTurn: [String] {
        let names = gateways.sorted()
        let first = names.firstIndex { $0 > last } ?? 0
        return Array(names[first...] + names[..<first])
    }

    mutating func add(_ gateway: String) { gateways.insert(gateway) }

    mutating func remove(_ gateway: String) { gateways.remove(gateway) }
}
