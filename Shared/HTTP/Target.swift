/// What a request asks for: path and query of its target, decoded after they are divided (RFC 3986 §2.4).
struct Target {
    private(set) var path: [String] = []
    private(set) var query: [(name: String, value: String)] = []
    /// Named by a target in absolute form alone (RFC 9112 §3.2.2).
    private(set) var authority: String?

    /// - Throws: `Refusal` for a form that a server of origin does not serve, and for what does not decode.
    init(_ target: String) throws(Refusal) {
        guard target.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }) else {
            throw Refusal("the target holds characters that must be percent-encoded")
        }
        guard target != "*" else {
            path = ["*"]
            return
        }
        var rest = Substring(target)
        for scheme in ["http://", "https://"] where rest.lowercased().hasPrefix(scheme) {
            let end = rest.dropFirst(scheme.count).firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
            authority = String(rest[..<end].dropFirst(scheme.count))
            rest = rest[end...]
        }
        guard rest.hasPrefix("/") || authority != nil && (rest.isEmpty || rest.hasPrefix("?")) else {
            throw Refusal("the target is no path")
        }
        let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        for segment in (parts.first ?? "").split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            path.append(try Target.decoded(segment.utf8))
        }
        if path == [""] { path = [] }
        guard parts.count == 2 else { return }
        for pair in parts[1].split(separator: "&") {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            query.append(
                (
                    try Target.decoded(sides[0].utf8, plusIsBlank: true),
                    sides.count == 2 ? try Target.decoded(sides[1].utf8, plusIsBlank: true) : ""
                ))
        }
    }

    /// - Parameter plusIsBlank: as forms and `URLSearchParams` encode a query.
    private static func decoded(_ text: Substring.UTF8View, plusIsBlank: Bool = false) throws(Refusal) -> String {
        var bytes: [UInt8] = []
        var index = text.startIndex
        while index < text.endIndex {
            let byte = text[index]
            index = text.index(after: index)
            guard byte == UInt8(ascii: "%") else {
                bytes.append(plusIsBlank && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
                continue
            }
            let digits = text[index...].prefix(2)
            guard digits.count == 2, let value = hexadecimal(digits), value != 0 else {
                throw Refusal("the target holds a percent escape that is none, or a zero byte")
            }
            bytes.append(value)
            index = digits.endIndex
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Refusal("the target is not UTF-8 when decoded")
        }
        return text
    }

    private static func hexadecimal(_ digits: Substring.UTF8View) -> UInt8? {
        var value: UInt8 = 0
        for digit in digits {
            guard let nibble = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
            value = value << 4 | UInt8(nibble)
        }
        return value
    }
}
