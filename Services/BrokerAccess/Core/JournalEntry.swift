/// A line of the state file: what a restarted broker must know of agents and gateways before the status store is back.
public enum JournalEntry: Equatable, Sendable {
    case set(Username, SecretDigest)
    /// Two secrets at once; `until` is a second of the wall clock (Unix time).
    case overlap(Username, new: SecretDigest, old: SecretDigest, until: Int)
    case remove(Username)

    /// Appends the entry as one line of text.
    public func write(to output: inout [UInt8]) {
        switch self {
        case .set(let username, let digest):
            JournalEntry.writeSet(username.bytes[...], digest, to: &output)
        case .overlap(let username, let new, let old, let until):
            output.append(contentsOf: "overlap ".utf8)
            output.append(contentsOf: username.bytes)
            output.append(.space)
            new.write(to: &output)
            output.append(.space)
            old.write(to: &output)
            output.append(contentsOf: " \(until)\n".utf8)
        case .remove(let username):
            output.append(contentsOf: "remove ".utf8)
            output.append(contentsOf: username.bytes)
            output.append(.newline)
        }
    }

    static func writeSet(_ name: ArraySlice<UInt8>, _ digest: SecretDigest, to output: inout [UInt8]) {
        output.append(contentsOf: "set ".utf8)
        output.append(contentsOf: name)
        output.append(.space)
        digest.write(to: &output)
        output.append(.newline)
    }

    /// Reads a state file, oldest line first. A last line without its line break was torn by a crash and is ignored.
    public static func forEach(
        in text: borrowing Span<UInt8>, _ body: (JournalEntry) -> Void
    ) throws(BadLine) {
        var end = text.count
        while end > 0, text[end - 1] != .newline { end -= 1 }
        try LineFormat.forEachLine(of: text.extracting(0..<end)) { (number, words) throws(BadLine) in
            body(try entry(words, line: number))
        }
    }

    private static func entry(_ words: [[UInt8]], line: Int) throws(BadLine) -> JournalEntry {
        switch (String(decoding: words[0], as: UTF8.self), words.count) {
        case ("remove", 2):
            return .remove(try IdentityChange.username(words[1], line))
        case ("set", 3):
            return .set(try IdentityChange.username(words[1], line), try IdentityChange.digest(words[2], line))
        case ("overlap", 5):
            guard let until = LineFormat.number(words[4]) else {
                throw BadLine(number: line, problem: "not a time")
            }
            let new = try IdentityChange.digest(words[2], line)
            let old = try IdentityChange.digest(words[3], line)
            return .overlap(try IdentityChange.username(words[1], line), new: new, old: old, until: until)
        default:
            throw BadLine(number: line, problem: "not an entry of a state file")
        }
    }
}
