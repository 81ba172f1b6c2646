internal import API
internal import Model
internal import Wire

/// The open streams of Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): a pure value.
///
/// Of each it knows the position alone: what lies behind it is asked of the store, which has it all, in pages, for streams at
/// the same position once. A stream is told the next page when its client has read the one before, so a slow client costs no
/// memory, and loses nothing.
struct EventStreams {
    static let commentEvery = TimeSpan.seconds(15)
    /// The store is asked again when it has not answered for so long.
    static let answerLimit = TimeSpan.seconds(5)
    /// A client that has not read what it was told for so long is sent away.
    static let unreadLimit = TimeSpan.seconds(60)

    /// Of one token, so that none takes the places of all.
    static let ofTokenMax = 100

    private struct Stream {
        /// The token that opened it.
        let digest: String
        let filter: Filter
        /// `nil`: from now on, wherever that is.
        var position: Int64?
        /// Whether its position is still the client's word.
        var isNew = true
        /// Whether there may be something behind its position.
        var isDue = true
        var unreadSince: Instant?
        var commentAt: Instant
        /// Whether its last comment said that nobody answers.
        var isToldSilence = false
    }

    private struct Filter {
        var gateway: String?
        var agent: String?
        var events: Set<String>?

        func takes(_ entry: EventPage.Entry) -> Bool {
            (gateway.map { entry.agent.hasPrefix($0 + "/") } ?? true) && (agent.map { $0 == entry.agent } ?? true)
                && (events?.contains(entry.event) ?? true)
        }
    }

    private struct Asked {
        let number: Int
        let position: Int64?
        let until: Instant
    }

    /// Beyond it a stream is refused: connections are left for requests.
    private let countMax: Int
    private var streams: [Int: Stream] = [:]
    private var asked: Asked?
    /// Since when the store, or the broker before it, owes an answer; `nil` while it owes none.
    private var owedSince: Instant?
    private var lastNumber = 0
    private var lastPosition: Int64 = -1

    init(countMax: Int) {
        self.countMax = countMax
    }

    var count: Int { streams.count }
    /// The digests of the tokens that opened them.
    var readers: [(id: Int, digest: String)] { streams.map { ($0.key, $0.value.digest) } }

    mutating func open(
        _ request: HTTPRequest, by digest: String, now: Instant, _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        let (filter, position) = try EventStreams.wish(request)
        let headers = [
            HTTPResponse.Header("Content-Type", "text/event-stream"), .init("Cache-Control", "no-store"),
        ]
        guard request.method != "HEAD" else {
            return actions.append(.respond(id: request.id, HTTPResponse(200, headers: headers, body: [])))
        }
        guard streams.count < countMax,
            streams.values.count(where: { $0.digest == digest }) < EventStreams.ofTokenMax
        else {
            throw HTTPRefusal(
                Problem(
                    .tooManyRequests,
                    "\(streams.count) streams are open; a token may have \(EventStreams.ofTokenMax), all \(countMax)"))
        }
        actions.append(.openStream(id: request.id, headers: headers))
        // Nobody has asked meanwhile.
        if streams.isEmpty { owedSince = nil }
        streams[request.id] = Stream(
            digest: digest, filter: filter, position: position, commentAt: now + EventStreams.commentEvery)
        comment(request.id, now, &actions)
    }

    mutating func closed(_ id: Int) { streams[id] = nil }

    /// Ends a stream; its client is not told why, and finds out when it comes again.
    mutating func end(_ id: Int, _ actions: inout [ControlAPIAction]) {
        guard streams.removeValue(forKey: id) != nil else { return }
        actions.append(.endStream(id: id))
    }

    /// Its client has read all that it was told.
    mutating func drained(_ id: Int, now: Instant, _ actions: inout [ControlAPIAction]) {
        streams[id]?.unreadSince = nil
        ask(now, &actions)
    }

    mutating func disconnected(now: Instant) {
        asked = nil
        owedSince = owedSince ?? now
    }

    mutating func ticked(now: Instant, _ actions: inout [ControlAPIAction]) {
        for id in streams.keys { streams[id]?.isDue = true }
        ask(now, &actions)
        for (id, stream) in streams.sorted(by: { $0.key < $1.key }) {
            if let since = stream.unreadSince {
                if since + EventStreams.unreadLimit <= now { end(id, &actions) }
            } else if stream.commentAt <= now || stream.isToldSilence != (silence(now) != nil) {
                comment(id, now, &actions)
            }
        }
    }

    mutating func received(_ page: EventPage, number: Int, now: Instant, _ actions: inout [ControlAPIAction]) {
        guard let asked, asked.number == number else { return }
        self.asked = nil
        owedSince = nil
        for (id, stream) in streams.sorted(by: { $0.key < $1.key }) where stream.position == asked.position {
            guard stream.unreadSince == nil else { continue }
            tell(id, stream, page, now, &actions)
        }
        ask(now, &actions)
    }

    // MARK: Inside

    private mutating func tell(
        _ id: Int, _ stream: Stream, _ page: EventPage, _ now: Instant, _ actions: inout [ControlAPIAction]
    ) {
        streams[id]?.isNew = false
        guard let position = stream.position else {
            streams[id]?.position = page.last
            // So that a client that is told nothing else can go on from here.
            return write(id, "id: \(page.last)\n\n", now, &actions)
        }
        // 0 is before everything, whatever is still kept.
        if stream.isNew, position > page.last || (position > 0 && position < page.oldest - 1) {
            let next = position > page.last ? page.last : page.oldest - 1
            streams[id]?.position = next
            return write(id, "event: reset\nid: \(next)\ndata: {\"oldest\":\(page.oldest)}\n\n", now, &actions)
        }
        streams[id]?.position = page.position
        streams[id]?.isDue = page.hasMore
        var text: [UInt8] = []
        for entry in page.entries where stream.filter.takes(entry) {
            text += "id: \(entry.sequence)\nevent: \(entry.event)\ndata: ".utf8
            text += entry.document
            text += "\n\n".utf8
        }
        if !text.isEmpty { write(id, text, now, &actions) }
    }

    /// A sign of life: of this process alone when nobody behind it answers, with the seconds since.
    private mutating func comment(_ id: Int, _ now: Instant, _ actions: inout [ControlAPIAction]) {
        let silence = silence(now)
        streams[id]?.isToldSilence = silence != nil
        write(id, silence.map { ": silent \($0.milliseconds / 1_000)\n\n" } ?? ":\n\n", now, &actions)
    }

    /// How long nobody has answered, once that is too long.
    private func silence(_ now: Instant) -> TimeSpan? {
        guard let owedSince, owedSince + EventStreams.answerLimit <= now else { return nil }
        return TimeSpan(milliseconds: now.milliseconds(since: owedSince))
    }

    private mutating func write(_ id: Int, _ text: String, _ now: Instant, _ actions: inout [ControlAPIAction]) {
        write(id, Array(text.utf8), now, &actions)
    }

    private mutating func write(_ id: Int, _ bytes: [UInt8], _ now: Instant, _ actions: inout [ControlAPIAction]) {
        streams[id]?.unreadSince = now
        streams[id]?.commentAt = now + EventStreams.commentEvery
        actions.append(.write(id: id, bytes))
    }

    /// Asks for what lies behind one of the positions, each in its turn.
    private mutating func ask(_ now: Instant, _ actions: inout [ControlAPIAction]) {
        if let asked, now < asked.until { return }
        let due = Set(streams.values.filter { $0.isDue && $0.unreadSince == nil }.map { $0.position ?? -1 }).sorted()
        guard let position = due.first(where: { $0 > lastPosition }) ?? due.first else { return }
        lastNumber += 1
        lastPosition = position
        let after = position < 0 ? nil : position
        owedSince = owedSince ?? now
        asked = Asked(number: lastNumber, position: after, until: now + EventStreams.answerLimit)
        actions.append(.askEvents(EventQuestion(after: after), number: lastNumber))
    }

    // MARK: What is wished

    private static func wish(_ request: HTTPRequest) throws(HTTPRefusal) -> (Filter, Int64?) {
        var filter = Filter()
        var after: String?
        for (name, value) in request.query {
            switch name {
            case "after" where after == nil: after = value
            case "gateway" where Identifier.isValid(value): filter.gateway = value
            case "agent" where AgentAddress(value) != nil: filter.agent = value
            case "event":
                let events = value.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
                for event in events where LifecycleEvent(rawValue: event) == nil && GatewayEvent(rawValue: event) == nil
                {
                    throw HTTPRefusal(Problem(member: name, "'\(event.prefix(80))' is no event"))
                }
                filter.events = Set(events)
            default:
                throw HTTPRefusal(Problem(member: name, "'\(value.prefix(80))' is not taken as \(name.prefix(80))"))
            }
        }
        // A browser that comes again asks for the same address: the header is newer.
        if let seen = request.header("last-event-id"), !seen.isEmpty { after = seen }
        guard let after else { return (filter, nil) }
        guard let position = Int64(after), position >= 0 else {
            throw HTTPRefusal(Problem(member: "after", "'\(after.prefix(80))' is not the id of an event"))
        }
        return (filter, position)
    }
}
