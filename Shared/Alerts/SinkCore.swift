internal import API
internal import Model
internal import Wire

/// Reads the events for one sink, groups them by gateway, and sends one message after the other: a pure value.
struct SinkCore: Sendable {
    /// The store is asked again when it has not answered for so long: it is away, or another process serves the sink.
    static let answerLimit = TimeSpan.seconds(1)
    static let listLimit = TimeSpan.seconds(15)
    /// Without an answer for so long another process may serve the sink (the store lets it after 5 s).
    static let trust = TimeSpan.seconds(4)
    /// Things read and not delivered; beyond it nothing more is read.
    static let owedMax = 20_000
    /// Between attempts; then each pause is twice the one before, up to the longest.
    static let pauses = [1, 5, 15, 60].map { TimeSpan.seconds($0) }
    static let longestPause = TimeSpan.seconds(900)
    /// Somebody is told elsewhere that a message waits for so long.
    static let warnAfter = TimeSpan.seconds(60)
    /// A message that cannot be delivered for so long is given up.
    static let patience = TimeSpan.seconds(3 * 86_400)

    private struct Owed: Sendable {
        let request: AlertRequest
        /// Things that it tells.
        let count: Int
        let firstSequence: Int64?
        let since: Instant
    }

    let sink: AlertSink
    private let owedMax: Int
    private var groups: [String: AlertGroup] = [:]
    private var flaps = FlapMeter()
    private var forgetAt = Instant(nanoseconds: 0)
    private var owed = Queue<Owed>()
    /// How far the events are read; `nil`: up to the position that the store keeps.
    private var readTo: Int64?
    private var noted: Int64?
    private var asked: (number: Int, until: Instant, delivered: Int64?)?
    private var lastNumber = 0
    private var answeredAt: Instant?
    /// Who is offline is looked up before the events that change it are read.
    private var listing: (pages: ListPages, number: Int, until: Instant)?
    private var isListed = false
    private var isPosting = false
    private var postNumber = 0
    /// Of the first message that is owed.
    private var attempts = 0
    private var failingSince: Instant?
    private var retryAt: Instant?
    private(set) var isStopped = false
    private(set) var delivered: Int64 = 0
    private(set) var failed: Int64 = 0

    init(_ sink: AlertSink, owedMax: Int) {
        self.sink = sink
        self.owedMax = owedMax
    }

    func oldest(now: Instant) -> TimeSpan {
        guard !isStopped, let first = owed.first else { return .zero }
        return TimeSpan(milliseconds: now.milliseconds(since: first.since))
    }

    // MARK: Inputs

    mutating func disconnected() { (asked, listing) = (nil, nil) }

    mutating func received(
        _ page: EventPage, _ number: Int, now: Instant, wallTime: Timestamp, _ output: inout SinkOutput
    ) {
        guard let asked, asked.number == number else { return }
        self.asked = nil
        answeredAt = now
        noted = asked.delivered ?? noted
        guard isListed else {
            if listing.map({ $0.until <= now }) ?? true { list(ListPages(SinkCore.offline), now, &output) }
            return
        }
        guard owedCount < owedMax else { return }
        for entry in page.entries where entry.sequence > readTo ?? 0 {
            guard let event = AlertEvent(entry), sink.takes(event) else { continue }
            groups[event.gateway, default: AlertGroup()].take(event, sink, &flaps, now: now)
        }
        readTo = page.position
        flush(now: now, wallTime: wallTime, &output)
        if page.hasMore { ask(now, &output) }
    }

    mutating func listed(
        _ page: (records: [JSONValue], next: String?)?, _ number: Int, now: Instant, _ output: inout SinkOutput
    ) {
        guard var pages = listing?.pages, listing?.number == number, let page else { return }
        for event in page.records.compactMap(AlertEvent.init(record:)) where sink.takes(event) {
            groups[event.gateway, default: AlertGroup()].know(event, sink, now: now)
        }
        isListed = !pages.advance(to: page.next)
        listing = nil
        if isListed { ask(now, &output) } else { list(pages, now, &output) }
    }

    mutating func changed(_ message: GatewayLifecycleMessage, now: Instant) {
        guard isServing(now), sink.takes(gateway: message.gateway) else { return }
        switch message.event {
        case .gatewayLost: groups[message.gateway, default: AlertGroup()].lost(sink, now: now)
        case .gatewayConnected: groups[message.gateway]?.connected(sink, now: now)
        case .gatewayStopped: groups[message.gateway]?.stopped(sink, now: now)
        }
    }

    mutating func posted(_ number: Int, _ outcome: PostOutcome, now: Instant, _ output: inout SinkOutput) {
        guard isPosting, number == postNumber else { return }
        isPosting = false
        let reason: String
        var pause = TimeSpan.zero
        switch outcome {
        case .answered(200..<300, _):
            delivered += 1
            if attempts > 0 { output.log(.delivering) }
            return settle(now, &output)
        case .answered(410, _):
            isStopped = true
            return output.log(.stopped)
        case .answered(let status, let retryAfter):
            reason = "answered \(status)"
            pause = min(retryAfter ?? .zero, SinkCore.longestPause)
        case .failed(let text): reason = text
        }
        failed += 1
        if attempts == 0 { output.log(.failing(reason: reason)) }
        let since = failingSince ?? now
        guard now < since + SinkCore.patience else {
            output.log(.givenUp(reason: reason))
            return settle(now, &output)
        }
        failingSince = since
        retryAt = now + max(pause, SinkCore.pause(after: attempts))
        attempts += 1
    }

    mutating func ticked(isConnected: Bool, now: Instant, wallTime: Timestamp, _ output: inout SinkOutput) {
        guard !isStopped else { return }
        if !isServing(now) { startAgain() }
        if now >= forgetAt {
            flaps.forget(before: wallTime)
            forgetAt = now + .seconds(60)
        }
        flush(now: now, wallTime: wallTime, &output)
        if isConnected { ask(now, &output) }
    }

    // MARK: Inside

    /// Whether no other process serves the sink.
    private func isServing(_ now: Instant) -> Bool { answeredAt.map { now < $0 + SinkCore.trust } ?? false }

    private var owedCount: Int {
        (0..<owed.count).reduce(0) { $0 + owed[$1].count } + groups.values.reduce(0) { $0 + $1.news.count }
    }

    static func pause(after attempts: Int) -> TimeSpan {
        if attempts < pauses.count { return pauses[attempts] }
        let doublings = min(attempts - pauses.count + 1, 10)
        return min(longestPause, TimeSpan(milliseconds: pauses[pauses.count - 1].milliseconds << Int64(doublings)))
    }

    /// Another process may have gone on meanwhile: what was not delivered is read again, from the position that the store keeps.
    private mutating func startAgain() {
        guard answeredAt != nil else { return }
        (readTo, noted, asked, answeredAt) = (nil, nil, nil, nil)
        (isListed, listing) = (false, nil)
        groups = [:]
        owed = Queue()
        isPosting = false
        (attempts, failingSince, retryAt) = (0, nil, nil)
    }

    private static let offline = ["status": JSONValue.string(AgentStatus.offline.rawValue)]

    private mutating func list(_ pages: ListPages, _ now: Instant, _ output: inout SinkOutput) {
        lastNumber += 1
        listing = (pages, lastNumber, now + SinkCore.listLimit)
        output.list(pages.request, lastNumber)
    }

    private mutating func flush(now: Instant, wallTime: Timestamp, _ output: inout SinkOutput) {
        guard isServing(now), !isStopped else { return }
        let mayRepeat = owed.isEmpty
        for gateway in groups.keys.sorted() {
            let notices =
                groups[gateway]?.notices(gateway, sink, mayRepeat: mayRepeat, now: now, wallTime: wallTime) ?? []
            for notice in notices {
                owed.append(
                    Owed(
                        request: sink.request(notice), count: max(1, notice.items.count),
                        firstSequence: notice.firstSequence, since: now))
            }
            if groups[gateway]?.isOver(sink, now: now) ?? false { groups[gateway] = nil }
        }
        post(now, &output)
    }

    private mutating func post(_ now: Instant, _ output: inout SinkOutput) {
        guard isServing(now), !isPosting, let next = owed.first, retryAt.map({ $0 <= now }) ?? true else { return }
        isPosting = true
        postNumber += 1
        output.post(next.request, postNumber)
    }

    /// The first message is delivered or given up: the next one goes out, and the store is told.
    private mutating func settle(_ now: Instant, _ output: inout SinkOutput) {
        _ = owed.popFirst()
        (attempts, failingSince, retryAt) = (0, nil, nil)
        post(now, &output)
    }

    /// Everything up to here is delivered.
    private var position: Int64? {
        var first = groups.values.compactMap(\.firstSequence).min()
        for index in 0..<owed.count {
            guard let sequence = owed[index].firstSequence else { continue }
            first = min(first ?? sequence, sequence)
        }
        return first.map { $0 - 1 } ?? readTo
    }

    private mutating func ask(_ now: Instant, _ output: inout SinkOutput) {
        if let asked, now < asked.until { return }
        lastNumber += 1
        let delivered = readTo == nil || position == noted ? nil : position
        asked = (lastNumber, now + SinkCore.answerLimit, delivered)
        output.ask(EventQuestion(after: readTo, sink: sink.name, delivered: delivered), lastNumber)
    }
}
