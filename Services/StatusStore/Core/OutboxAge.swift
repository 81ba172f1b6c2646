internal import API
internal import Model

/// How long the outbox has held its oldest entry, and how long it held what is published: a pure value.
struct OutboxAge {
    /// Up to which sequence there was something at which time, oldest first; what is published is left out.
    private var marks = Queue<(upTo: Int64, at: Instant)>()
    private var last: Int64 = 0
    /// From a commit to the broker's acknowledgement of all that it published.
    private(set) var waits = Histogram(bounds: Histogram.commitBounds)

    mutating func committed(upTo sequence: Int64, now: Instant) {
        guard sequence > last else { return }
        marks.append((sequence, now))
        last = sequence
    }

    mutating func published(upTo sequence: Int64, now: Instant) {
        while let mark = marks.first, mark.upTo <= sequence {
            waits.add(nanoseconds: now.nanoseconds(since: mark.at))
            _ = marks.popFirst()
        }
    }

    func entries(published: Int64) -> Int64 { max(0, last - published) }

    func age(published: Int64, now: Instant) -> TimeSpan {
        guard let mark = marks.first, mark.upTo > published else { return .zero }
        return TimeSpan(milliseconds: now.milliseconds(since: mark.at))
    }
}
