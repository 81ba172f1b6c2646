internal import API

/// Whether a system is ready for commands, judged by what its services say of themselves.
struct Readiness: Hashable, Sendable {
    /// `service/instance` of all that must run.
    let expected: [String]
    private var presences: [String: Presence] = [:]
    /// Whether a command was answered.
    var isAnswered = false

    init(expected: [String]) {
        self.expected = expected
    }

    mutating func heard(_ presence: Presence) {
        presences[presence.name] = presence
    }

    /// What is not yet as it must be, in words; empty when all is ready but, perhaps, the answer to a command.
    var missing: [String] {
        let notRunning = expected.filter { presences[$0]?.state != .running }
        guard notRunning.isEmpty else { return notRunning.map { "\($0) is not running" } }
        let all = presences.values.filter { $0.state == .running }
        guard let count = all.compactMap(\.partitionCount).first else {
            return ["the status store announces no partitions"]
        }
        let owned = all.reduce(0) { $0 + ($1.partitions?.count ?? 0) }
        guard owned == count else { return ["\(owned) of \(count) partitions have an owner"] }
        // A suspended reconciler sends no wake and judges no deadline.
        return all.compactMap { presence in
            presence.suspended.map { "\(presence.name) judges nothing: \($0)" }
        }.sorted()
    }
}
