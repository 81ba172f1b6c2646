internal import Lifecycle
internal import Model

/// A command about many agents: it comes to each of them in its turn.
struct BulkOperation: Sendable {
    enum Change: Sendable {
        case pause(PauseCause, until: Timestamp?)
        case resume(PauseCause)
        case delete
        case followPolicy
    }

    let change: Change
    let traceparent: String?
    fileprivate let agents: [SlotReference]
    /// Of `agents`: whom it comes to next.
    fileprivate var next = 0

    fileprivate var isDone: Bool { next == agents.count }

    init(_ change: Change, traceparent: String?, agents: [SlotReference]) {
        self.change = change
        self.traceparent = traceparent
        self.agents = agents
    }
}

/// Those that are under way, by number; each agent knows the numbers that have not come to it yet.
struct BulkOperations: Sendable {
    private var operations: [BulkOperation] = []
    /// The number of the first of them.
    private var first = 0

    /// The number of the oldest that is not done.
    var oldest: Int? { operations.isEmpty ? nil : first }

    /// - Precondition: it is not forgotten.
    subscript(number: Int) -> BulkOperation { operations[number - first] }

    /// Its number.
    mutating func add(_ operation: BulkOperation) -> Int {
        operations.append(operation)
        return first + operations.count - 1
    }

    /// Whether it has come to all of its agents.
    func isDone(_ number: Int?) -> Bool {
        guard let number, number >= first else { return true }
        return operations[number - first].isDone
    }

    /// The next agent that it comes to; `nil` when it has come to all.
    mutating func next(of number: Int) -> SlotReference? {
        guard !isDone(number) else { return nil }
        defer { operations[number - first].next += 1 }
        return operations[number - first].agents[operations[number - first].next]
    }

    mutating func forgetDone() {
        while operations.first?.isDone == true {
            operations.removeFirst()
            first += 1
        }
    }
}
