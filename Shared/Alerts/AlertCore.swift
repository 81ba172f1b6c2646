public import API
public import Model
public import Wire

/// What the core of alerts is told.
public enum AlertInput: Sendable {
    case disconnected
    /// The store's answer to a question of this sink.
    case eventsAnswered(sink: Int, number: Int, EventPage)
    /// The answer to `list`: records, and where the next page begins; `nil` when it was refused.
    case listed(sink: Int, number: Int, (records: [JSONValue], next: String?)?)
    case gatewayChanged(GatewayLifecycleMessage)
    case posted(sink: Int, number: Int, PostOutcome)
    /// Five times a second.
    case ticked(isConnected: Bool)
}

/// How sending a message ended.
public enum PostOutcome: Hashable, Sendable {
    case answered(status: Int, retryAfter: TimeSpan?)
    case failed(String)
}

/// What it wants done, sinks by their places in the settings.
public enum AlertAction: Sendable {
    /// The answer names the number.
    case ask(sink: Int, EventQuestion, number: Int)
    /// The verb `list` with these members. The answer names the number.
    case list(sink: Int, [String: JSONValue], number: Int)
    /// `posted` is to name the number.
    case post(sink: Int, AlertRequest, number: Int)
    case log(AlertLog, sink: String)
}

public enum AlertLog: Hashable, Sendable {
    /// It is tried again, after longer and longer pauses.
    case failing(reason: String)
    case delivering
    /// The receiver wants no more (410): the sink rests until this process starts anew.
    case stopped
    /// A message was tried for days.
    case givenUp(reason: String)
}

/// Tells sinks which agents are offline: from committed events, in their order, each at least once.
///
/// A pure value: inputs and the time go in, actions come out. Its position in the events is kept by the store for each sink and
/// moves once a message was answered 2xx; the store answers one process at a time for each sink (`EventQuestion`).
public struct AlertCore: Sendable {
    private var sinks: [SinkCore]

    public init(_ settings: AlertSettings) {
        self.init(settings, owedMax: SinkCore.owedMax)
    }

    init(_ settings: AlertSettings, owedMax: Int) {
        sinks = settings.sinks.map { SinkCore($0, owedMax: owedMax) }
    }

    /// Handles one input; the actions are appended in the order in which they are to be carried out.
    public mutating func handle(
        _ input: AlertInput, now: Instant, wallTime: Timestamp, into actions: inout [AlertAction]
    ) {
        for index in sinks.indices {
            var output = SinkOutput(sink: index, name: sinks[index].sink.name)
            switch input {
            case .disconnected: sinks[index].disconnected()
            case .eventsAnswered(index, let number, let page):
                sinks[index].received(page, number, now: now, wallTime: wallTime, &output)
            case .listed(index, let number, let page): sinks[index].listed(page, number, now: now, &output)
            case .gatewayChanged(let message): sinks[index].changed(message, now: now)
            case .posted(index, let number, let outcome): sinks[index].posted(number, outcome, now: now, &output)
            case .ticked(let isConnected):
                sinks[index].ticked(isConnected: isConnected, now: now, wallTime: wallTime, &output)
            case .eventsAnswered, .listed, .posted: continue
            }
            actions += output.actions
        }
    }

    /// Sinks that have not taken a message for long, or want no more.
    public func warnings(now: Instant) -> [ServiceWarning] {
        sinks.compactMap { sink in
            let age = sink.oldest(now: now)
            guard sink.isStopped || age >= SinkCore.warnAfter else { return nil }
            let detail =
                sink.isStopped
                ? "answered 410, and is told no more" : "has taken nothing for \(age.milliseconds / 60_000) min"
            return ServiceWarning(.alertUndelivered, "\(sink.sink.name) \(detail)")
        }
    }

    public func metrics(now: Instant) -> [Metric] {
        [
            Metric(
                "rollcall_webhook_deliveries", .counter, "Messages of alerts to sinks.",
                sinks.flatMap { sink in
                    [("delivered", sink.delivered), ("failed", sink.failed)].map { result, count in
                        ([("sink", sink.sink.name), ("result", result)], Double(count))
                    }
                }),
            Metric(
                "rollcall_webhook_oldest_seconds", .gauge,
                "How long the oldest message that a sink owes has been due.",
                sinks.map { ([("sink", $0.sink.name)], Double($0.oldest(now: now).milliseconds) / 1_000) }),
        ]
    }
}

/// What one sink wants done.
struct SinkOutput {
    let sink: Int
    let name: String
    private(set) var actions: [AlertAction] = []

    init(sink: Int, name: String) {
        self.sink = sink
        self.name = name
    }

    mutating func ask(_ question: EventQuestion, _ number: Int) {
        actions.append(.ask(sink: sink, question, number: number))
    }
    mutating func list(_ members: [String: JSONValue], _ number: Int) {
        actions.append(.list(sink: sink, members, number: number))
    }
    mutating func post(_ request: AlertRequest, _ number: Int) {
        actions.append(.post(sink: sink, request, number: number))
    }
    mutating func log(_ log: AlertLog) { actions.append(.log(log, sink: name)) }
}
