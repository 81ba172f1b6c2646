internal import Model

/// Times as people say them, from a given now.
enum RelativeTime {
    /// Of what has happened: `12s ago`, `3m ago`; `now` too when a clock ahead of ours stamped it; `-` when it is absent.
    static func text(_ wallTime: Timestamp?, now: Timestamp) -> String {
        guard let wallTime else { return "-" }
        let distance = now.millisecondsSince1970 - wallTime.millisecondsSince1970
        return distance < 1_000 ? "now" : "\(length(distance)) ago"
    }

    /// A deadline: `in 12s`, or `4s late`.
    static func deadline(_ wallTime: Timestamp?, now: Timestamp) -> String {
        guard let wallTime else { return "-" }
        let distance = wallTime.millisecondsSince1970 - now.millisecondsSince1970
        if abs(distance) < 1_000 { return "now" }
        return distance > 0 ? "in \(length(distance))" : "\(length(-distance)) late"
    }

    private static func length(_ milliseconds: Int64) -> String {
        switch milliseconds / 1_000 {
        case let seconds where seconds < 120: "\(seconds)s"
        case let seconds where seconds < 7_200: "\(seconds / 60)m"
        case let seconds where seconds < 172_800: "\(seconds / 3_600)h"
        case let seconds: "\(seconds / 86_400)d"
        }
    }
}
