internal import Model

/// The text of a token: `rc1:`, whom it belongs to, `.` and its secret. It names its owner, so that a client of HTTP needs
/// nothing else and a wrong one is told on the right record.
public struct TokenText: Hashable, Sendable, CustomStringConvertible {
    private static let prefix = "rc1:"

    /// An agent's address or a gateway's name.
    public let username: String
    public let secret: String

    public init(username: String, secret: String) {
        self.username = username
        self.secret = secret
    }

    /// `nil` for a text without that form, as tokens of before had.
    public init?(_ text: some StringProtocol) {
        // Ids may hold dots, secrets in base64url hold none.
        guard text.hasPrefix(TokenText.prefix), let dot = text.lastIndex(of: ".") else { return nil }
        username = String(text[..<dot].dropFirst(TokenText.prefix.count))
        secret = String(text[dot...].dropFirst())
        guard !secret.isEmpty, Identifier.isValid(username) || AgentAddress(username) != nil else { return nil }
    }

    public var description: String { "\(TokenText.prefix)\(username).\(secret)" }
}
