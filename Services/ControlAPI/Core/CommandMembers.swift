internal import API

/// The members of a command on the bus, from a request's path, query and body.
enum CommandMembers {
    private static let integers: Set<String> = ["limit"]
    private static let flags: Set<String> = [
        "force", "stale_templates", "include_main", "lead_only", "reset_sessions", "rotate_tokens", "overwrite", "wake",
        "now",
    ]

    static func of(
        _ request: HTTPRequest, _ source: Route.Source, _ path: [String: String]
    ) throws(HTTPRefusal) -> [String: JSONValue] {
        var given: [String: JSONValue] = [:]
        let takesBody = source == .body || (source == .queryOrBody && !request.body.isEmpty)
        if takesBody { given = try body(request.body) }
        if !request.query.isEmpty {
            guard source != .nothing, !takesBody else {
                throw invalid(request.query[0].name, "this request takes nothing in its query")
            }
            given = try query(request.query)
        }
        for (name, value) in ofPath(path) {
            if given[name] != nil { throw invalid(name, "is given by the path") }
            given[name] = .string(value)
        }
        return given
    }

    private static func ofPath(_ path: [String: String]) -> [String: String] {
        if let gateway = path["gateway"], let agent = path["agent"] { return ["agent": "\(gateway)/\(agent)"] }
        return path
    }

    private static func body(_ bytes: [UInt8]) throws(HTTPRefusal) -> [String: JSONValue] {
        guard !bytes.isEmpty else { return [:] }
        let value: JSONValue
        do throws(JSONFault) {
            value = try JSON.read(bytes)
        } catch {
            throw invalid(error.member, error.detail)
        }
        guard let members = value.object else { throw invalid("", "the body is \(value.typeName), not an object") }
        return members
    }

    private static func query(_ pairs: [(name: String, value: String)]) throws(HTTPRefusal) -> [String: JSONValue] {
        var members: [String: JSONValue] = [:]
        for (name, text) in pairs {
            guard members[name] == nil else { throw invalid(name, "comes twice") }
            if integers.contains(name) {
                guard let number = Int64(text) else { throw invalid(name, "'\(text.prefix(80))' is not an integer") }
                members[name] = .integer(number)
            } else if flags.contains(name) {
                guard let flag = Bool(text) else { throw invalid(name, "'\(text.prefix(80))' is not true or false") }
                members[name] = .bool(flag)
            } else if name == "status", text.contains(",") {
                members[name] = .array(
                    text.split(separator: ",", omittingEmptySubsequences: false).map { .string(String($0)) })
            } else {
                members[name] = .string(text)
            }
        }
        return members
    }

    /// The longest idempotency key in bytes: with its operator's name before it, the bus takes it.
    static let keyLengthMax = 128

    /// The idempotency key of a request, which the bus carries as text: other bytes than visible ASCII are refused.
    static func key(_ request: HTTPRequest) throws(HTTPRefusal) -> String? {
        guard let key = request.header("idempotency-key") else { return nil }
        guard request.headers.count(where: { $0.name == "idempotency-key" }) == 1 else {
            throw invalid("idempotency-key", "comes twice")
        }
        guard (1...keyLengthMax).contains(key.utf8.count), isVisible(key) else {
            throw invalid("idempotency-key", "is not 1 to \(keyLengthMax) visible characters of ASCII")
        }
        return key
    }

    static func isVisible(_ text: String) -> Bool { text.utf8.allSatisfy { (0x20...0x7e).contains($0) } }

    private static func invalid(_ member: String, _ detail: String) -> HTTPRefusal {
        HTTPRefusal(Problem(member: member, detail))
    }
}

/// What a command's answer becomes over HTTP.
enum CommandAnswer {
    static func problem(_ payload: [UInt8]) -> HTTPResponse {
        .problem(Int((try? JSON.read(payload))?["status"]?.integer ?? 503), payload)
    }

    static func response(_ payload: [UInt8], to route: Route, _ request: HTTPRequest) -> HTTPResponse {
        guard case .command(_, _, let answer) = route.action, answer != .plain, let value = try? JSON.read(payload)
        else {
            return .json(payload)
        }
        let tag = etag(value)
        let tags = tag.map { [HTTPResponse.Header("ETag", $0)] } ?? []
        switch answer {
        case .plain: return .json(payload)
        case .created: return .json(payload, status: value["token"]?.string != nil ? 201 : 200, headers: tags)
        case .record:
            if route.method == "GET", let known = request.header("if-none-match"), matches(known, tag) {
                return HTTPResponse(304, headers: tags)
            }
            return .json(payload, headers: tags)
        case .page(let member):
            guard let next = value["next"]?.string else { return .json(payload) }
            let cursor = member == "records" ? "after" : "before"
            let pairs = request.query.filter { $0.name != cursor } + [(cursor, next)]
            let query = pairs.map { "\(encoded($0.name))=\(encoded($0.value))" }.joined(separator: "&")
            return .json(payload, headers: [.init("Link", "<\(route.target(request))?\(query)>; rel=\"next\"")])
        }
    }

    /// The revision of the record in an answer, quoted (RFC 9110 §8.8.3).
    static func etag(_ answer: JSONValue?) -> String? {
        answer?["record"]?["revision"]?.integer.map { "\"\($0)\"" }
    }

    /// The revisions that strong tags of a list name, with commas: weak ones name none for `If-Match` (RFC 9110 §13.1.1).
    static func revisions(_ list: String) -> String {
        list.split(separator: ",").compactMap { entry in
            let tag = entry.filter { $0 != " " && $0 != "\t" }
            guard tag.count > 2, tag.first == "\"", tag.last == "\"" else { return nil }
            return Int64(tag.dropFirst().dropLast()).map(String.init)
        }.joined(separator: ",")
    }

    /// The owner of a record has found another revision than was asked for.
    static func isOfCondition(_ payload: [UInt8]) -> Bool {
        (try? JSON.read(payload))?["errors"]?.array?.first?["member"]?.string == "if-match"
    }

    /// Whether a list of entity tags names this one.
    static func matches(_ list: String, _ tag: String?) -> Bool {
        guard let tag else { return false }
        return list.split(separator: ",").contains { entry in
            let entry = entry.trimmingPrefix { $0 == " " || $0 == "\t" }
            let end = entry.lastIndex { $0 != " " && $0 != "\t" }.map(entry.index(after:)) ?? entry.endIndex
            let name = entry.hasPrefix("W/") ? entry[..<end].dropFirst(2) : entry[..<end]
            return name == tag || name == "*"
        }
    }

    /// Percent-encoded but for what is unreserved (RFC 3986 §2.3).
    static func encoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { result, byte in
            let isPlain =
                byte < 128 && (Character(UnicodeScalar(byte)).isLetter || Character(UnicodeScalar(byte)).isNumber)
            if isPlain || "-._~".utf8.contains(byte) {
                result.unicodeScalars.append(UnicodeScalar(byte))
            } else {
                result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }
}

extension Route {
    /// The path of a request for this route, encoded.
    func target(_ request: HTTPRequest) -> String {
        "/" + request.path.map(CommandAnswer.encoded).joined(separator: "/")
    }
}
