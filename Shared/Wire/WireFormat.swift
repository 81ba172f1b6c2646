internal import API

/// How what services say to each other becomes bytes and is read again. Nothing else knows that it is JSON.
public enum WireFormat {
    public static func bytes(_ message: some Encodable) -> [UInt8] { JSON.bytes(message) }

    /// - Throws: `DecodingError`, which `JSON.describe` puts into a sentence.
    public static func decode<Message: Decodable>(_ type: Message.Type, from bytes: [UInt8]) throws -> Message {
        if let frequent = type as? any FrequentMessage.Type, let message = frequent.read(bytes) as? Message {
            return message
        }
        return try JSON.decode(type, from: bytes)
    }
}
