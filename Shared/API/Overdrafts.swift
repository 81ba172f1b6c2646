public import Model

/// Who lately wanted more than its share, and how often: a pure value.
public struct Overdrafts: Sendable {
    /// For so long after the last time it is told.
    public static let window = TimeSpan.seconds(60)
    /// Further names are left out.
    private static let namesMax = 100
    private static let namesTold = 3

    private var notes: [String: (count: Int, at: Instant)] = [:]

    public init() {}

    public mutating func note(_ name: String, _ count: Int = 1, now: Instant) {
        notes = notes.filter { now < $0.value.at + Overdrafts.window }
        guard notes[name] != nil || notes.count < Overdrafts.namesMax else { return }
        notes[name] = ((notes[name]?.count ?? 0) + count, now)
    }

    /// - Parameter what: of what they wanted more.
    public func warning(_ what: String, now: Instant) -> ServiceWarning? {
        let recent = notes.filter { now < $0.value.at + Overdrafts.window }
            .sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }
        guard !recent.isEmpty else { return nil }
        let told = recent.prefix(Overdrafts.namesTold).map { "\($0.key) ×\($0.value.count)" }
        let rest = recent.count - told.count
        return ServiceWarning(
            .budgetExceeded, "\(what): \(told.joined(separator: ", "))\(rest > 0 ? " and \(rest) more" : "")")
    }
}
