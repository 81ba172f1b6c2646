public import Model

/// Where the broker is and who connects: `mqtt[s]://[user[:password]@]host[:port]` or `unix:PATH`, user and password
/// percent-encoded (RFC 3986 §2.1).
public struct BrokerAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Endpoint: Hashable, Sendable {
        case tcp(host: String, port: Int, isEncrypted: Bool)
        case unix(path: String)
    }

    /// The longest path of a Unix socket that every system takes.
    public static let unixPathLengthMax = 107

    public var endpoint: Endpoint
    public var username: String?
    public var password: String?

    public init(endpoint: Endpoint, username: String? = nil, password: String? = nil) {
        self.endpoint = endpoint
        self.username = username
        self.password = password
    }

    private static let form = "mqtt[s]://[user[:password]@]host[:port] or unix:PATH"

    /// An address from its text. The refusal never contains the password.
    ///
    /// A Unix socket may carry a user as well: `unix://user:password@/path`. An IPv6 address stands in brackets.
    public init(parsing text: String) throws(InvalidValue) {
        if text.hasPrefix("unix:") {
            self = try BrokerAddress.unix(text.dropFirst(5))
        } else if text.hasPrefix("mqtt://") {
            self = try BrokerAddress.tcp(text.dropFirst(7), isEncrypted: false)
        } else if text.hasPrefix("mqtts://") {
            self = try BrokerAddress.tcp(text.dropFirst(8), isEncrypted: true)
        } else {
            throw InvalidValue("a broker is named as \(BrokerAddress.form)")
        }
    }

    private static func unix(_ text: Substring) throws(InvalidValue) -> BrokerAddress {
        var path = text
        var credentials: (String?, String?) = (nil, nil)
        if text.hasPrefix("//") {
            path = text.dropFirst(2)
            // Credentials have no plain slash: an `@` behind the first one belongs to the path.
            let authority = path.prefix { $0 != "/" }
            if let at = authority.lastIndex(of: "@") {
                credentials = try BrokerAddress.credentials(path[..<at])
                path = path[path.index(after: at)...]
            }
        }
        guard !path.isEmpty, path.utf8.count <= unixPathLengthMax, !path.utf8.contains(0) else {
            throw InvalidValue("a broker's socket path has 1 to \(unixPathLengthMax) bytes: \(form)")
        }
        return BrokerAddress(endpoint: .unix(path: String(path)), username: credentials.0, password: credentials.1)
    }

    private static func tcp(_ text: Substring, isEncrypted: Bool) throws(InvalidValue) -> BrokerAddress {
        var rest = text
        var credentials: (String?, String?) = (nil, nil)
        if let at = rest.lastIndex(of: "@") {
            credentials = try BrokerAddress.credentials(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        var host = rest
        var port = isEncrypted ? 8_883 : 1_883
        if let colon = rest.lastIndex(of: ":"), !rest.hasSuffix("]") {
            host = rest[..<colon]
            let digits = rest[rest.index(after: colon)...]
            guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = Int(digits),
                (1...65_535).contains(number)
            else { throw InvalidValue("a broker's port is a number from 1 to 65535: \(form)") }
            port = number
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw InvalidValue("an IPv6 address stands in brackets: \(form)")
        }
        guard !host.isEmpty, !host.contains("/"), !host.utf8.contains(0) else {
            throw InvalidValue("the broker's host is missing: \(form)")
        }
        return BrokerAddress(
            endpoint: .tcp(host: String(host), port: port, isEncrypted: isEncrypted), username: credentials.0,
            password: credentials.1)
    }

    /// The address without user and password.
    public var description: String {
        switch endpoint {
        case .tcp(let host, let port, let isEncrypted): "\(isEncrypted ? "mqtts" : "mqtt")://\(bracketed(host)):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    private func bracketed(_ host: String) -> String {
        host.contains(":") ? "[\(host)]" : host
    }

    /// The address with user and password, for a child process or a private file.
    public var withCredentials: String {
        guard let username else { return description }
        let user =
            BrokerAddress.percentEncoded(username) + (password.map { ":" + BrokerAddress.percentEncoded($0) } ?? "")
        switch endpoint {
        case .tcp(let host, let port, let isEncrypted):
            return "\(isEncrypted ? "mqtts" : "mqtt")://\(user)@\(bracketed(host)):\(port)"
        case .unix(let path): return "unix://\(user)@\(path)"
        }
    }

    private static func credentials(_ text: Substring) throws(InvalidValue) -> (String?, String?) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let user = percentDecoded(parts[0]) else {
            throw InvalidValue("the broker's user is not percent-encoded UTF-8")
        }
        guard parts.count > 1 else { return (user, nil) }
        guard let password = percentDecoded(parts[1]) else {
            throw InvalidValue("the broker's password is not percent-encoded UTF-8")
        }
        return (user, password)
    }

    /// `nil` when it is not percent-encoded UTF-8, or contains a NUL, behind which C reads nothing.
    static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal)
                else {
                    return nil
                }
                bytes.append(high << 4 | low)
            } else {
                bytes.append(byte)
            }
        }
        guard !bytes.contains(0) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexadecimal(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    static func percentEncoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { result, byte in
            let character = UnicodeScalar(byte)
            switch character {
            case "A"..."Z", "a"..."z", "0"..."9", "-", ".", "_", "~": result.unicodeScalars.append(character)
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += "%" + (digits.utf8.count < 2 ? "0" : "") + digits
            }
        }
    }
}
