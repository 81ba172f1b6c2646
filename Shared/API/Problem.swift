/// Why a request was refused, as RFC 9457 says it: content type `application/problem+json`.
public struct Problem: Error, Hashable, Sendable, Codable {
    /// The type is the bare name.
    public enum Kind: String, Codable, CaseIterable, Sendable {
        case unknownAgent = "unknown-agent"
        case unknownGateway = "unknown-gateway"
        case invalidRequest = "invalid-request"
        case conflict
        case notAuthorized = "not-authorized"
        case tooLarge = "too-large"
        case tooManyRequests = "too-many-requests"
        case unavailable

        public var status: Int {
            switch self {
            case .unknownAgent, .unknownGateway: 404
            case .invalidRequest: 422
            case .conflict: 409
            case .notAuthorized: 403
            case .tooLarge: 413
            case .tooManyRequests: 429
            case .unavailable: 503
            }
        }

        public var title: String {
            switch self {
            case .unknownAgent: "There is no such agent"
            case .unknownGateway: "There is no such gateway"
            case .invalidRequest: "The request is not valid"
            case .conflict: "The request conflicts with what is there"
            case .notAuthorized: "Not authorized"
            case .tooLarge: "The request is too large"
            case .tooManyRequests: "Too many requests are under way"
            case .unavailable: "Not available"
            }
        }
    }

    /// What is wrong with one member of the request; the member is `""` for the request as a whole.
    public struct MemberError: Codable, Hashable, Sendable {
        public let member: String
        public let detail: String

        public init(member: String, detail: String) {
            self.member = member
            self.detail = detail
        }
    }

    public let type: Kind
    public let title: String
    public let status: Int
    public let detail: String
    public let errors: [MemberError]

    public init(_ kind: Kind, _ detail: String, errors: [MemberError] = []) {
        type = kind
        title = kind.title
        status = kind.status
        self.detail = detail
        self.errors = errors
    }

    /// A refusal because of one member.
    public init(member: String, _ detail: String, kind: Kind = .invalidRequest) {
        self.init(
            kind, member.isEmpty ? detail : "\(member): \(detail)",
            errors: [MemberError(member: member, detail: detail)])
    }

    public static func unknownAgent(_ agent: some CustomStringConvertible) -> Problem {
        Problem(member: "agent", "there is no agent \(agent)", kind: .unknownAgent)
    }

    public static func unknownGateway(_ gateway: String) -> Problem {
        Problem(member: "gateway", "there is no gateway \(gateway)", kind: .unknownGateway)
    }

    public static let contentType = "application/problem+json"
}

/// The content type of every other payload.
public let jsonContentType = "application/json"
