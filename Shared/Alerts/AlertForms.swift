internal import API
public import Model

/// A message as it is posted.
public struct AlertRequest: Sendable {
    public let url: String
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]
    /// The same whenever it is sent again. A receiver that knows it has the message already.
    public let id: String
    /// Which sign it, by Standard Webhooks 1.0.0.
    public let secrets: [[UInt8]]

    init(_ sink: AlertSink, url: String? = nil, id: String, headers: [(name: String, value: String)], _ body: [UInt8]) {
        self.url = url ?? sink.url
        self.id = id
        self.headers = headers + (sink.token.map { [("Authorization", "Bearer \($0)")] } ?? [])
        self.body = body
        secrets = sink.secrets
    }
}

extension AlertSink {
    /// So that a message stays below 20 kB: a longer error is cut.
    private static let errorLengthMax = 200

    /// What an operator sends to see that a sink works.
    public func trial(at wallTime: Timestamp) -> AlertRequest {
        request(
            AlertNotice(gateway: "test", items: [], wallTime: wallTime), title: "a test of the alerts of Rollcall",
            text: "a test of the alerts of Rollcall")
    }

    func request(_ notice: AlertNotice) -> AlertRequest {
        request(notice, title: notice.title, text: notice.text)
    }

    private func request(_ notice: AlertNotice, title: String, text: String) -> AlertRequest {
        switch form {
        case .webhook:
            AlertRequest(
                self, id: notice.id, headers: [("Content-Type", "application/cloudevents+json")],
                JSON.bytes(cloudEvent(notice, title)))
        case .slack:
            AlertRequest(
                self, id: notice.id, headers: [("Content-Type", "application/json")],
                JSON.bytes(JSONValue.object(["text": .string(AlertSink.escaped(text))])))
        case .ntfy:
            AlertRequest(
                self, id: notice.id,
                headers: [
                    ("Title", title), ("Priority", notice.isLost ? "urgent" : notice.isResolved ? "default" : "high"),
                    ("Tags", notice.isResolved ? "white_check_mark" : "rotating_light"),
                ], Array(text.utf8))
        case .alertmanager:
            AlertRequest(
                self, url: url + (url.hasSuffix("/") ? "" : "/") + "api/v2/alerts", id: notice.id,
                headers: [("Content-Type", "application/json")], JSON.bytes(alerts(notice)))
        }
    }

    /// What Slack's markup takes for its own (docs.slack.dev, "Formatting message text").
    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            default: escaped.append(character)
            }
        }
        return escaped
    }

    // MARK: CloudEvents

    private func cloudEvent(_ notice: AlertNotice, _ title: String) -> JSONValue {
        let causes = notice.causes.map { ($0.key.rawValue, JSONValue.integer(Int64($0.value))) }
        let data: [String: JSONValue] = [
            "gateway": .string(notice.gateway), "summary": .string(title),
            "state": .string(notice.isRepeat ? "repeated" : notice.isResolved ? "resolved" : "firing"),
            "gateway_lost": .bool(notice.isLost), "offline": .integer(Int64(notice.offlineCount)),
            "explained": .integer(Int64(notice.explained)),
            "causes": .object(Dictionary(uniqueKeysWithValues: causes)),
            "events": .array(notice.items.compactMap(AlertSink.event)),
        ]
        return .object([
            "specversion": .string("1.0"), "id": .string(notice.id), "source": .string("rollcall/alerts/\(name)"),
            "type": .string("dev.rollcall.alert.v1"), "subject": .string(notice.gateway),
            "time": .string(notice.wallTime.description), "datacontenttype": .string("application/json"),
            "data": .object(data),
        ])
    }

    private static func event(_ item: AlertItem) -> JSONValue? {
        guard let event = item.event else { return nil }
        let change =
            switch item {
            case .offline: "offline"
            case .flapping: "flapping"
            case .silenced: "silenced"
            case .recovered, .gatewayLost, .gatewayConnected, .gatewayStopped: "online"
            }
        return .object([
            "id": .string(event.id), "sequence": .integer(event.sequence), "change": .string(change),
            "agent": .string(event.agent), "board": event.board.map { .string($0) } ?? .null,
            "role": .string(event.role), "cause": event.cause.map { .string($0.rawValue) } ?? .null,
            "error": event.error.map { .string(String($0.prefix(errorLengthMax))) } ?? .null,
            "time": .string(event.time.description),
        ])
    }

    // MARK: Alertmanager

    /// Each agent and a gateway that is lost are alerts of their own. What is told as over ends now; the rest ends by itself
    /// unless it is told again.
    private func alerts(_ notice: AlertNotice) -> JSONValue {
        let expiry = notice.wallTime + repeatInterval + repeatInterval + .seconds(60)
        var alerts: [JSONValue] = notice.items.compactMap { item in
            guard let event = item.event else { return nil }
            let end: String?
            switch item {
            case .recovered: end = "online again"
            case .silenced: end = "paused or deleted"
            case .offline, .flapping, .gatewayLost, .gatewayConnected, .gatewayStopped: end = nil
            }
            return AlertSink.alert(
                ["alertname": "RollcallAgentOffline", "agent": event.agent, "gateway": notice.gateway],
                [
                    "summary": "\(event.agent) is \(end ?? "offline")",
                    "description": event.error ?? "",
                ],
                from: end == nil ? event.time : nil, until: end == nil ? expiry : event.time)
        }
        let hasChanged = notice.items.contains { $0.event == nil }
        if notice.isLost || hasChanged {
            alerts.append(
                AlertSink.alert(
                    ["alertname": "RollcallGatewayLost", "gateway": notice.gateway], ["summary": notice.title],
                    from: notice.isLost ? notice.wallTime : nil, until: notice.isLost ? expiry : notice.wallTime))
        }
        if notice.items.isEmpty, !notice.isRepeat, !notice.isLost {
            alerts.append(
                AlertSink.alert(
                    ["alertname": "RollcallTest"], ["summary": "a test of the alerts of Rollcall"],
                    from: notice.wallTime,
                    until: notice.wallTime + .seconds(60)))
        }
        return .array(alerts)
    }

    private static func alert(
        _ labels: [String: String], _ annotations: [String: String], from: Timestamp?, until: Timestamp
    ) -> JSONValue {
        var alert: [String: JSONValue] = [
            "labels": .object(labels.mapValues { .string($0) }),
            "annotations": .object(annotations.mapValues { .string($0) }), "endsAt": .string(until.description),
        ]
        if let from { alert["startsAt"] = .string(from.description) }
        return .object(alert)
    }
}
