/// A request that came over HTTP: framing, target and size are checked, nothing else is.
public struct HTTPRequest: Sendable {
    /// Names the exchange until it is answered; never used again in this incarnation of the server.
    public let id: Int
    public let method: String
    /// The path's segments, percent-decoded one by one, so that `%2F` never separates.
    public let path: [String]
    /// In the order of the target, percent-decoded.
    public let query: [(name: String, value: String)]
    /// Names in lower case, in their order.
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]

    public init(
        id: Int, method: String, path: [String], query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = []
    ) {
        self.id = id
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
    }

    /// The first header of this name, which is in lower case.
    public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// What a request is answered with.
public struct HTTPResponse: Hashable, Sendable {
    public struct Header: Hashable, Sendable {
        public let name: String
        public let value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public var status: Int
    public var headers: [Header]
    public var body: [UInt8]

    public init(_ status: Int, headers: [Header] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

extension HTTPResponse {
    /// A problem that only HTTP has (RFC 9457).
    ///
    /// - Parameters:
    ///   - type: `about:blank`: it is no more than its status (§4.2.1), whose phrase the title is.
    ///   - errors: `nil`: it has no such member.
    public init(
        problem status: Int, type: String = "about:blank", _ title: String, _ detail: String,
        errors: [Problem.MemberError]? = nil
    ) {
        self.init(
            status, headers: [Header("Content-Type", Problem.contentType)],
            body: JSON.bytes(HTTPProblem(type: type, title: title, status: status, detail: detail, errors: errors)))
    }
}

private struct HTTPProblem: Encodable {
    let type: String
    let title: String
    let status: Int
    let detail: String
    let errors: [Problem.MemberError]?
}
