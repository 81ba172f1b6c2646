public import API
public import Model

/// Where alerts go, as the configuration file of the host says it.
public struct AlertSettings: Sendable {
    /// A file larger than this is none.
    public static let bytesMax = 1 << 20
    public static let sinksMax = 100

    public let sinks: [AlertSink]

    /// - Throws: what is wrong with the first member that is.
    public init(_ bytes: [UInt8]) throws(JSONFault) {
        var file = try SettingsReader(JSON.read(bytes), "")
        let list = try file.list("sinks") ?? []
        try file.finish()
        guard !list.isEmpty, list.count <= AlertSettings.sinksMax else {
            throw JSONFault(member: "sinks", "has to name 1 to \(AlertSettings.sinksMax) sinks")
        }
        var sinks: [AlertSink] = []
        for (index, value) in list.enumerated() {
            let sink = try AlertSink(SettingsReader(value, "sinks[\(index)]"))
            guard !sinks.contains(where: { $0.name == sink.name }) else {
                throw JSONFault(member: "sinks[\(index)].name", "'\(sink.name)' is the name of another sink, too")
            }
            sinks.append(sink)
        }
        self.sinks = sinks
    }
}

/// One receiver of alerts.
public struct AlertSink: Sendable {
    public enum Form: String, CaseIterable, Sendable {
        case webhook, slack, ntfy, alertmanager

        /// Whether one message tells all, of as many agents as there are.
        var isForPeople: Bool { self == .slack || self == .ntfy }
    }

    public let name: String
    public let form: Form
    public let url: String
    /// Its scheme, host and port: what else is in an address may be secret.
    public let server: String
    /// Of a webhook: each signs, so that a receiver may know the old one or the new one.
    public let secrets: [[UInt8]]
    /// Sent as `Authorization: Bearer`.
    public let token: String?
    /// From the first event of a gateway to the message about it.
    public let groupWait: TimeSpan
    /// From one message about a gateway to the next.
    public let groupInterval: TimeSpan
    /// After which agents that are still offline are told again.
    public let repeatInterval: TimeSpan
    /// So many `offline` of one agent within an hour are told, then that it flaps; 0: all are.
    public let flapsMax: Int
    let gateways, boards, roles: Set<String>?
    let causes: Set<OfflineReason>

    init(_ reader: SettingsReader) throws(JSONFault) {
        var reader = reader
        let name = try reader.string("name")
        guard Identifier.isValid(name) else {
            throw reader.fault("name", "'\(name.prefix(80))' is not a name: \(Identifier.rule)")
        }
        self.name = name
        form = try reader.choice("form", Form.allCases)
        url = try reader.string("url")
        let scheme = url.prefix { $0 != ":" }.lowercased()
        guard ["http", "https"].contains(scheme), url.dropFirst(scheme.utf8.count).hasPrefix("://"),
            url.utf8.count <= 2_048, url.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { throw reader.fault("url", "is not an http:// or https:// address") }
        guard let host = AlertSink.host(url.dropFirst(scheme.utf8.count + "://".utf8.count)) else {
            throw reader.fault("url", "names no host, or one with a port that is no number")
        }
        server = "\(scheme)://\(host)"
        secrets = try AlertSink.secrets(&reader, form)
        token = try reader.optionalString("token")
        guard token?.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) ?? true else {
            throw reader.fault("token", "holds what no header holds")
        }
        // An Alertmanager groups by itself.
        let groups = form != .alertmanager
        groupWait = try reader.duration("group_wait") ?? (groups ? .seconds(5) : .zero)
        groupInterval = try reader.duration("group_interval") ?? (groups ? .seconds(60) : .zero)
        repeatInterval = try reader.duration("repeat_interval") ?? .seconds(groups ? 4 * 3_600 : 60)
        guard repeatInterval > .zero else { throw reader.fault("repeat_interval", "is 0s") }
        flapsMax = Int(try reader.count("flaps_max") ?? 5)
        gateways = try reader.strings("gateways")
        boards = try reader.strings("boards")
        roles = try reader.strings("roles")
        causes = try AlertSink.causes(&reader)
        try reader.finish()
    }

    private static func secrets(_ reader: inout SettingsReader, _ form: Form) throws(JSONFault) -> [[UInt8]] {
        let texts = try reader.list("secrets")
        guard form == .webhook else {
            guard texts == nil else { throw reader.fault("secrets", "belongs to the form 'webhook'") }
            return []
        }
        guard let texts, !texts.isEmpty else {
            throw reader.fault("secrets", "is missing: a list of whsec_… and the base64 of 24 to 64 random bytes")
        }
        return try texts.enumerated().map { index, value throws(JSONFault) in
            guard let text = value.string, text.hasPrefix("whsec_"),
                let key = Base64.decode(text.dropFirst("whsec_".count)), (24...64).contains(key.count)
            else {
                throw reader.fault("secrets[\(index)]", "is not whsec_ and the base64 of 24 to 64 bytes")
            }
            return key
        }
    }

    /// Host and port in what follows the scheme of an address (RFC 3986 §3.2).
    private static func host(_ address: Substring) -> Substring? {
        let authority = address.prefix { !"/?#\\".contains($0) }
        let host = authority.suffix(authority.reversed().prefix { $0 != "@" }.count)
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" } : host.prefix { $0 != ":" }
        let port = host.dropFirst(name.count).drop { $0 == "]" }
        guard !name.isEmpty, port.isEmpty || (port.first == ":" && UInt16(port.dropFirst()) != nil) else { return nil }
        return host
    }

    private static func causes(_ reader: inout SettingsReader) throws(JSONFault) -> Set<OfflineReason> {
        guard let texts = try reader.strings("causes") else { return [.checkinMissed, .lapsed] }
        for text in texts.sorted() where OfflineReason(rawValue: text) == nil {
            let known = OfflineReason.allCases.map(\.rawValue).joined(separator: ", ")
            throw reader.fault("causes", "'\(text.prefix(80))' is none of \(known)")
        }
        return Set(texts.compactMap { OfflineReason(rawValue: $0) })
    }

    func takes(gateway: String) -> Bool { gateways?.contains(gateway) ?? true }

    /// Whether it is to be told of this agent at all.
    func takes(_ event: AlertEvent) -> Bool {
        takes(gateway: event.gateway) && (boards.map { event.board.map($0.contains) ?? false } ?? true)
            && (roles?.contains(event.role) ?? true)
    }
}

/// Takes members out of an object, each under its path, and refuses what is left over.
struct SettingsReader {
    private var members: [String: JSONValue]
    private let path: String

    init(_ value: JSONValue, _ path: String) throws(JSONFault) {
        guard let members = value.object else {
            throw JSONFault(member: path.isEmpty ? "the file" : path, "is \(value.typeName), not an object")
        }
        self.members = members
        self.path = path
    }

    func fault(_ member: String, _ detail: String) -> JSONFault {
        JSONFault(member: path.isEmpty ? member : "\(path).\(member)", detail)
    }

    private mutating func take<Value>(
        _ member: String, _ kind: String, _ read: (JSONValue) -> Value?
    ) throws(JSONFault) -> Value? {
        guard let value = members.removeValue(forKey: member), value != .null else { return nil }
        guard let found = read(value) else { throw fault(member, "is \(value.typeName), not \(kind)") }
        return found
    }

    mutating func optionalString(_ member: String) throws(JSONFault) -> String? {
        try take(member, "a string") { $0.string }
    }

    mutating func string(_ member: String) throws(JSONFault) -> String {
        guard let text = try optionalString(member) else { throw fault(member, "is missing") }
        return text
    }

    mutating func list(_ member: String) throws(JSONFault) -> [JSONValue]? { try take(member, "a list") { $0.array } }

    mutating func strings(_ member: String) throws(JSONFault) -> Set<String>? {
        guard let values = try list(member) else { return nil }
        let texts = values.compactMap(\.string)
        guard texts.count == values.count, !texts.isEmpty else { throw fault(member, "is not a list of strings") }
        return Set(texts)
    }

    mutating func count(_ member: String) throws(JSONFault) -> Int64? {
        guard let count = try take(member, "an integer", { $0.integer }) else { return nil }
        guard (0...1_000).contains(count) else { throw fault(member, "is not 0 to 1000") }
        return count
    }

    mutating func duration(_ member: String) throws(JSONFault) -> TimeSpan? {
        guard let text = try optionalString(member) else { return nil }
        do throws(InvalidValue) {
            return try DurationText(parsing: text, mayBeZero: true).span
        } catch {
            throw fault(member, error.reason)
        }
    }

    mutating func choice<Value: RawRepresentable>(
        _ member: String, _ all: [Value]
    ) throws(JSONFault) -> Value where Value.RawValue == String {
        let text = try string(member)
        guard let value = Value(rawValue: text) else {
            throw fault(member, "'\(text.prefix(80))' is none of \(all.map(\.rawValue).joined(separator: ", "))")
        }
        return value
    }

    func finish() throws(JSONFault) {
        if let member = members.keys.min() { throw fault(member, "is not a member that is known") }
    }
}
