internal import API

/// A file of the dashboard, which lies in the program itself.
public struct DashboardFile: Sendable {
    /// Where it is served.
    public let path: String
    /// Its media type.
    public let type: String
    public let bytes: [UInt8]

    public init(path: String, type: String, bytes: [UInt8]) {
        self.path = path
        self.type = type
        self.bytes = bytes
    }
}

/// The dashboard's files by their paths: a pure value. They hold nothing secret, so they take no token; what they show, the
/// browser asks the API for, with the operator's own.
struct Dashboard {
    /// Nothing but the page's own files runs, and it talks to this server alone.
    static let policy = """
        default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
        require-trusted-types-for 'script'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'
        """

    private struct Served {
        let tag: String
        let response: HTTPResponse
    }

    private let files: [String: Served]

    init(_ files: [DashboardFile], sha256: (_ bytes: [UInt8]) -> String) {
        self.files = Dictionary(
            uniqueKeysWithValues: files.map { file in
                let tag = "\"\(sha256(file.bytes))\""
                let headers = [
                    HTTPResponse.Header("Content-Type", file.type), .init("ETag", tag),
                    // Kept by the browser, and asked for each time: a new version shows at once.
                    .init("Cache-Control", "no-cache"), .init("Content-Security-Policy", Dashboard.policy),
                    .init("X-Content-Type-Options", "nosniff"), .init("Referrer-Policy", "no-referrer"),
                ]
                return (file.path, Served(tag: tag, response: HTTPResponse(200, headers: headers, body: file.bytes)))
            })
    }

    /// `nil` when the path is not one of the dashboard.
    func response(_ request: HTTPRequest) throws(HTTPRefusal) -> HTTPResponse? {
        // Heartbeats, the most frequent of all, pay nothing for it.
        guard request.path.first != "api", let file = files["/" + request.path.joined(separator: "/")] else {
            return nil
        }
        guard request.method == "GET" || request.method == "HEAD" else { throw .method(allowed: ["GET", "HEAD"]) }
        if let known = request.header("if-none-match"), CommandAnswer.matches(known, file.tag) {
            return HTTPResponse(304, headers: file.response.headers.filter { $0.name != "Content-Type" })
        }
        return file.response
    }
}
