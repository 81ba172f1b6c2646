internal import Model

/// Who asks for what, each with a bounded number of requests under way and a smaller one in work, so that nobody waits for
/// another's backlog.
struct Askers<Item: Sendable>: Sendable {
    private struct Asker {
        var underWay = 0
        var inWork = 0
        var waiting = Queue<Item>()
    }

    /// Requests of one asker that are worked on at a time; its others wait behind them.
    private let inWorkMax: Int
    private var askers: [String: Asker] = [:]

    init(inWorkMax: Int) {
        self.inWorkMax = inWorkMax
    }

    func underWay(_ asker: String) -> Int { askers[asker]?.underWay ?? 0 }

    /// One more request is under way.
    mutating func began(_ asker: String) {
        askers[asker, default: Asker()].underWay += 1
    }

    /// Whether a request may be worked on at once. If not, `item` is given by ``next(of:)`` when it is its turn.
    mutating func take(_ item: Item, of asker: String) -> Bool {
        guard askers[asker, default: Asker()].inWork >= inWorkMax else {
            askers[asker]?.inWork += 1
            return true
        }
        askers[asker]?.waiting.append(item)
        return false
    }

    /// What is to be worked on next; it counts as such.
    mutating func next(of asker: String) -> Item? {
        guard let inWork = askers[asker]?.inWork, inWork < inWorkMax, let item = askers[asker]?.waiting.popFirst()
        else {
            forgetIfIdle(asker)
            return nil
        }
        askers[asker]?.inWork += 1
        return item
    }

    /// A request is no longer worked on.
    mutating func worked(_ asker: String) {
        askers[asker]?.inWork -= 1
    }

    /// A request is answered.
    mutating func ended(_ asker: String) {
        askers[asker]?.underWay -= 1
        forgetIfIdle(asker)
    }

    private mutating func forgetIfIdle(_ asker: String) {
        guard let found = askers[asker], found.underWay == 0, found.inWork == 0, found.waiting.isEmpty else { return }
        askers[asker] = nil
    }
}
