public import Model

/// What an operator may do, each scope all of the one before.
public enum Scope: String, CaseIterable, Comparable, Sendable {
    case read, operate, admin

    public static func < (left: Scope, right: Scope) -> Bool {
        (allCases.firstIndex(of: left) ?? 0) < (allCases.firstIndex(of: right) ?? 0)
    }
}

/// A bearer token of an operator: all that is kept of it.
public struct OperatorToken: Hashable, Sendable {
    public let name: String
    public let scope: Scope
    /// SHA-256 in hexadecimal.
    public let digest: String
    /// `nil`: it never ends.
    public let expires: Timestamp?

    public init(name: String, scope: Scope, digest: String, expires: Timestamp?) {
        self.name = name
        self.scope = scope
        self.digest = digest
        self.expires = expires
    }

    /// The line of the file of tokens.
    public var line: String {
        ([name, scope.rawValue, digest] + (expires.map { [$0.description] } ?? [])).joined(separator: " ")
    }

    /// A line of the file of tokens: `NAME SCOPE SHA256HEX [EXPIRES]`.
    ///
    /// - Returns: `nil` for a line that is not one.
    public init?(line: some StringProtocol) {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard (3...4).contains(words.count), Identifier.isValid(words[0]),
            let scope = Scope(rawValue: String(words[1])),
            words[2].utf8.count == 64, words[2].utf8.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit })
        else { return nil }
        var expires: Timestamp?
        if words.count == 4 {
            guard let end = Timestamp(String(words[3])) else { return nil }
            expires = end
        }
        self.init(name: String(words[0]), scope: scope, digest: words[2].lowercased(), expires: expires)
    }
}
