public import API
public import Model

/// Which processes announced themselves under one name of late, in their order: a pure value.
public struct Incarnations: Hashable, Sendable {
    static let window = TimeSpan.seconds(300)
    /// Starts anew within the window; more are no coincidence.
    static let changesMax = 2
    /// Of one name; older ones say nothing new.
    private static let keptMax = 16

    private struct Start: Hashable, Sendable {
        let incarnation: String
        let at: Instant
    }

    private var starts: [String: [Start]] = [:]

    public init() {}

    public mutating func heard(_ presence: Presence, now: Instant) {
        let name = presence.name
        guard presence.state == .running, starts[name]?.last?.incarnation != presence.incarnation else { return }
        starts[name] =
            (starts[name] ?? []).suffix(Incarnations.keptMax - 1) + [
                Start(incarnation: presence.incarnation, at: now)
            ]
    }

    /// The newest of each name stays: the next one is compared with it.
    public mutating func ticked(now: Instant) {
        starts = starts.mapValues { list in
            list.dropLast().filter { now < $0.at + Incarnations.window } + list.suffix(1)
        }
    }

    /// Those that end and start again, each with how often another process came.
    var restarting: [(name: String, changes: Int)] { changed { !$0 } }

    /// Those of which two live at once: one comes back after the other.
    var doubled: [(name: String, changes: Int)] { changed { $0 } }

    private func changed(_ isTaken: (_ comesBack: Bool) -> Bool) -> [(name: String, changes: Int)] {
        starts.sorted { $0.key < $1.key }.compactMap { name, list in
            let comesBack = Set(list.map(\.incarnation)).count < list.count
            guard list.count - 1 > (comesBack ? 0 : Incarnations.changesMax), isTaken(comesBack) else { return nil }
            return (name, list.count - 1)
        }
    }
}
