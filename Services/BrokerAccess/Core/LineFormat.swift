/// The text formats of the plugin: lines of words, one operation a line.
enum LineFormat {
    /// Calls `body` with every line that is not blank and no `#` comment, and its number from 1.
    static func forEachLine<Failure: Error>(
        of text: borrowing Span<UInt8>, _ body: (_ number: Int, _ words: [[UInt8]]) throws(Failure) -> Void
    ) throws(Failure) {
        var start = 0
        var number = 1
        while start < text.count {
            let end = text.position(of: .newline, from: start)
            let words = words(of: text.extracting(start..<end))
            if let first = words.first, first.first != .hash { try body(number, words) }
            start = end + 1
            number += 1
        }
    }

    /// A decimal number from 0 to 18 digits.
    static func number(_ word: [UInt8]) -> Int? {
        guard (1...18).contains(word.count) else { return nil }
        var value = 0
        for byte in word {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return value
    }

    private static func words(of line: borrowing Span<UInt8>) -> [[UInt8]] {
        var words: [[UInt8]] = []
        var start = 0
        for index in 0...line.count {
            let isBreak = index == line.count || line[index] <= .space
            guard isBreak else { continue }
            if index > start { words.append(line.extracting(start..<index).copied()) }
            start = index + 1
        }
        return words
    }
}

/// A line that cannot be understood. It never holds the line itself, which may hold a secret.
public struct BadLine: Error, Equatable, CustomStringConvertible {
    public let number: Int
    public let problem: String

    public var description: String { "line \(number): \(problem)" }
}
