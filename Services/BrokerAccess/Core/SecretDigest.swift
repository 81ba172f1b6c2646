/// The SHA-256 digest of a secret, held inline: a table of a million needs 32 bytes for each and no heap object.
public struct SecretDigest: Hashable, Sendable {
    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// A digest from its 32 bytes; `nil` for any other number.
    public init?(bytes: borrowing Span<UInt8>) {
        guard bytes.count == 32 else { return nil }
        func word(_ index: Int) -> UInt64 {
            var value: UInt64 = 0
            for offset in 0..<8 { value = value << 8 | UInt64(bytes[index * 8 + offset]) }
            return value
        }
        words = (word(0), word(1), word(2), word(3))
    }

    /// A digest from its 64 hexadecimal digits; `nil` for anything else.
    public init?(hexadecimal text: borrowing Span<UInt8>) {
        guard text.count == 64 else { return nil }
        var values: [4 of UInt64] = [0, 0, 0, 0]
        for index in 0..<64 {
            guard let digit = SecretDigest.value(ofDigit: text[index]) else { return nil }
            values[index / 16] = values[index / 16] << 4 | UInt64(digit)
        }
        words = (values[0], values[1], values[2], values[3])
    }

    /// Whether both are equal, in a time that does not depend on where they differ.
    public static func == (left: SecretDigest, right: SecretDigest) -> Bool {
        let difference =
            (left.words.0 ^ right.words.0) | (left.words.1 ^ right.words.1)
            | (left.words.2 ^ right.words.2) | (left.words.3 ^ right.words.3)
        return difference == 0
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    /// Appends the 64 lower-case hexadecimal digits.
    func write(to output: inout [UInt8]) {
        for word in [words.0, words.1, words.2, words.3] {
            for shift in stride(from: 60, through: 0, by: -4) {
                let digit = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 15
                output.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            }
        }
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
