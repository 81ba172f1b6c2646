internal import API
internal import Bus
internal import Model

/// Events for people and for programs.
enum EventText {
    /// The table of `history`: of one agent without its name.
    static func table(_ events: [HistoryEvent], _ style: Style, isOfOne: Bool) -> String {
        let agent = isOfOne ? [] : ["AGENT"]
        var table = Table(["TIME"] + agent + ["EVENT", "REASON", "STATUS", "GENERATION", "ATTEMPTS", "ERROR"])
        table.rows = events.map { event in
            let record = event.record
            let subject = isOfOne ? [] : [event.subject]
            let cells: [Table.Cell] = [
                .init(event.event), .init(event.reason ?? "-"),
                .init(record.map { RecordText.status($0, besides: event.reason) } ?? "-", record?.status.colour),
                .init(record.map { "\($0.generation)" } ?? "-"),
                .init(record.map(RecordText.attempts) ?? "-"),
                .init(record?.lastProvisionError ?? event.agents.map { "\($0) agents" } ?? ""),
            ]
            return ([event.time.description] + subject).map { Table.Cell($0) } + cells
        }
        return table.text(style)
    }
}

/// One lifecycle event as it came over the bus: its CloudEvents attributes and its payload.
struct LiveEvent {
    let id: String
    let value: JSONValue

    /// One of `history`.
    init?(ofHistory value: JSONValue) {
        guard let id = value["id"]?.string else { return nil }
        self.id = id
        self.value = value
    }

    /// `nil` for what is not a lifecycle event.
    init?(_ delivery: Delivery) {
        guard let id = delivery.userProperty("id"), let source = delivery.userProperty("source"),
            let subject = delivery.userProperty("subject"), let time = delivery.userProperty("time"),
            // A payload that is not JSON is not one of ours.
            let payload = try? JSON.decode(JSONValue.self, from: delivery.payload), let event = payload["event"]
        else { return nil }
        self.id = id
        var members: [String: JSONValue] = [
            "id": .string(id), "event": event, "time": .string(time), "source": .string(source),
            "subject": .string(subject),
            "reason": payload["reason"] ?? .null, "record": payload["record"] ?? .null,
        ]
        if let gateway = payload["gateway"] { members["gateway"] = gateway }
        for name in ["agents", "left_out"] { if let count = payload[name] { members[name] = count } }
        value = .object(members)
    }

    /// The form of `history`, one line.
    var json: [UInt8] { JSON.bytes(value) }

    /// `TIME ADDRESS EVENT REASON STATUS …`, one line.
    func text(_ style: Style) -> String {
        let record = value["record"]
        let status = record?["status"]?.string
        var text =
            EventLine.filled(value["time"]?.string ?? "", 24) + EventLine.filled(value["subject"]?.string ?? "", 24)
        text +=
            EventLine.filled(value["event"]?.string ?? "", 18) + EventLine.filled(value["reason"]?.string ?? "-", 14)
        if let status {
            let cause = record?["offline_reason"]?.string
            let why = cause == value["reason"]?.string ? nil : cause.map { " (\(Printable.text($0)))" }
            text += style.paint(Printable.text(status) + (why ?? ""), AgentStatus(rawValue: status)?.colour)
            if let generation = record?["lifecycle_generation"]?.integer { text += "  generation \(generation)" }
            if let attempts = record?["wake_attempts"]?.integer, attempts > 0 {
                text += ", wake \(attempts)/\(record?["policy"]?["max_wake_attempts"]?.integer ?? attempts)"
            }
            if let error = record?["last_provision_error"]?.string { text += "  \(Printable.text(error))" }
        } else if let agents = value["agents"]?.integer {
            text += "\(agents) agent\(agents == 1 ? "" : "s")"
        }
        return text + "\n"
    }
}

private enum EventLine {
    static func filled(_ text: String, _ width: Int) -> String {
        let safe = Printable.text(text)
        return safe + String(repeating: " ", count: max(0, width - safe.count) + 2)
    }
}

/// The ids of events that were seen: a redelivered one is shown once.
struct SeenEvents {
    /// What a redelivery can reach back.
    static let countMax = 10_000

    private var ids: Set<String> = []
    private var order: [String] = []
    private var oldest = 0

    /// Whether `id` is new.
    mutating func insert(_ id: String) -> Bool {
        guard ids.insert(id).inserted else { return false }
        if order.count < SeenEvents.countMax {
            order.append(id)
        } else {
            ids.remove(order[oldest])
            order[oldest] = id
            oldest = (oldest + 1) % SeenEvents.countMax
        }
        return true
    }
}
