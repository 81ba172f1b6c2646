internal import Model

/// How long the outbox has held its oldest entry, to about a second: a pure value.
struct OutboxAge {
    /// Up to which sequence there was something at which time, oldest first; what is published is left out.
    private var marks = Queue<(upTo: Int64, at: Instant)>()
    private var last: Int64 = 0

    /// Once a second.
    mutating func note(last: Int64, published: Int64, now: Instant) {
        if last > max(self.last, published) { marks.append((last, now)) }
        self.last = last
        while let mark = marks.first, mark.upTo <= published { _ = marks.popFirst() }
    }

    func entries(published: Int64) -> Int64 { max(0, last - published) }

    func age(published: Int64, now: Instant) -> TimeSpan {
        guard let mark = marks.first, mark.upTo > published else { return .zero }
        return TimeSpan(milliseconds: now.milliseconds(since: mark.at))
    }
}
