public import Lifecycle

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

    /// An address from its text. The refusal never contains the password.
    public init(parsing text: String) throws(InvalidValue) {
        let form = "mqtt[s]://[user[:password]@]host[:port] or unix:PATH"
        // A Unix socket may carry a user as well: unix://user:password@/path
        if text.hasPrefix("unix:") {
            var rest = text.dropFirst(5)
            var credentials: (String?, String?) = (nil, nil)
            if rest.hasPrefix("//"), let at = rest.lastIndex(of: "@") {
                credentials = try BrokerAddress.credentials(rest[rest.index(rest.startIndex, offsetBy: 2)..<at])
                rest = rest[rest.index(after: at)...]
            }
            guard !rest.isEmpty, rest.utf8.count <= BrokerAddress.unixPathLengthMax else {
                throw InvalidValue("a broker's socket path has 1 to \(BrokerAddress.unixPathLengthMax) bytes: \(form)")
            }
            self.init(endpoint: .unix(path: String(rest)), username: credentials.0, password: credentials.1)
            return
        }
        let isEncrypted = text.hasPrefix("mqtts://")
        guard isEncrypted || text.hasPrefix("mqtt://") else { throw InvalidValue("a broker is named as \(form)") }
        var rest = text.dropFirst(isEncrypted ? 8 : 7)
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
            guard let number = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(number) else {
                throw InvalidValue("a broker's port is a number from 1 to 65535: \(form)")
            }
            port = number
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains("/") else { throw InvalidValue("the broker's host is missing: \(form)") }
        self.init(
            endpoint: .tcp(host: String(host), port: port, isEncrypted: isEncrypted), username: credentials.0,
            password: credentials.1)
    }

    /// The address without user and password.
    public var description: String {
        switch endpoint {
        case .tcp(let host, let port, let isEncrypted): "\(isEncrypted ? "mqtts" : "mqtt")://\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// The address with user and password, for a child process or a private file.
    public var withCredentials: String {
        guard let username else { return description }
        let user =
            BrokerAddress.percentEncoded(username) + (password.map { ":" + BrokerAddress.percentEncoded($0) } ?? "")
        switch endpoint {
        case .tcp(let host, let port, let isEncrypted):
            return "\(isEncrypted ? "mqtts" : "mqtt")://\(user)@\(host):\(port)"
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

    static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard let high = rest.popFirst(), let low = rest.popFirst(),
                    let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
                else { return nil }
                bytes.append(value)
            } else {
                bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
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
