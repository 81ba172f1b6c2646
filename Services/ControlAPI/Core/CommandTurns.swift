internal import API
internal import Model

/// The commands of each operator: a few are with the services at a time, the others wait here, so that nobody waits for another's
/// backlog. A pure value.
struct CommandTurns {
    /// Commands of one token that the services work on.
    static let inWorkMax = 8
    /// With those that wait; beyond it a request is refused.
    static let underWayMax = Limits.requestsUnderWayMax

    private struct Asker {
        var underWay: Set<Int> = []
        var inWork: Set<Int> = []
        var waiting = Queue<Int>()
    }

    private var askers: [String: Asker] = [:]
    /// Whose turns may have come.
    private var freed: [String] = []

    func underWay(_ name: String) -> Int { askers[name]?.underWay.count ?? 0 }

    func isInWork(_ number: Int, of name: String) -> Bool { askers[name]?.inWork.contains(number) ?? false }

    /// Whether a command may be asked at once. If not, `next` gives it when it is its turn.
    mutating func take(_ number: Int, of name: String) -> Bool {
        askers[name, default: Asker()].underWay.insert(number)
        guard askers[name]?.inWork.count ?? 0 >= CommandTurns.inWorkMax else {
            askers[name]?.inWork.insert(number)
            return true
        }
        askers[name]?.waiting.append(number)
        return false
    }

    /// A command is answered, or its sender has given it up.
    mutating func ended(_ number: Int, of name: String) {
        askers[name]?.underWay.remove(number)
        askers[name]?.inWork.remove(number)
        if askers[name]?.underWay.isEmpty ?? false { askers[name] = nil } else { freed.append(name) }
    }

    /// The command whose turn has come.
    mutating func next() -> Int? {
        while let name = freed.last {
            while askers[name]?.inWork.count ?? 0 < CommandTurns.inWorkMax,
                let number = askers[name]?.waiting.popFirst()
            {
                guard askers[name]?.underWay.contains(number) ?? false else { continue }
                askers[name]?.inWork.insert(number)
                return number
            }
            freed.removeLast()
        }
        return nil
    }
}
