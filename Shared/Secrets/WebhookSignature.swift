internal import CCrypto

/// The headers by which a receiver knows who sent a message and that it is whole (Standard Webhooks 1.0.0).
public enum WebhookSignature {
    /// - Parameters:
    ///   - id: the same whenever the message is sent again.
    ///   - seconds: since 1970, of this attempt: a receiver refuses an old one.
    ///   - keys: each makes a signature, so that they can be changed one after the other.
    public static func headers(
        of body: [UInt8], id: String, seconds: Int64, keys: [[UInt8]]
    ) -> [(name: String, value: String)] {
        // The id may hold no full stop, and ids of agents do.
        let plainID = "evt_" + Token.base64url(Digest(of: id).bytes).prefix(22)
        let content = Array("\(plainID).\(seconds).".utf8) + body
        let signatures = keys.map { "v1," + base64(authenticationCode(of: content, key: $0)) }
        return [
            ("webhook-id", plainID), ("webhook-timestamp", String(seconds)),
            ("webhook-signature", signatures.joined(separator: " ")),
        ]
    }

    /// HMAC-SHA256 (RFC 2104).
    private static func authenticationCode(of message: [UInt8], key: [UInt8]) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        var length: UInt32 = 0
        // It fails only for a missing digest.
        _ = HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, &code, &length)
        return code
    }

    /// With padding (RFC 4648 §4).
    private static func base64(_ bytes: [UInt8]) -> String {
        var text = [UInt8](repeating: 0, count: 4 * ((bytes.count + 2) / 3) + 1)
        let length = EVP_EncodeBlock(&text, bytes, Int32(bytes.count))
        return String(decoding: text.prefix(Int(length)), as: UTF8.self)
    }
}
