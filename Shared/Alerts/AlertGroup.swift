internal import Model

/// What is to be told about the agents of one gateway, and when: a pure value.
struct AlertGroup: Sendable {
    /// Things that one message tells, so that it stays below 20 kB.
    static let itemsMax = 40

    /// Those that are offline and wanted.
    private(set) var offline: [String: AlertEvent] = [:]
    private(set) var isLost = false
    /// Not told yet, in the order in which it was committed.
    private(set) var news: [AlertItem] = []
    private var dueAt: Instant?
    private var toldAt: Instant?
    private var repeatFrom: Instant?

    /// Whether there is nothing to remember.
    func isOver(_ sink: AlertSink, now: Instant) -> Bool {
        offline.isEmpty && news.isEmpty && !isLost && toldAt.map { $0 + sink.groupInterval <= now } ?? true
    }

    /// The lowest position of what was not told.
    var firstSequence: Int64? { news.lazy.compactMap { $0.event?.sequence }.first }

    mutating func take(_ event: AlertEvent, _ sink: AlertSink, _ flaps: inout FlapMeter, now: Instant) {
        switch event.kind {
        case .offline:
            guard let cause = event.cause, sink.causes.contains(cause) else { return }
            know(event, sink, now: now)
            // Its loss is told once, even when nobody heard of it as it happened.
            if event.isExplained, !isLost { lost(sink, now: now) }
            let count = flaps.wentOffline(event.agent, at: event.time)
            if sink.flapsMax == 0 || count <= sink.flapsMax {
                add(.offline(event), sink, now)
            } else if count == sink.flapsMax + 1 {
                add(.flapping(event), sink, now)
            }
        case .online:
            // That its gateway is connected again may have been missed.
            connected(sink, now: now)
            guard offline.removeValue(forKey: event.agent) != nil,
                !flaps.isFlapping(event.agent, at: event.time, limit: sink.flapsMax)
            else { return }
            add(.recovered(event), sink, now)
        case .silenced:
            guard offline.removeValue(forKey: event.agent) != nil else { return }
            add(.silenced(event), sink, now)
        case .resumed:
            know(event, sink, now: now)
            if offline[event.agent] != nil { add(.offline(event), sink, now) }
        }
    }

    mutating func lost(_ sink: AlertSink, now: Instant) {
        guard !isLost else { return }
        isLost = true
        add(.gatewayLost, sink, now)
    }

    mutating func connected(_ sink: AlertSink, now: Instant) {
        guard isLost else { return }
        isLost = false
        add(.gatewayConnected, sink, now)
    }

    /// It was stopped on purpose.
    mutating func stopped(_ sink: AlertSink, now: Instant) {
        guard isLost else { return }
        isLost = false
        add(.gatewayStopped, sink, now)
    }

    /// Somebody is offline; whether that is news is another matter.
    mutating func know(_ event: AlertEvent, _ sink: AlertSink, now: Instant) {
        guard let cause = event.cause, sink.causes.contains(cause) else { return }
        offline[event.agent] = event
        repeatFrom = repeatFrom ?? now
    }

    /// What is due, in messages of at most `itemsMax` things each.
    ///
    /// - Parameter mayRepeat: whether all that was to be told is delivered.
    mutating func notices(
        _ gateway: String, _ sink: AlertSink, mayRepeat: Bool, now: Instant, wallTime: Timestamp
    ) -> [AlertNotice] {
        let isRepeat = news.isEmpty
        let due = isRepeat ? repeatFrom.map { $0 + sink.repeatInterval } : dueAt
        guard let due, due <= now, !isRepeat || (mayRepeat && (!offline.isEmpty || isLost)) else { return [] }
        // An Alertmanager is told of everyone again, or believes them well.
        let all = isRepeat && sink.form == .alertmanager ? offline.values.map { AlertItem.offline($0) } : news
        var items = isLost ? all.filter { !$0.isExplained } : all
        let explained = all.count - items.count
        let count = sink.form.isForPeople ? items.count : min(items.count, AlertGroup.itemsMax)
        var notices: [AlertNotice] = []
        repeat {
            notices.append(
                AlertNotice(
                    gateway: gateway, items: Array(items.prefix(count)), explained: explained,
                    offline: offline, isLost: isLost, isRepeat: isRepeat,
                    firstSequence: isRepeat ? nil : firstSequence, wallTime: wallTime))
            items.removeFirst(min(items.count, count))
        } while !items.isEmpty
        news = []
        (dueAt, toldAt, repeatFrom) = (nil, now, now)
        return notices
    }

    private mutating func add(_ item: AlertItem, _ sink: AlertSink, _ now: Instant) {
        news.append(item)
        guard dueAt == nil else { return }
        dueAt = max(now + sink.groupWait, toldAt.map { $0 + sink.groupInterval } ?? now)
    }
}
