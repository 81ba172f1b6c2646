/// One operation on the table of agents and gateways, as the status store sends it to `$CONTROL/rollcall/v1`.
public enum IdentityChange: Equatable, Sendable {
    /// A new, empty table is begun beside the active one.
    case begin
    /// The username has this secret from now on, and no other; between `begin` and `commit` in the table begun.
    case set(Username, SecretDigest)
    /// The username has a new secret; its old one works until the new is first used, at most `seconds`.
    case overlap(Username, SecretDigest, seconds: Int)
    /// The username is unknown from now on.
    case remove(Username)
    /// The table begun becomes the active one.
    case commit
    /// The store asks whether all before this is applied: the word is told back.
    case answer([UInt8])

    /// The longest overlap of two secrets: a day.
    public static let overlapSecondsMax = 86_400

    /// Every operation of a payload, one a line; throws at the first line that is none.
    public static func parse(_ payload: borrowing Span<UInt8>) throws(BadLine) -> [IdentityChange] {
        var changes: [IdentityChange] = []
        try LineFormat.forEachLine(of: payload) { (number, words) throws(BadLine) in
            changes.append(try change(words, line: number))
        }
        return changes
    }

    private static func change(_ words: [[UInt8]], line: Int) throws(BadLine) -> IdentityChange {
        switch (String(decoding: words[0], as: UTF8.self), words.count) {
        case ("begin", 1): return .begin
        case ("commit", 1): return .commit
        case ("answer", 2): return .answer(words[1])
        case ("remove", 2): return .remove(try username(words[1], line))
        case ("set", 3): return .set(try username(words[1], line), try digest(words[2], line))
        case ("overlap", 4):
            guard let seconds = LineFormat.number(words[3]), (1...overlapSecondsMax).contains(seconds) else {
                throw BadLine(number: line, problem: "the overlap must be 1 to \(overlapSecondsMax) seconds")
            }
            return .overlap(try username(words[1], line), try digest(words[2], line), seconds: seconds)
        default:
            throw BadLine(number: line, problem: "not an operation with its arguments")
        }
    }

    static func username(_ word: [UInt8], _ line: Int) throws(BadLine) -> Username {
        guard let username = Username(word.span), username.kind == .agent || username.kind == .gateway else {
            throw BadLine(number: line, problem: "not the username of an agent or gateway")
        }
        return username
    }

    static func digest(_ word: [UInt8], _ line: Int) throws(BadLine) -> SecretDigest {
        guard let digest = SecretDigest(hexadecimal: word.span) else {
            throw BadLine(number: line, problem: "not a SHA-256 digest in 64 hexadecimal digits")
        }
        return digest
    }
}

/// The identities of operators and services, which the broker's administrator writes into a file.
public enum FixedIdentities {
    /// Reads `USERNAME SHA256HEX` lines; throws at the first line that is none, or names a username again.
    public static func parse(_ text: borrowing Span<UInt8>) throws(BadLine) -> IdentityTable {
        var table = IdentityTable()
        try LineFormat.forEachLine(of: text) { (number, words) throws(BadLine) in
            guard words.count == 2 else { throw BadLine(number: number, problem: "not USERNAME SHA256HEX") }
            let name = words[0]
            guard let username = Username(name.span), username.kind == .operator || username.kind == .service
            else { throw BadLine(number: number, problem: "not op:NAME or svc:SERVICE/INSTANCE") }
            guard !table.contains(name.span) else {
                throw BadLine(number: number, problem: "\(username) is listed twice")
            }
            table.set(username, try IdentityChange.digest(words[1], number))
        }
        return table
    }
}
