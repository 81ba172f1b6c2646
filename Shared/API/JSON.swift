internal import FoundationEssentials

/// JSON as it crosses the bus: UTF-8, members sorted, slashes plain, so that equal values are equal bytes.
public enum JSON {
    /// The bytes of a value.
    ///
    /// Every type that is encoded here is ours and encodes without error: a failure is a defect of this program.
    public static func bytes(_ value: some Encodable) -> [UInt8] {
        do {
            return try JSONWriter.bytes(of: value)
        } catch {
            preconditionFailure("a value of type \(type(of: value)) does not encode: \(error)")
        }
    }

    /// Puts in what is JSON already, as the value that is being encoded. Whether `encoder` is one of `bytes`, which can.
    package static func insert(_ json: [UInt8], into encoder: any Encoder) -> Bool {
        guard let writer = encoder as? JSONWriter else { return false }
        writer.insert(json)
        return true
    }

    /// The text of a value.
    public static func text(_ value: some Encodable) -> String {
        String(decoding: bytes(value), as: UTF8.self)
    }

    /// How many bytes a text takes at most as a JSON string, its quotes included (RFC 8259 §7): a control character takes six.
    public static func size(of text: String) -> Int {
        var size = 2
        for byte in text.utf8 {
            switch byte {
            case 0..<0x20: size += 6
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): size += 2
            default: size += 1
            }
        }
        return size
    }

    /// The same as `size(of:)` of an object of texts.
    public static func size(of texts: [String: String]) -> Int {
        texts.reduce(2) { $0 + size(of: $1.key) + size(of: $1.value) + 2 }
    }

    /// A value from its bytes.
    ///
    /// - Throws: `DecodingError`, which `describe` puts into a sentence; also for what lies deeper than
    ///   `Limits.decodedDepthMax`, since a decoder's time grows with the square of the depth.
    public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
        guard depth(of: bytes) <= Limits.decodedDepthMax else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: [], debugDescription: "lies deeper than \(Limits.decodedDepthMax) objects and arrays")
            )
        }
        return try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// How deep objects and arrays lie in each other, for bytes that may be no JSON at all.
    static func depth(of bytes: [UInt8]) -> Int {
        var (depth, deepest, isInString, isEscaped) = (0, 0, false, false)
        for byte in bytes {
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                deepest = max(deepest, depth)
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
            default: break
            }
        }
        return deepest
    }

    /// Where in the value the error is, as `policy.checkin_deadline`; empty for the value itself. And what is wrong.
    public static func describe(_ error: any Error) -> (member: String, detail: String) {
        guard let error = error as? DecodingError else { return ("", "\(error)") }
        switch error {
        case .typeMismatch(_, let context), .dataCorrupted(let context):
            return (path(context.codingPath), context.debugDescription)
        case .valueNotFound(_, let context): return (path(context.codingPath), "must not be null")
        case .keyNotFound(let key, let context): return (path(context.codingPath + [key]), "is missing")
        @unknown default: return ("", "\(error)")
        }
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        keys.reduce(into: "") { text, key in
            if let index = key.intValue, key.stringValue.hasPrefix("Index") || Int(key.stringValue) != nil {
                text += "[\(index)]"
            } else {
                text += (text.isEmpty ? "" : ".") + key.stringValue
            }
        }
    }
}

/// Any JSON value, for what is checked member by member.
public enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// The name of its type, for refusals.
    public var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer: "an integer"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }

    public subscript(member: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[member]
    }

    public var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    public var integer: Int64? {
        guard case .integer(let number) = self else { return nil }
        return number
    }

    public var bool: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    public var array: [JSONValue]? {
        guard case .array(let values) = self else { return nil }
        return values
    }

    public var object: [String: JSONValue]? {
        guard case .object(let members) = self else { return nil }
        return members
    }
}

extension JSONValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        // Each attempt fails for a value of another type; the last one reports.
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([String: JSONValue].self) {
            self = .object(value)
        } else {
            self = .array(try container.decode([JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}
