internal import API
internal import Model

/// The whole system for people: its services and how many agents are where.
enum StatusText {
    static func services(_ presences: [JSONValue], now: Timestamp, _ style: Style) -> String {
        guard !presences.isEmpty else { return "No service has announced itself.\n" }
        var table = Table(["SERVICE", "INSTANCE", "STATE", "SINCE", "VERSION", "PARTITIONS"])
        table.rows = presences.map { presence in
            let state = presence["state"]?.string ?? "?"
            let since = presence["started_at"]?.string.flatMap(Timestamp.init)
            return [
                .init(presence["service"]?.string ?? "?"), .init(presence["instance"]?.string ?? "?"),
                .init(state, state == "running" ? .green : .red),
                .init(RelativeTime.text(since, now: now)), .init(presence["version"]?.string ?? "?"),
                .init(partitions(presence)),
            ]
        }
        let suspension = presences.compactMap { StatusText.suspension($0, now: now) }
        return table.text(style) + (suspension.isEmpty ? "" : "\n" + suspension.joined())
    }

    /// What a reconciler says of the times in which it could judge nothing.
    private static func suspension(_ presence: JSONValue, now: Timestamp) -> String? {
        guard let suspensions = presence["blind_spells"]?.integer, presence["state"]?.string == "running" else {
            return nil
        }
        let since = presence["blind_since"]?.string.flatMap(Timestamp.init)
        let tenths = ((presence["blind_milliseconds"]?.integer ?? 0) + 50) / 100
        let deferred = presence["deferred_deadlines"]?.integer ?? 0
        var text = "\(presence["service"]?.string ?? "?")/\(presence["instance"]?.string ?? "?")"
        text += presence["blind"] == nil ? " judges" : " judges nothing, since \(RelativeTime.text(since, now: now))"
        text +=
            "; was suspended \(suspensions == 1 ? "once" : "\(suspensions) times"), \(tenths / 10).\(tenths % 10) s in all"
        return text + "; \(deferred) deadline\(deferred == 1 ? "" : "s") put off\n"
    }

    /// `0-7, 9 (9)`, with the reason why nothing is judged, when there is one.
    private static func partitions(_ presence: JSONValue) -> String {
        let numbers = (presence["partitions"]?.object?.keys.compactMap { Int($0) } ?? []).sorted()
        var ranges: [ClosedRange<Int>] = []
        for number in numbers {
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        let texts = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        let owned = numbers.isEmpty ? "" : "\(texts.joined(separator: ", ")) (\(numbers.count))"
        guard let suspended = presence["blind"]?.string else { return owned }
        return owned + (owned.isEmpty ? "" : "; ") + "judges nothing: \(suspended)"
    }

    /// What of the services a person has to see to, a line each, behind an empty one; nothing when all is well.
    static func warnings(_ presences: [JSONValue], _ style: Style) -> String {
        var lines: [String] = []
        for presence in presences {
            if let trouble = presence["trouble"]?.string {
                lines.append("the status store can commit nothing: \(Printable.text(trouble))")
            }
            if let reason = presence["unserved"]?.string {
                lines.append("the status store serves nobody: \(Printable.text(reason))")
            }
            if let kept = presence["dead_letters"]?["kept"]?.integer, kept > 0 {
                lines.append("dead letters: \(kept), see 'rollcall status --dead-letters'")
            }
        }
        return lines.isEmpty ? "" : "\n" + lines.map { style.paint($0, .red) + "\n" }.joined()
    }

    /// The frames that the status store put aside, as its presence tells of them.
    static func deadLetters(_ presences: [JSONValue], now: Timestamp, _ style: Style) -> String {
        let reports = presences.compactMap { $0["dead_letters"] }
        guard !reports.isEmpty else { return "No dead letters.\n" }
        var table = Table(["NUMBER", "SINCE", "SENDER", "SEQ", "ERROR"])
        for letter in reports.flatMap({ $0["newest"]?.array ?? [] }) {
            let at = letter["at"]?.string.flatMap(Timestamp.init)
            table.rows.append([
                .init(letter["number"]?.integer.map(String.init) ?? "?"), .init(RelativeTime.text(at, now: now)),
                .init(letter["stream"]?.string ?? "?"), .init(letter["seq"]?.integer.map(String.init) ?? "?"),
                .init(letter["error"]?.string ?? "?"),
            ])
        }
        let kept = reports.reduce(0) { $0 + ($1["kept"]?.integer ?? 0) }
        let total = reports.reduce(0) { $0 + ($1["total"]?.integer ?? 0) }
        return table.text(style)
            + "\n\(total) so far, \(kept) kept whole in the table dead_letters of the database\n"
    }

    static func summary(_ summary: JSONValue, _ style: Style) -> String {
        let counts = AgentStatus.allCases.map { status in
            let count = summary["by_status"]?[status.rawValue]?.integer ?? 0
            return "\(count) " + style.paint(status.rawValue, count > 0 ? status.colour : nil)
        }
        let total = summary["total"]?.integer ?? 0
        return "\(total) agent\(total == 1 ? "" : "s"): \(counts.joined(separator: ", "))\n"
    }

    static func gateways(_ gateways: [JSONValue], _ style: Style) -> String {
        var table = Table(["GATEWAY", "STATE", "AGENTS", "POLICY"])
        table.rows = gateways.map { gateway in
            let state = gateway["state"]?.string ?? "?"
            let colour: Style.Colour? =
                switch state {
                case "connected": .green
                case "lost": .red
                default: .dim
                }
            return [
                .init(gateway["gateway"]?.string ?? "?"), .init(state, colour),
                .init(gateway["agents"]?.integer.map(String.init) ?? "?"), .init(policy(gateway["policy"])),
            ]
        }
        return table.text(style)
    }

    /// What of a policy is not the product's default.
    private static func policy(_ value: JSONValue?) -> String {
        let defaults = PolicyOverrides(all: Policy())
        return PolicySetting.allCases.compactMap { setting -> String? in
            guard let value = value?[setting.rawValue] else { return nil }
            guard let text = value.string ?? value.integer.map(String.init), text != defaults.text(of: setting) else {
                return nil
            }
            return "\(setting.rawValue)=\(text)"
        }.joined(separator: " ")
    }
}
