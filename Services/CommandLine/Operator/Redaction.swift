internal import API

/// Takes secrets out of what is handed to somebody else.
struct Redaction {
    static let mark = "[removed]"
    /// 256 random bits in base64url, as every token and secret that Rollcall makes.
    private static let tokenLength = 43
    /// What the secrets of others begin with: those of Standard Webhooks, and tokens of ntfy.
    private static let prefixes = ["whsec_", "tk_"]

    /// What is known to be secret; empty ones are none.
    let secrets: [String]

    /// Without the values of variables, and with every text as `text(_:)` gives it.
    func value(_ value: JSONValue) -> JSONValue {
        switch value {
        case .null, .bool, .integer, .number: value
        case .string(let text): .string(self.text(text))
        case .array(let values): .array(values.map(self.value))
        case .object(let members):
            .object(
                Dictionary(
                    uniqueKeysWithValues: members.map { name, value in
                        guard name == "variables", let variables = value.object else {
                            return (name, self.value(value))
                        }
                        return (name, .object(variables.mapValues { _ in .string(Redaction.mark) }))
                    }))
        }
    }

    /// Without the known secrets, without what may be a token, and of URLs without user and password; of those of HTTP also
    /// without path and query.
    func text(_ text: String) -> String {
        var known = text
        for secret in secrets where !secret.isEmpty { known = known.replacing(secret, with: Redaction.mark) }
        return String(decoding: Redaction.bytes(Array(known.utf8)[...]), as: UTF8.self)
    }

    /// The whole lines at the end of a text: the rest of a line that was cut could be the end of a token, which nobody knows.
    static func lines(_ text: [UInt8], atMost limit: Int) -> ArraySlice<UInt8> {
        guard text.count > limit else { return text[...] }
        return text.suffix(limit + 1).drop { $0 != UInt8(ascii: "\n") }.dropFirst()
    }

    private static func bytes(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = text
        while let first = rest.first {
            let run = rest.prefix(while: isOfToken)
            guard run.isEmpty else {
                let key = keyOffset(in: run, isEscaped: result.last == UInt8(ascii: "\\"))
                let isToken = run.count >= tokenLength && !run.allSatisfy(isHex)
                let kept = isToken ? 0 : key ?? run.count
                result += run.prefix(kept)
                if kept < run.count { result += mark.utf8 }
                rest = rest.dropFirst(run.count)
                // The rest of the base64 of a webhook's secret.
                if key != nil { rest = rest.drop { isOfToken($0) || "+/=".utf8.contains($0) } }
                continue
            }
            result.append(first)
            rest = rest.dropFirst()
            guard result.suffix(3).elementsEqual("://".utf8) else { continue }
            let isWeb = ["http", "https"].contains { ends(result.dropLast(3), with: $0) }
            let length = isWeb ? webAddress(rest, &result) : userLength(rest)
            rest = rest.dropFirst(length)
            if !isWeb, length > 0 { result += mark.utf8 }
        }
        return result
    }

    /// Where in a run of a token's digits begins what others made.
    ///
    /// - Parameter isEscaped: whether its first digit may belong to a backslash before it.
    private static func keyOffset(in run: ArraySlice<UInt8>, isEscaped: Bool) -> Int? {
        (0..<run.count).first { offset in
            guard prefixes.contains(where: { run.dropFirst(offset).starts(with: $0.utf8) }) else { return false }
            guard offset > 0, offset > 1 || !isEscaped else { return true }
            return "_-".utf8.contains(run[run.startIndex + offset - 1])
        }
    }

    /// Appends what may be known of an address behind `http://`.
    ///
    /// - Returns: the length of the address.
    private static func webAddress(_ text: ArraySlice<UInt8>, _ result: inout [UInt8]) -> Int {
        // What no address holds (RFC 3986, appendix C).
        let address = text.prefix { $0 > 32 && !"\"<>\\".utf8.contains($0) }
        let authority = address.prefix { !"/?#".utf8.contains($0) }
        let host = authority.suffix(authority.reversed().prefix { $0 != UInt8(ascii: "@") }.count)
        if host.count < authority.count { result += "\(mark)@".utf8 }
        result += bytes(host)
        let path = address.dropFirst(authority.count)
        let isRooted = path.first == UInt8(ascii: "/")
        if isRooted { result.append(UInt8(ascii: "/")) }
        if path.count > (isRooted ? 1 : 0) { result += mark.utf8 }
        return address.count
    }

    private static func ends(_ text: ArraySlice<UInt8>, with scheme: String) -> Bool {
        text.suffix(scheme.utf8.count).map { $0 | 0x20 }.elementsEqual(scheme.utf8)
    }

    /// How much of what follows `://` is user and password.
    private static func userLength(_ text: ArraySlice<UInt8>) -> Int {
        let user = text.prefix { !"@/ \n\"'".utf8.contains($0) }
        return text.dropFirst(user.count).first == UInt8(ascii: "@") ? user.count : 0
    }

    private static func isOfToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// A digest in hexadecimal is no secret.
    private static func isHex(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }
}
