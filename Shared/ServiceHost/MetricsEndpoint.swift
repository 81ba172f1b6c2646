internal import API
internal import Bus
internal import HTTP

/// `/healthz`, `/readyz` and `/metrics` of one service on a port of its own, for whoever watches processes.
///
/// It answers on the loop of the service: an answer proves that the loop turns. Nothing here is secret, and nothing names
/// an agent.
final class MetricsEndpoint {
    /// Scrapers and probes at a time; the rest wait.
    private static let connectionsMax = 16
    /// No request here has a body.
    private static let bodyMax = 1_024

    let port: Int
    private let server: HTTPServer

    /// - Parameters:
    ///   - unreadiness: why the service cannot do its work just now; `nil` when it can.
    ///   - metrics: the numbers of this moment.
    init(
        loop: EventLoop, address: String, port: Int, unreadiness: @escaping () -> String?,
        metrics: @escaping () -> [Metric]
    ) throws(ServiceFailure) {
        var options = HTTPServer.Options()
        options.address = address
        options.port = port
        options.connectionsMax = MetricsEndpoint.connectionsMax
        options.bodyMax = MetricsEndpoint.bodyMax
        do {
            server = try HTTPServer(loop: loop, options: options)
        } catch {
            throw ServiceFailure("--metrics-port: \(error.reason)", status: ExitStatus.usage)
        }
        self.port = server.port
        server.received = { [unowned server] request in
            server.answer(request.id, MetricsEndpoint.answer(request, unreadiness: unreadiness, metrics: metrics))
        }
    }

    private static func answer(
        _ request: HTTPRequest, unreadiness: () -> String?, metrics: () -> [Metric]
    ) -> HTTPResponse {
        guard ["healthz", "readyz", "metrics"].contains(request.path.joined(separator: "/")) else {
            return HTTPResponse(problem: 404, "Not Found", "there are /healthz, /readyz and /metrics")
        }
        guard request.method == "GET" || request.method == "HEAD" else {
            var response = HTTPResponse(problem: 405, "Method Not Allowed", "\(request.method) does nothing here")
            response.headers.append(.init("Allow", "GET, HEAD"))
            return response
        }
        switch request.path[0] {
        case "metrics":
            let format = MetricsText(accepting: request.header("accept"))
            return text(format.text(of: metrics()), format.contentType)
        case "readyz":
            if let reason = unreadiness() { return HTTPResponse(problem: 503, "Service Unavailable", reason) }
            return text("ready\n", "text/plain; charset=utf-8")
        default: return text("ok\n", "text/plain; charset=utf-8")
        }
    }

    private static func text(_ text: String, _ contentType: String) -> HTTPResponse {
        HTTPResponse(
            200, headers: [.init("Content-Type", contentType), .init("Cache-Control", "no-store")],
            body: Array(text.utf8))
    }
}
