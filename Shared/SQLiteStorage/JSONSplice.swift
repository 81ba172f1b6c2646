internal import API

/// Finds and replaces members of encoded objects (RFC 8259) without decoding them.
///
/// It works on what `JSON.bytes` wrote: no space between tokens.
enum JSONSplice {
    /// Where the value of `member` lies in the object `bytes`; `nil` when there is none.
    static func valueRange(of member: StaticString, in bytes: [UInt8]) -> Range<Int>? {
        bytes.withUnsafeBufferPointer { buffer in
            member.withUTF8Buffer { name in
                valueRange(of: name, in: buffer)
            }
        }
    }

    /// The values of these members of an object, each in the place of its name; `nil` for one that is not there. Names with
    /// escapes, which ours have not, are as they are written.
    static func values(of members: [StaticString], in object: ArraySlice<UInt8>) -> [ArraySlice<UInt8>?] {
        var values: [ArraySlice<UInt8>?] = Array(repeating: nil, count: members.count)
        object.withUnsafeBufferPointer { buffer in
            forEachMember(of: buffer) { name, value in
                for (index, member) in members.enumerated() where member.utf8CodeUnitCount == name.count {
                    let isMeant = member.withUTF8Buffer {
                        UnsafeBufferPointer(rebasing: buffer[name]).elementsEqual($0)
                    }
                    guard isMeant else { continue }
                    values[index] =
                        object[(object.startIndex + value.lowerBound)..<(object.startIndex + value.upperBound)]
                }
                return true
            }
        }
        return values
    }

    /// The string whose JSON these bytes are; `nil` when they are something else.
    static func string(_ bytes: ArraySlice<UInt8>) -> String? {
        guard bytes.count >= 2, bytes.first == UInt8(ascii: "\"") else { return nil }
        if bytes.contains(UInt8(ascii: "\\")) { return try? JSON.decode(String.self, from: Array(bytes)) }
        return String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
    }

    /// The integer whose JSON these bytes are; `nil` when they are something else.
    static func integer(_ bytes: ArraySlice<UInt8>) -> Int? { Int(String(decoding: bytes, as: UTF8.self)) }

    /// The object with another value for a member that it has.
    static func replacing(_ member: StaticString, in bytes: [UInt8], with value: [UInt8]) -> [UInt8] {
        guard let range = valueRange(of: member, in: bytes) else { return bytes }
        var result = bytes
        result.replaceSubrange(range, with: value)
        return result
    }

    private static func valueRange(
        of name: UnsafeBufferPointer<UInt8>, in bytes: UnsafeBufferPointer<UInt8>
    ) -> Range<Int>? {
        var found: Range<Int>?
        forEachMember(of: bytes) { key, value in
            guard key.count == name.count, (0..<name.count).allSatisfy({ bytes[key.lowerBound + $0] == name[$0] })
            else { return true }
            found = value
            return false
        }
        return found
    }

    /// Calls `body` with the places of each member's name, without its quotes, and value, as long as it returns `true`.
    private static func forEachMember(
        of bytes: UnsafeBufferPointer<UInt8>, _ body: (_ name: Range<Int>, _ value: Range<Int>) -> Bool
    ) {
        var position = 1
        while position < bytes.count, bytes[position] == UInt8(ascii: "\"") {
            let keyStart = position + 1
            position = end(ofStringAt: position, in: bytes)
            let keyEnd = position - 1
            let valueStart = position + 1
            position = end(ofValueAt: valueStart, in: bytes)
            guard position <= bytes.count, body(keyStart..<keyEnd, valueStart..<position) else { return }
            position += 1
        }
    }

    /// The position behind the string that begins at `start`.
    private static func end(ofStringAt start: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var position = start + 1
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
        }
        return position + 1
    }

    /// The position behind the value that begins at `start`.
    private static func end(ofValueAt start: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var position = start
        var depth = 0
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position = end(ofStringAt: position, in: bytes)
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { return position }
                depth -= 1
            case UInt8(ascii: ","):
                if depth == 0 { return position }
            default: break
            }
            position += 1
        }
        return position
    }
}
