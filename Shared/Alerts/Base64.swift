/// Base64 (RFC 4648 §4), as the secrets of Standard Webhooks have it.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// - Returns: `nil` for what is no base64; padding may be left out.
    static func decode(_ text: Substring) -> [UInt8]? {
        var output: [UInt8] = []
        var (accumulator, bits) = (UInt32(0), 0)
        var digits = Array(text.utf8)
        while digits.last == UInt8(ascii: "="), text.utf8.count - digits.count < 2 { digits.removeLast() }
        for digit in digits {
            guard let value = alphabet.firstIndex(of: digit) else { return nil }
            accumulator = accumulator << 6 | UInt32(value)
            bits += 6
            guard bits >= 8 else { continue }
            bits -= 8
            output.append(UInt8(truncatingIfNeeded: accumulator >> UInt32(bits)))
            accumulator &= (1 << UInt32(bits)) - 1
        }
        // A digit too many, or bits that no byte has.
        guard bits < 6, accumulator == 0 else { return nil }
        return output
    }
}
