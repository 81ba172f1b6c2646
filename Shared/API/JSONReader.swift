internal import Model

/// Why bytes are not the JSON that is taken, or what is wrong with a member.
public struct JSONFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// The member that is wrong; empty for the bytes as a whole.
    public let member: String
    public let detail: String

    public init(member: String = "", _ detail: String) {
        self.member = member
        self.detail = detail
    }

    public var description: String { member.isEmpty ? detail : "\(member): \(detail)" }
}

extension JSON {
    /// A value that somebody outside wrote, read strictly: RFC 8259 in UTF-8, nothing that readers understand differently.
    ///
    /// Refused are a byte order mark, UTF-16, a trailing comma, a member that comes twice (§4: names should be unique), half
    /// a surrogate pair (§8.2), and what lies deeper than `Limits.jsonDepthMax`. Who calls has bounded the size.
    public static func read(_ bytes: [UInt8]) throws(JSONFault) -> JSONValue {
        var reader = try JSONReader(bytes)
        let value = try reader.value()
        try reader.end()
        if let member = reader.repeatedMember { throw JSONFault(member: member, "comes twice") }
        return value
    }
}

/// Walks over JSON once, byte by byte; see `JSON.read`. One that follows the structure itself can judge each element alone.
public struct JSONReader: Sendable {
    private let bytes: [UInt8]
    /// Where the next byte is read.
    public private(set) var index = 0
    private var depth = 0
    /// The first member that came twice in its object; set to `nil` by who judges elements alone.
    public var repeatedMember: String?

    /// - Throws: for an encoding that is not UTF-8 without a mark.
    public init(_ bytes: [UInt8]) throws(JSONFault) {
        self.bytes = bytes
        guard bytes.count > 1 else { return }
        switch (bytes[0], bytes[1]) {
        case (0xef, 0xbb): throw JSONReader.fault("it begins with a byte order mark")
        case (0xfe, 0xff), (0xff, 0xfe), (0, 1...), (1..., 0):
            throw JSONReader.fault("it is UTF-16 or UTF-32, not UTF-8")
        default: return
        }
    }

    // MARK: Values

    /// The value that comes next.
    public mutating func value() throws(JSONFault) -> JSONValue {
        switch next() ?? 0 {
        case UInt8(ascii: "{"): return try object()
        case UInt8(ascii: "["): return try array()
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw unexpected("a value")
        }
    }

    /// The first byte of what comes next, behind white space; `nil` at the end.
    public mutating func next() -> UInt8? {
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"): index += 1
            default: return bytes[index]
            }
        }
        return nil
    }

    /// The integer that comes next.
    public mutating func integer() throws(JSONFault) -> Int64 {
        guard let integer = try value().integer else { throw unexpected("an integer") }
        return integer
    }

    /// The bytes of the value that comes next, as one of our services wrote it: only its end is looked for.
    package mutating func writtenValue() throws(JSONFault) -> [UInt8] {
        let start = index
        var depth = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "\""): try passString()
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: ","):
                if depth == 0 { return Array(bytes[start..<index]) }
                if bytes[index] != UInt8(ascii: ",") { depth -= 1 }
            default: break
            }
            index += 1
        }
        throw unexpected("the end of a value")
    }

    /// Goes to the closing quote.
    private mutating func passString() throws(JSONFault) {
        index += 1
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
            index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        if index >= bytes.count { throw unexpected("'\"'") }
    }

    /// Nothing more comes.
    public mutating func end() throws(JSONFault) {
        if next() != nil { throw unexpected("its end") }
    }

    /// Lets `body` read the value of each member of the object that comes next.
    public mutating func forEachMember(
        _ body: (inout JSONReader, String) throws(JSONFault) -> Void
    ) throws(JSONFault) {
        try forEach(from: UInt8(ascii: "{"), to: UInt8(ascii: "}"), "'{'") { (reader) throws(JSONFault) in
            guard reader.next() == UInt8(ascii: "\"") else { throw reader.unexpected("a member's name in quotes") }
            let name = try reader.string()
            guard reader.skip(UInt8(ascii: ":")) else { throw reader.unexpected("':'") }
            try body(&reader, name)
        }
    }

    /// Lets `body` read each element of the array that comes next.
    public mutating func forEachElement(_ body: (inout JSONReader) throws(JSONFault) -> Void) throws(JSONFault) {
        try forEach(from: UInt8(ascii: "["), to: UInt8(ascii: "]"), "'['", body)
    }

    private mutating func forEach(
        from opening: UInt8, to closing: UInt8, _ expected: String,
        _ body: (inout JSONReader) throws(JSONFault) -> Void
    ) throws(JSONFault) {
        guard skip(opening) else { throw unexpected(expected) }
        depth += 1
        guard depth <= Limits.jsonDepthMax else {
            throw JSONFault("lies deeper than \(Limits.jsonDepthMax) objects and arrays at byte \(index)")
        }
        defer { depth -= 1 }
        if skip(closing) { return }
        repeat { try body(&self) } while skip(UInt8(ascii: ","))
        guard skip(closing) else { throw unexpected("',' or '\(Character(UnicodeScalar(closing)))'") }
    }

    private mutating func object() throws(JSONFault) -> JSONValue {
        var members: [String: JSONValue] = [:]
        var twice: String?
        try forEachMember { (reader, name) throws(JSONFault) in
            let value = try reader.value()
            guard let known = members.index(forKey: name) else {
                members[name] = value
                return
            }
            // Names are compared as they are written (RFC 8259 §8.3), which a dictionary of texts does not: of two that only
            // look the same, neither is one of ours, and the first is kept.
            if members[known].key.utf8.elementsEqual(name.utf8), twice == nil { twice = name }
        }
        if repeatedMember == nil { repeatedMember = twice }
        return .object(members)
    }

    private mutating func array() throws(JSONFault) -> JSONValue {
        var elements: [JSONValue] = []
        try forEachElement { (reader) throws(JSONFault) in elements.append(try reader.value()) }
        return .array(elements)
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONFault) -> JSONValue {
        for offset in 0..<text.utf8CodeUnitCount {
            guard index < bytes.count, bytes[index] == text.utf8Start[offset] else { throw unexpected("'\(text)'") }
            index += 1
        }
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(JSONFault) -> JSONValue {
        let start = index
        if bytes[index] == UInt8(ascii: "-") { index += 1 }
        if index < bytes.count, bytes[index] == UInt8(ascii: "0") { index += 1 } else { try digits() }
        let isWhole = !skipByte(UInt8(ascii: "."))
        if !isWhole { try digits() }
        let hasExponent = skipByte(UInt8(ascii: "e")) || skipByte(UInt8(ascii: "E"))
        if hasExponent {
            if !skipByte(UInt8(ascii: "+")) { _ = skipByte(UInt8(ascii: "-")) }
            try digits()
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if isWhole, !hasExponent, let integer = Int64(text) { return .integer(integer) }
        // Beyond the range of a Double it is the outermost one (RFC 8259 §6).
        let limit = Double.greatestFiniteMagnitude
        let number = min(max(Double(text) ?? 0, -limit), limit)
        // As JSON Schema has it, 3.0 is an integer; from 2^53 on a Double does not tell which.
        if abs(number) < 9_007_199_254_740_992, let integer = Int64(exactly: number) { return .integer(integer) }
        return .number(number)
    }

    private mutating func digits() throws(JSONFault) {
        let start = index
        while index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) { index += 1 }
        if index == start { throw unexpected("a digit") }
    }

    // MARK: Strings

    /// The string that comes next.
    public mutating func string() throws(JSONFault) -> String {
        guard skip(UInt8(ascii: "\"")) else { throw unexpected("a string") }
        let start = index
        var isASCII = true
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                defer { index += 1 }
                // Nearly always: there is nothing to validate.
                if isASCII { return String(decoding: bytes[start..<index], as: UTF8.self) }
                return try text(bytes[start..<index], at: start)
            case UInt8(ascii: "\\"): return try escapedString(from: start)
            case 0..<0x20: throw unexpected("no control character in a string")
            default:
                isASCII = isASCII && byte < 0x80
                index += 1
            }
        }
        throw unexpected("'\"'")
    }

    /// Passes an id in quotes and appends it to `names`; `false`, and nothing is passed, when something else comes next.
    public mutating func identifier(into names: inout NameRun) -> Bool {
        let start = index + 1
        guard start < bytes.count, bytes[index] == UInt8(ascii: "\""), Identifier.isLetterOrDigit(bytes[start]) else {
            return false
        }
        var end = start + 1
        while end < bytes.count, Identifier.isLetterOrDigit(bytes[end]) || Identifier.isMark(bytes[end]) { end += 1 }
        guard end < bytes.count, bytes[end] == UInt8(ascii: "\""), end - start <= Identifier.lengthMax else {
            return false
        }
        names.append(bytes[start..<end])
        index = end + 1
        return true
    }

    private mutating func escapedString(from start: Int) throws(JSONFault) -> String {
        var content = Array(bytes[start..<index])
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                index += 1
                return try text(content[...], at: start)
            case UInt8(ascii: "\\"):
                index += 1
                content += Array(String(Character(try escape())).utf8)
            case 0..<0x20: throw unexpected("no control character in a string")
            default:
                content.append(byte)
                index += 1
            }
        }
        throw unexpected("'\"'")
    }

    private mutating func escape() throws(JSONFault) -> UnicodeScalar {
        guard index < bytes.count else { throw unexpected("an escape") }
        defer { index += 1 }
        switch bytes[index] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UnicodeScalar(bytes[index])
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = UnicodeScalar(unit) { return scalar }
            // The second half of a pair (RFC 8259 §7).
            index += 1
            guard unit < 0xdc00, skipByte(UInt8(ascii: "\\")), index < bytes.count, bytes[index] == UInt8(ascii: "u")
            else { throw unexpected("the second half of a surrogate pair") }
            let low = try hexadecimal()
            guard (0xdc00..<0xe000).contains(low),
                let scalar = UnicodeScalar(0x10000 + (unit - 0xd800) << 10 + (low - 0xdc00))
            else { throw unexpected("the second half of a surrogate pair") }
            return scalar
        default: throw unexpected("an escape")
        }
    }

    /// Four digits behind the `u` at `index`, which ends at the last of them.
    private mutating func hexadecimal() throws(JSONFault) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            index += 1
            guard index < bytes.count, let digit = Character(UnicodeScalar(bytes[index])).hexDigitValue else {
                throw unexpected("a hexadecimal digit")
            }
            unit = unit << 4 + UInt32(digit)
        }
        return unit
    }

    private func text(_ content: ArraySlice<UInt8>, at start: Int) throws(JSONFault) -> String {
        guard let text = String(validating: content, as: UTF8.self) else {
            throw JSONReader.fault("the string at byte \(start) is not UTF-8")
        }
        return text
    }

    // MARK: Bytes

    /// Whether `byte` came next, behind white space; then it is passed.
    private mutating func skip(_ byte: UInt8) -> Bool {
        guard next() == byte else { return false }
        index += 1
        return true
    }

    private mutating func skipByte(_ byte: UInt8) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    /// What was read instead of what was expected; of the content no more than one character, since it may be secret.
    private func unexpected(_ expected: String) -> JSONFault {
        guard index < bytes.count else { return JSONReader.fault("it ends where \(expected) is expected") }
        let byte = bytes[index]
        let isPrintable = (0x21..<0x7f).contains(byte)
        let found = isPrintable ? "'\(Character(UnicodeScalar(byte)))'" : "the byte 0x" + hexadecimal(byte)
        return JSONReader.fault("\(found) at byte \(index + 1) where \(expected) is expected")
    }

    private func hexadecimal(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }

    private static func fault(_ what: String) -> JSONFault { JSONFault("not JSON (RFC 8259): \(what)") }
}
