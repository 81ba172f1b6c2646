internal import Contract

/// Takes secrets out of what is handed to somebody else.
struct Redaction {
    static let mark = "[removed]"
    /// 256 random bits in base64url, as every token and secret that Rollcall makes.
    private static let tokenLength = 43

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

    /// Without the known secrets, without what may be a token, and without user and password of URLs.
    func text(_ text: String) -> String {
        var known = text
        for secret in secrets where !secret.isEmpty { known = known.replacing(secret, with: Redaction.mark) }
        var result: [UInt8] = []
        var rest = Array(known.utf8)[...]
        while let first = rest.first {
            let run = rest.prefix(while: Redaction.isOfToken)
            let isToken = run.count >= Redaction.tokenLength && !run.allSatisfy(Redaction.isHex)
            result += isToken ? ArraySlice(Redaction.mark.utf8) : run
            rest = rest.dropFirst(run.count)
            guard run.isEmpty else { continue }
            result.append(first)
            rest = rest.dropFirst()
            guard result.suffix(3).elementsEqual("://".utf8), let user = Redaction.userLength(rest) else { continue }
            result += Redaction.mark.utf8
            rest = rest.dropFirst(user)
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// How much of what follows `://` is user and password; `nil`: none of it.
    private static func userLength(_ text: ArraySlice<UInt8>) -> Int? {
        let ends: [UInt8] = Array("@/ \n\"'".utf8)
        let user = text.prefix { !ends.contains($0) }
        return text.dropFirst(user.count).first == UInt8(ascii: "@") ? user.count : nil
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
