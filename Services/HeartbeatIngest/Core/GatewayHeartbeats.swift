public import API
public import Model

/// A gateway's message for all its agents: `{"agents": ["a1", {"agent": "a2", "seq": 7}]}`. Each entry is judged alone.
public struct GatewayHeartbeats: Sendable {
    /// One entry; `agent` is the id inside the gateway.
    public enum Entry: Hashable, Sendable {
        case formed(agent: String, HeartbeatForm)
        /// It names no agent: there is nobody to count it on.
        case nameless(detail: String)

        static func plain(_ agent: String) -> Entry { .formed(agent: agent, .plain) }
    }

    /// All agents of a message that says nothing else of any of them; then there are no entries.
    public private(set) var names = NameRun()
    public private(set) var entries: [Entry] = []

    /// Entries that are no heartbeat of an agent with a name.
    public private(set) var badEntries = 0
    private let badEntriesMax: Int

    /// - Parameter badEntriesMax: with one more the message is read no further.
    /// - Throws: the reason, for a message that is broken as a whole.
    public init(_ payload: [UInt8], badEntriesMax: Int = .max) throws(GatewayHeartbeatsError) {
        self.badEntriesMax = badEntriesMax
        guard payload.count <= Limits.gatewayHeartbeatsBytesMax else {
            throw GatewayHeartbeatsError(
                reason: .tooLarge,
                detail: "has \(payload.count) bytes, at most \(Limits.gatewayHeartbeatsBytesMax) are taken")
        }
        do throws(JSONFault) {
            try read(payload)
        } catch {
            if badEntries > badEntriesMax {
                throw GatewayHeartbeatsError(
                    reason: .rateLimited, detail: "more than \(Limits.badEntriesMax) bad entries came within a second")
            }
            throw GatewayHeartbeatsError(reason: .malformed, detail: error.description)
        }
    }

    private mutating func read(_ payload: [UInt8]) throws(JSONFault) {
        var reader = try JSONReader(payload)
        guard reader.next() == UInt8(ascii: "{") else {
            let value = try reader.value()
            throw JSONFault("is \(value.typeName), not an object")
        }
        var members: Set<String> = []
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            guard members.insert(name).inserted else { throw JSONFault(member: name, "comes twice") }
            if name == "agents" {
                try readAgents(&reader)
            } else {
                _ = try reader.value()
                if let member = reader.repeatedMember { throw JSONFault(member: member, "comes twice") }
            }
        }
        try reader.end()
        guard members.contains("agents") else { throw JSONFault(member: "agents", "is missing") }
    }

    private mutating func readAgents(_ reader: inout JSONReader) throws(JSONFault) {
        guard reader.next() == UInt8(ascii: "[") else {
            let value = try reader.value()
            throw JSONFault(member: "agents", "is \(value.typeName), not an array")
        }
        try reader.forEachElement { (reader) throws(JSONFault) in
            if reader.next() == UInt8(ascii: "\"") {
                if entries.isEmpty, reader.identifier(into: &names) { return }
                take(name: try reader.string())
            } else {
                let start = reader.index
                let value = try reader.value()
                take(value, bytes: reader.index - start, repeated: reader.repeatedMember)
                reader.repeatedMember = nil
            }
            guard badEntries <= badEntriesMax else { throw JSONFault("has too many bad entries") }
        }
    }

    private var count: Int { names.count + entries.count }

    private mutating func take(name: String) {
        guard Identifier.isValid(name) else { return add(nameless("'\(name.prefix(80))' is not an id")) }
        if entries.isEmpty { names.append(name) } else { entries.append(.plain(name)) }
    }

    private mutating func take(_ value: JSONValue, bytes: Int, repeated: String?) {
        guard case .object(let object) = value else {
            return add(nameless("is \(value.typeName), not an id or an object"))
        }
        guard let name = object["agent"]?.string, Identifier.isValid(name), repeated != "agent" else {
            return add(nameless("names no agent"))
        }
        if let repeated {
            add(.formed(agent: name, .rejected(.malformed, detail: "\(repeated): comes twice")))
        } else if bytes > Limits.heartbeatBytesMax {
            add(.formed(agent: name, .tooLarge(bytes)))
        } else {
            add(.formed(agent: name, HeartbeatForm(value)))
        }
    }

    private func nameless(_ detail: String) -> Entry { .nameless(detail: "agents[\(count)]: \(detail)") }

    private mutating func add(_ entry: Entry) {
        switch entry {
        case .nameless, .formed(_, .rejected): badEntries += 1
        case .formed: break
        }
        // With the first that is no name, the names before it become entries.
        if entries.isEmpty {
            entries = names.strings.map { .plain($0) }
            names = NameRun()
        }
        entries.append(entry)
    }
}

/// Why a gateway's message was dropped whole.
public struct GatewayHeartbeatsError: Error, Hashable, Sendable {
    /// `malformed`, `too_large` or `rate_limited`.
    public let reason: RejectionReason
    public let detail: String
}
