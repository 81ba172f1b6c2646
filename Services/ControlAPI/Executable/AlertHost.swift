internal import API
internal import AlertDelivery
internal import Alerts
internal import Bus
internal import Model
internal import ServiceHost
internal import Wire

/// Hosts `AlertCore` between the bus and the sinks. Nothing is decided here.
final class AlertHost {
    private var core: AlertCore
    private let poster: AlertPoster
    private let runtime: ServiceRuntime
    /// Where the store answers.
    private let pages: String
    private let lists: String
    private weak var connection: Connection?
    private var isSubscribed = false

    /// - Parameter replies: below which answers to this incarnation of this instance come.
    init(_ settings: AlertSettings, _ runtime: ServiceRuntime, replies: String) {
        core = AlertCore(settings)
        poster = AlertPoster(loop: runtime.loop)
        self.runtime = runtime
        pages = replies + "/alerts"
        lists = replies + "/alerts-list"
        runtime.log.event("alerts.begun", .info, ["sinks": LogValue(settings.sinks.count)])
        runtime.loop.every(TimeSpan(milliseconds: 200)) { [unowned self] in
            handle(.ticked(isConnected: isSubscribed))
        }
    }

    var filters: [String] { [pages, lists, runtime.topics.allGatewayLifecycle()] }

    func connected(_ connection: Connection) { self.connection = connection }

    func subscribed() { isSubscribed = true }

    func disconnected() {
        isSubscribed = false
        handle(.disconnected)
    }

    /// Whether a message was for the alerts.
    func received(_ delivery: Delivery) -> Bool {
        if delivery.topic == pages || delivery.topic == lists {
            let numbers = String(decoding: delivery.correlationData ?? [], as: UTF8.self).split(separator: " ")
                .compactMap { Int($0) }
            guard numbers.count == 2 else { return true }
            if delivery.topic == lists {
                let answer = try? JSON.read(delivery.payload)
                let page = (answer?["records"]?.array).map { ($0, answer?["next"]?.string) }
                handle(.listed(sink: numbers[0], number: numbers[1], page))
            } else if let page = EventPage(delivery.payload) {
                handle(.eventsAnswered(sink: numbers[0], number: numbers[1], page))
            }
            return true
        }
        guard runtime.topics.gateway(of: delivery.topic) != nil else { return false }
        if let message = try? JSON.decode(GatewayLifecycleMessage.self, from: delivery.payload) {
            handle(.gatewayChanged(message))
        }
        return true
    }

    var metrics: [Metric] { core.metrics(now: Clock.now()) }

    var warnings: [ServiceWarning] { core.warnings(now: Clock.now()) }

    private func handle(_ input: AlertInput) {
        var actions: [AlertAction] = []
        core.handle(input, now: Clock.now(), wallTime: Clock.wallTime(), into: &actions)
        actions.forEach(carryOut)
    }

    private func ask(_ topic: String, _ payload: [UInt8], _ replyTo: String, _ sink: Int, _ number: Int) {
        var publication = Publication(topic: topic, payload: payload)
        publication.responseTopic = replyTo
        publication.correlationData = Array("\(sink) \(number)".utf8)
        // Lost with the connection: it is asked again.
        _ = try? connection?.publish(publication)
    }

    private func carryOut(_ action: AlertAction) {
        switch action {
        case .ask(let sink, let question, let number):
            ask(runtime.topics.eventQuestions, WireFormat.bytes(question), pages, sink, number)
        case .list(let sink, let members, let number):
            ask(
                runtime.topics.command(Verb.list.rawValue), JSON.bytes(JSONValue.object(members)), lists, sink, number)
        case .post(let sink, let request, let number):
            poster.post(request) { [weak self] outcome in
                self?.handle(.posted(sink: sink, number: number, outcome))
            }
        case .log(let log, let sink):
            let name = LogValue(sink)
            switch log {
            case .failing(let reason):
                runtime.log.event("alerts.failing", .warning, ["sink": name, "error": LogValue(reason)])
            case .delivering: runtime.log.event("alerts.delivering", .info, ["sink": name])
            case .stopped: runtime.log.event("alerts.stopped", .error, ["sink": name, "error": "answered 410"])
            case .givenUp(let reason):
                runtime.log.event("alerts.given_up", .error, ["sink": name, "error": LogValue(reason)])
            }
        }
    }
}
