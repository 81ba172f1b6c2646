import API
import Model
import Wire

@testable import Alerts

/// A core of one sink, with a store that has whatever the test says, and what the core wants done as text.
struct AlertSubject {
    var now = Instant(nanoseconds: 1_000_000_000)
    var core: AlertCore
    private var kept: Int64 = 0
    private var last: Int64 = 0
    private var events: [EventPage.Entry] = []
    /// What the store answers to `list`.
    var records: [JSONValue] = []
    private var question: (number: Int, EventQuestion)?
    private var listing: Int?
    private var posted: (number: Int, AlertRequest)?
    /// The wall clock at `now`.
    private var wallTime: Timestamp {
        Timestamp(millisecondsSince1970: now.milliseconds(since: Instant(nanoseconds: 0)))
    }

    /// - Parameter members: of the sink, in JSON, behind its name and address.
    init(
        _ form: String = "slack", _ members: String = #""group_wait": "0s", "group_interval": "0s""#,
        owedMax: Int = SinkCore.owedMax
    ) {
        let secrets = form == "webhook" ? #", "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]"# : ""
        let more = members.isEmpty ? "" : ", " + members
        let text = #"{"sinks": [{"name": "ops", "form": "\#(form)", "url": "http://x/hook"\#(secrets)\#(more)}]}"#
        guard let settings = try? AlertSettings(Array(text.utf8)) else { preconditionFailure(text) }
        core = AlertCore(settings, owedMax: owedMax)
    }

    /// Commits an event.
    mutating func commit(
        _ event: String, _ agent: String, cause: String? = nil, error: String? = nil, isPaused: Bool = false,
        board: String = "b", status: String? = nil
    ) {
        last += 1
        let record: [String: JSONValue] = [
            "status": .string(status ?? (event == "online" ? "online" : "offline")), "paused": .bool(isPaused),
            "board_id": .string(board), "role": .string("worker"),
            "offline_reason": cause.map { .string($0) } ?? (event == "offline" ? .string("checkin_missed") : .null),
            "last_provision_error": error.map { .string($0) } ?? .null,
        ]
        let document: [String: JSONValue] = [
            "event": .string(event), "id": .string("\(agent)#\(last)"), "record": .object(record),
            "time": .string(wallTime.description),
        ]
        events.append(
            EventPage.Entry(
                sequence: last, agent: agent, event: event, document: JSON.bytes(JSONValue.object(document))))
    }

    /// A turn of the loop after so long: the core's question is answered. What the core wanted besides.
    mutating func tick(after milliseconds: Int64 = 200, isConnected: Bool = true, isAnswered: Bool = true) -> [String] {
        now = now + TimeSpan(milliseconds: milliseconds)
        var told = handle(.ticked(isConnected: isConnected))
        while isAnswered, listing != nil || question != nil {
            if let number = listing {
                listing = nil
                told += handle(.listed(sink: 0, number: number, (records, nil)))
                continue
            }
            guard let (number, question) = question else { break }
            self.question = nil
            if let delivered = question.delivered { kept = delivered }
            let after = question.after ?? kept
            let page = EventPage(oldest: 1, last: last, events.filter { $0.sequence > after })
            told += handle(.eventsAnswered(sink: 0, number: number, page))
        }
        return told
    }

    /// Two turns: what was committed is read and told.
    mutating func settle() -> [String] { tick() + tick() }

    /// So many seconds go by, of which no lease notices anything.
    mutating func pass(_ seconds: Int64) -> [String] { (0..<seconds).flatMap { _ in tick(after: 1_000) } }

    /// The receiver answers what was posted.
    mutating func answer(_ status: Int, retryAfter: TimeSpan? = nil) -> [String] {
        guard let (number, _) = posted else { return ["nothing was posted"] }
        posted = nil
        return handle(.posted(sink: 0, number: number, .answered(status: status, retryAfter: retryAfter)))
    }

    /// What the store keeps as delivered.
    mutating func position() -> Int64 {
        _ = tick()
        return kept
    }

    var request: AlertRequest? { posted?.1 }

    mutating func handle(_ input: AlertInput) -> [String] {
        var actions: [AlertAction] = []
        core.handle(input, now: now, wallTime: wallTime, into: &actions)
        return actions.compactMap { action in
            switch action {
            case .ask(_, let question, let number):
                self.question = (number, question)
                return nil
            case .list(_, let members, let number):
                listing = number
                return members["status"]?.string == "offline" ? nil : "list \(members)"
            case .post(_, let request, let number):
                posted = (number, request)
                return text(request)
            case .log(let log, _): return "log \(log)"
            }
        }
    }

    private func text(_ request: AlertRequest) -> String {
        guard let body = try? JSON.read(request.body) else { return String(decoding: request.body, as: UTF8.self) }
        return
            (body["text"]?.string ?? body["data"]?["summary"]?.string ?? String(decoding: request.body, as: UTF8.self))
            .split(separator: "\n").joined(separator: " | ")
    }
}
