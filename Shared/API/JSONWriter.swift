/// Writes a value as JSON (RFC 8259) into one run of bytes while the value encodes itself: members sorted, slashes plain.
///
/// Nothing is kept of a value but its bytes, so it takes a tenth of the time that a tree of values takes. A container is
/// closed when one around it goes on: our types fill one after the other.
final class JSONWriter {
    private struct Member {
        let start: Int
        let keyEnd: Int
        var end = 0
    }

    private struct Container {
        let isObject: Bool
        let start: Int
        let firstMember: Int
        var count = 0
        var isSorted = true
    }

    // Looking at each access whether another one is under way took a third of the time; only this class has any.
    @exclusivity(unchecked) private(set) var bytes: [UInt8] = []
    @exclusivity(unchecked) private var containers: [Container] = []
    /// Of all objects that are open.
    @exclusivity(unchecked) private var members: [Member] = []
    /// How many containers were open when the value began that is being encoded.
    @exclusivity(unchecked) private var base = 0

    static func bytes(of value: some Encodable) throws -> [UInt8] {
        let writer = JSONWriter()
        writer.bytes.reserveCapacity(512)
        try writer.write(value)
        return writer.bytes
    }

    /// Puts in what is JSON already.
    func insert(_ json: [UInt8]) { bytes.append(contentsOf: json) }

    // MARK: Containers

    fileprivate func write(_ value: some Encodable) throws {
        let outer = base
        base = containers.count
        let start = bytes.count
        try value.encode(to: self)
        close(to: base)
        if bytes.count == start { bytes.append(contentsOf: "{}".utf8) }
        base = outer
    }

    /// The container of the value that is being encoded, which may ask for it more than once; its depth.
    fileprivate func open(isObject: Bool) -> Int {
        if containers.count == base { begin(isObject: isObject) }
        return base + 1
    }

    /// A container inside of another one; its depth.
    @discardableResult
    fileprivate func begin(isObject: Bool) -> Int {
        bytes.append(isObject ? UInt8(ascii: "{") : UInt8(ascii: "["))
        containers.append(Container(isObject: isObject, start: bytes.count, firstMember: members.count))
        return containers.count
    }

    /// The next element of the container at this depth.
    fileprivate func beginElement(_ depth: Int) {
        close(to: depth)
        if containers[depth - 1].count > 0 { bytes.append(UInt8(ascii: ",")) }
        containers[depth - 1].count += 1
    }

    /// The next member of the container at this depth.
    fileprivate func beginMember(_ name: String, _ depth: Int) {
        endMember(depth)
        beginElement(depth)
        let start = bytes.count
        write(name)
        let keyEnd = bytes.count
        bytes.append(UInt8(ascii: ":"))
        let member = Member(start: start, keyEnd: keyEnd)
        if members.count > containers[depth - 1].firstMember, !precedes(members[members.count - 1], member) {
            containers[depth - 1].isSorted = false
        }
        members.append(member)
    }

    fileprivate func count(_ depth: Int) -> Int { containers[depth - 1].count }

    private func endMember(_ depth: Int) {
        close(to: depth)
        if members.count > containers[depth - 1].firstMember { members[members.count - 1].end = bytes.count }
    }

    private func close(to depth: Int) {
        while containers.count > depth {
            let container = containers[containers.count - 1]
            if container.isObject {
                if members.count > container.firstMember { members[members.count - 1].end = bytes.count }
                if !container.isSorted { sort(container) }
                members.removeSubrange(container.firstMember...)
            }
            bytes.append(container.isObject ? UInt8(ascii: "}") : UInt8(ascii: "]"))
            containers.removeLast()
        }
    }

    private func sort(_ container: Container) {
        var sorted: [UInt8] = []
        sorted.reserveCapacity(bytes.count - container.start)
        for member in members[container.firstMember...].sorted(by: precedes) {
            if !sorted.isEmpty { sorted.append(UInt8(ascii: ",")) }
            sorted.append(contentsOf: bytes[member.start..<member.end])
        }
        bytes.replaceSubrange(container.start..., with: sorted)
    }

    /// By the bytes of their names, without the quotes.
    private func precedes(_ left: Member, _ right: Member) -> Bool {
        bytes[(left.start + 1)..<(left.keyEnd - 1)].lexicographicallyPrecedes(
            bytes[(right.start + 1)..<(right.keyEnd - 1)])
    }

    // MARK: Values

    fileprivate func write(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { text in
            var plain = 0
            for (index, byte) in text.enumerated() {
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
                bytes.append(contentsOf: text[plain..<index])
                bytes.append(contentsOf: JSONWriter.escape(byte).utf8)
                plain = index + 1
            }
            bytes.append(contentsOf: text[plain...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func escape(_ byte: UInt8) -> String {
        switch byte {
        case UInt8(ascii: "\""): "\\\""
        case UInt8(ascii: "\\"): "\\\\"
        case 0x08: "\\b"
        case 0x0c: "\\f"
        case UInt8(ascii: "\n"): "\\n"
        case UInt8(ascii: "\r"): "\\r"
        case UInt8(ascii: "\t"): "\\t"
        default: byte < 0x10 ? "\\u000\(String(byte, radix: 16))" : "\\u00\(String(byte, radix: 16))"
        }
    }
}

extension JSONWriter: Encoder {
    var codingPath: [any CodingKey] { [] }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        KeyedEncodingContainer(JSONObject(writer: self, depth: open(isObject: true)))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer { JSONArray(writer: self, depth: open(isObject: false)) }

    func singleValueContainer() -> any SingleValueEncodingContainer { self }
}

extension JSONWriter: SingleValueEncodingContainer {
    func encodeNil() { bytes.append(contentsOf: "null".utf8) }
    func encode(_ value: Bool) { bytes.append(contentsOf: (value ? "true" : "false").utf8) }
    func encode(_ value: String) { write(value) }
    func encode(_ value: Float) throws { try encode(Double(value)) }
    func encode(_ value: some BinaryInteger & Encodable) { bytes.append(contentsOf: value.description.utf8) }
    func encode(_ value: some Encodable) throws { try write(value) }

    func encode(_ value: Double) throws {
        guard value.isFinite else {
            throw EncodingError.invalidValue(value, .init(codingPath: [], debugDescription: "\(value) is not JSON"))
        }
        let text = value.description
        bytes.append(contentsOf: (text.hasSuffix(".0") ? text.dropLast(2) : text[...]).utf8)
    }
}

private struct JSONObject<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let writer: JSONWriter
    let depth: Int
    var codingPath: [any CodingKey] { [] }

    func encodeNil(forKey key: Key) { at(key).encodeNil() }
    func encode(_ value: Bool, forKey key: Key) { at(key).encode(value) }
    func encode(_ value: String, forKey key: Key) { at(key).encode(value) }
    func encode(_ value: Double, forKey key: Key) throws { try at(key).encode(value) }
    func encode(_ value: Float, forKey key: Key) throws { try at(key).encode(value) }
    func encode(_ value: some BinaryInteger & Encodable, forKey key: Key) { at(key).encode(value) }
    func encode(_ value: some Encodable, forKey key: Key) throws { try at(key).encode(value) }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
        KeyedEncodingContainer(JSONObject<Nested>(writer: at(key), depth: writer.begin(isObject: true)))
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        JSONArray(writer: at(key), depth: writer.begin(isObject: false))
    }

    func superEncoder() -> any Encoder { preconditionFailure("no class of ours encodes itself") }
    func superEncoder(forKey key: Key) -> any Encoder { superEncoder() }

    private func at(_ key: Key) -> JSONWriter {
        writer.beginMember(key.stringValue, depth)
        return writer
    }
}

private struct JSONArray: UnkeyedEncodingContainer {
    let writer: JSONWriter
    let depth: Int
    var codingPath: [any CodingKey] { [] }
    var count: Int { writer.count(depth) }

    func encodeNil() { next().encodeNil() }
    func encode(_ value: Bool) { next().encode(value) }
    func encode(_ value: String) { next().encode(value) }
    func encode(_ value: Double) throws { try next().encode(value) }
    func encode(_ value: Float) throws { try next().encode(value) }
    func encode(_ value: some BinaryInteger & Encodable) { next().encode(value) }
    func encode(_ value: some Encodable) throws { try next().encode(value) }

    func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        KeyedEncodingContainer(JSONObject(writer: next(), depth: writer.begin(isObject: true)))
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        JSONArray(writer: next(), depth: writer.begin(isObject: false))
    }

    func superEncoder() -> any Encoder { preconditionFailure("no class of ours encodes itself") }

    private func next() -> JSONWriter {
        writer.beginElement(depth)
        return writer
    }
}
