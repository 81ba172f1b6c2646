internal import Model

/// One message about one gateway, before it has a form.
struct AlertNotice: Sendable {
    /// Agents that a text names.
    static let namesMax = 10

    let gateway: String
    let items: [AlertItem]
    /// How many went offline with their gateway, and are counted alone.
    let explained: Int
    /// The lowest position of all that is told at this moment, in however many messages.
    let firstSequence: Int64?
    /// How many are offline now, by cause.
    let causes: [OfflineReason: Int]
    let isLost: Bool
    let isRepeat: Bool
    let wallTime: Timestamp

    init(
        gateway: String, items: [AlertItem], explained: Int = 0, offline: [String: AlertEvent] = [:],
        isLost: Bool = false, isRepeat: Bool = false, firstSequence: Int64? = nil, wallTime: Timestamp
    ) {
        self.explained = explained
        self.firstSequence = firstSequence
        self.gateway = gateway
        self.items = items
        var causes: [OfflineReason: Int] = [:]
        for case let cause? in offline.values.map(\.cause) { causes[cause, default: 0] += 1 }
        self.causes = causes
        self.isLost = isLost
        self.isRepeat = isRepeat
        self.wallTime = wallTime
    }

    var offlineCount: Int { causes.values.reduce(0, +) }
    /// Whether all is well again.
    var isResolved: Bool { offlineCount == 0 && !isLost && !isRepeat }

    /// The same for the same content, whoever sends it and however often.
    var id: String {
        let events = items.compactMap(\.event)
        guard !isRepeat, let first = events.first, let last = events.last else {
            return "\(gateway)@\(wallTime)"
        }
        return "\(first.id) \(last.id) \(events.count)"
    }

    // MARK: As text

    var title: String {
        if isRepeat {
            return isLost
                ? "gateway \(gateway) is still lost" : "\(gateway): \(AlertNotice.agents(offlineCount)) still offline"
        }
        var parts: [String] = []
        var counts = (offline: 0, recovered: 0, flapping: 0, silenced: 0)
        for item in items {
            switch item {
            case .offline: counts.offline += 1
            case .recovered: counts.recovered += 1
            case .flapping: counts.flapping += 1
            case .silenced: counts.silenced += 1
            case .gatewayLost: parts.append("gateway \(gateway) is lost")
            case .gatewayConnected: parts.append("gateway \(gateway) is connected again")
            case .gatewayStopped: parts.append("gateway \(gateway) is stopped on purpose")
            }
        }
        if counts.offline > 0 { parts.append("\(gateway): \(AlertNotice.agents(counts.offline)) offline") }
        if explained > 0 { parts.append("\(AlertNotice.agents(explained)) of \(gateway) offline with it") }
        if counts.flapping > 0 { parts.append("\(gateway): \(AlertNotice.agents(counts.flapping)) flapping") }
        if counts.recovered > 0 { parts.append("\(gateway): \(AlertNotice.agents(counts.recovered)) online again") }
        if counts.silenced > 0 { parts.append("\(gateway): \(AlertNotice.agents(counts.silenced)) paused or deleted") }
        return parts.joined(separator: "; ")
    }

    /// The title, the first agents, and how many are offline now.
    var text: String {
        var lines = [title]
        let told = items.compactMap { item -> (AlertEvent, String)? in
            switch item {
            case .offline(let event): (event, event.error ?? event.cause?.rawValue ?? "offline")
            case .flapping(let event): (event, "goes offline again and again; told of no more for an hour")
            case .recovered(let event): (event, "online again")
            case .silenced(let event): (event, "paused or deleted")
            case .gatewayLost, .gatewayConnected, .gatewayStopped: nil
            }
        }
        lines += told.prefix(AlertNotice.namesMax).map { "\($0.agent): \($1)" }
        if told.count > AlertNotice.namesMax { lines.append("and \(told.count - AlertNotice.namesMax) more") }
        let histogram = causes.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.key.rawValue) \($0.value)" }
        lines.append(offlineCount == 0 ? "none offline now" : "offline now: \(histogram.joined(separator: ", "))")
        return lines.joined(separator: "\n")
    }

    private static func agents(_ count: Int) -> String { count == 1 ? "1 agent" : "\(count) agents" }
}
