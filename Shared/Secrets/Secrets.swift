internal import CCrypto

/// A SHA-256 digest (FIPS 180-4) of 32 bytes, shown as 64 lower-case hexadecimal digits.
public struct Digest: Hashable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// The digest of a whole message held in memory.
    public init(of message: [UInt8]) {
        var output = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        // SHA256 fails only for a missing output buffer.
        _ = SHA256(message, message.count, &output)
        bytes = output
    }

    public init(of text: String) {
        self.init(of: Array(text.utf8))
    }

    /// A digest from its 64 hexadecimal digits; `nil` for anything else.
    public init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 2 * Int(SHA256_DIGEST_LENGTH) else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Digest.value(ofDigit: digits[index]), let low = Digest.value(ofDigit: digits[index + 1])
            else { return nil }
            output.append(high << 4 | low)
        }
        bytes = output
    }

    public var description: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
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

/// A bearer secret: 256 random bits as 43 characters of base64url (RFC 4648 §5, no padding).
///
/// It is shown once, to whoever asked for it; everything that is kept is its digest. 256 random bits need no slow
/// password hash: a plain SHA-256 of them cannot be searched.
public struct Token: Sendable {
    public let text: String

    /// A new token from the operating system's random numbers.
    public init() {
        text = Token.base64url(Token.randomBytes(32))
    }

    /// Random bytes from the operating system.
    ///
    /// A machine without random numbers cannot mint secrets: the process ends.
    public static func randomBytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        precondition(RAND_bytes(&bytes, Int32(count)) == 1, "the operating system gave no random numbers")
        return bytes
    }

    /// A random identifier of 128 bits in hexadecimal: for incarnations and request ids.
    public static func randomIdentifier() -> String {
        randomBytes(16).map { byte in
            let digits = String(byte, radix: 16)
            return byte < 16 ? "0" + digits : digits
        }.joined()
    }

    static func base64url(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        var output: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits = 0
        for byte in bytes {
            accumulator = accumulator << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                output.append(alphabet[Int(accumulator >> UInt32(bits)) & 63])
            }
            accumulator &= (1 << UInt32(bits)) - 1
        }
        if bits > 0 {
            output.append(alphabet[Int(accumulator << UInt32(6 - bits)) & 63])
        }
        return String(decoding: output, as: UTF8.self)
    }
}
