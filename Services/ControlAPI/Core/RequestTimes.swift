internal import API
internal import Model

/// How long requests take, by what they ask for and how they are answered: a pure value. Streams are left out.
public struct RequestTimes: Sendable {
    /// What tells requests apart: few of each, whatever clients send.
    public struct Kind: Hashable, Sendable {
        /// The path as it is documented, or `dashboard` or `none`.
        public let route: String
        public let method: String
        public let status: Int
    }

    private var begun: [Int: (route: String, method: String, at: Instant)] = [:]
    private(set) var byKind: [Kind: Histogram] = [:]

    mutating func began(_ request: HTTPRequest, now: Instant) {
        let matching = Route.table.filter { $0.match(request.path) != nil }
        let method = request.method == "HEAD" ? "GET" : request.method
        let route = matching.first?.path ?? (request.path.first == "api" ? "none" : "dashboard")
        let isKnown = matching.isEmpty ? method == "GET" : matching.contains { $0.method == method }
        begun[request.id] = (route, isKnown ? method : "other", now)
    }

    mutating func ended(_ id: Int, status: Int, now: Instant) {
        guard let (route, method, at) = begun.removeValue(forKey: id) else { return }
        let kind = Kind(route: route, method: method, status: status)
        byKind[kind, default: Histogram(bounds: Histogram.commitBounds)]
            .add(nanoseconds: now.nanoseconds(since: at))
    }

    mutating func forget(_ id: Int) { begun[id] = nil }

    var metric: Metric {
        let kinds = byKind.sorted {
            ($0.key.route, $0.key.method, $0.key.status) < ($1.key.route, $1.key.method, $1.key.status)
        }
        return Metric(
            "rollcall_http_request_duration_seconds", "From a request over HTTP to its answer.",
            kinds.map { kind, histogram in
                ([("route", kind.route), ("method", kind.method), ("code", String(kind.status))], histogram)
            })
    }
}
