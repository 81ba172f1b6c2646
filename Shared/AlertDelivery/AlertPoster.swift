public import Alerts
public import Bus
internal import Model
internal import Secrets

/// Sends the messages of alerts, signed where their sink wants it.
public final class AlertPoster {
    private let client: HTTPClient

    /// Belongs to the thread that runs the loop.
    public init(loop: EventLoop) {
        client = HTTPClient(loop: loop)
    }

    /// Sends a message; `completed` is called once, on a later turn of the loop.
    public func post(_ request: AlertRequest, completed: @escaping (PostOutcome) -> Void) {
        var headers = request.headers
        if !request.secrets.isEmpty {
            let seconds = Clock.wallTime().millisecondsSince1970 / 1_000
            headers += WebhookSignature.headers(
                of: request.body, id: request.id, seconds: seconds, keys: request.secrets)
        }
        client.post(HTTPClient.Request(url: request.url, headers: headers, body: request.body), completed: completed)
    }
}
