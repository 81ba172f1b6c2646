public import Model

/// Reads the members of a request or a heartbeat one by one and collects what is wrong with each; of a request it refuses
/// at the end what is left over.
public struct MemberReader {
    private var members: [String: JSONValue]
    private var errors: [Problem.MemberError] = []

    /// Reads an object that was parsed already.
    public init(_ object: [String: JSONValue]) {
        members = object
    }

    /// - Throws: `too-large` beyond `Limits.commandBytesMax`, `invalid-request` for what is not a JSON object.
    init(_ payload: [UInt8]) throws(Problem) {
        guard payload.count <= Limits.commandBytesMax else {
            throw Problem(
                member: "", "the request has \(payload.count) bytes, at most \(Limits.commandBytesMax) are taken",
                kind: .tooLarge)
        }
        if payload.isEmpty {
            members = [:]
            return
        }
        let value: JSONValue
        do throws(JSONFault) {
            value = try JSON.read(payload)
        } catch {
            throw Problem(member: error.member, error.detail)
        }
        guard case .object(let object) = value else {
            throw Problem(member: "", "the request is \(value.typeName), not an object")
        }
        members = object
    }

    /// Refuses unknown members and whatever was collected.
    func finish() throws(Problem) {
        let unknown = members.keys.sorted().map {
            Problem.MemberError(member: $0, detail: "is not a member of this request")
        }
        let all = errors + unknown
        guard let first = all.first else { return }
        throw Problem(
            .invalidRequest, all.count == 1 ? "\(first.member): \(first.detail)" : "\(all.count) members are wrong",
            errors: all)
    }

    /// What was wrong so far; `nil` for nothing.
    public var fault: String? {
        errors.isEmpty ? nil : errors.map { "\($0.member): \($0.detail)" }.joined(separator: "; ")
    }

    public mutating func report(_ member: String, _ detail: String) {
        errors.append(.init(member: member, detail: detail))
    }

    /// Whether a member is there and not `null`.
    public func has(_ member: String) -> Bool { members[member] ?? .null != .null }

    /// Takes a member out; an absent one and a `null` are `nil`.
    private mutating func take(_ member: String) -> JSONValue? {
        guard let value = members.removeValue(forKey: member), value != .null else { return nil }
        return value
    }

    mutating func string(_ member: String) -> String? {
        guard let value = take(member) else { return nil }
        guard let text = value.string else {
            report(member, "is \(value.typeName), not a string")
            return nil
        }
        return text
    }

    /// A string of at most so many characters, counted as JSON Schema does: Unicode scalars.
    public mutating func string(_ member: String, lengthMax: Int) -> String? {
        guard let text = string(member) else { return nil }
        guard text.utf8.count <= lengthMax || text.unicodeScalars.count <= lengthMax else {
            report(member, "is longer than \(lengthMax) characters")
            return nil
        }
        return text
    }

    /// An integer that is not negative.
    public mutating func count(_ member: String) -> Int64? {
        guard let value = take(member) else { return nil }
        guard let count = value.integer else {
            report(member, "is \(value.typeName), not an integer")
            return nil
        }
        guard count >= 0 else {
            report(member, "is negative")
            return nil
        }
        return count
    }

    public mutating func duration(_ member: String) -> DurationText? {
        guard let text = string(member) else { return nil }
        do throws(InvalidValue) {
            return try DurationText(parsing: text)
        } catch {
            report(member, error.reason)
            return nil
        }
    }

    mutating func bool(_ member: String) -> Bool? {
        guard let value = take(member) else { return nil }
        guard let flag = value.bool else {
            report(member, "is \(value.typeName), not a boolean")
            return nil
        }
        return flag
    }

    mutating func identifier(_ member: String) -> String? {
        guard let text = string(member) else { return nil }
        guard Identifier.isValid(text) else {
            report(member, "'\(text.prefix(80))' is not an id: \(Identifier.rule)")
            return nil
        }
        return text
    }

    mutating func requiredIdentifier(_ member: String) -> String? {
        require(member) { $0.identifier(member) }
    }

    mutating func agent() -> AgentAddress? {
        guard let text = string("agent") else { return nil }
        guard let address = AgentAddress(text) else {
            report("agent", "'\(text.prefix(140))' is not an address GATEWAY/AGENT: each id is \(Identifier.rule)")
            return nil
        }
        return address
    }

    mutating func requiredAgent() -> AgentAddress? {
        require("agent") { $0.agent() }
    }

    public mutating func choice<Value: RawRepresentable & CaseIterable>(_ member: String) -> Value?
    where Value.RawValue == String {
        string(member).flatMap { choice(member, $0) }
    }

    /// One value or a list of them; an empty list is refused, for it asks for nothing.
    mutating func choices<Value: RawRepresentable & CaseIterable & Hashable>(_ member: String) -> Set<Value>?
    where Value.RawValue == String {
        guard case .array(let items) = members[member] else { return choice(member).map { [$0] } }
        members.removeValue(forKey: member)
        var values: Set<Value> = []
        for item in items {
            guard let text = item.string else {
                report(member, "has \(item.typeName) in its list, not a string")
                return nil
            }
            guard let value: Value = choice(member, text) else { return nil }
            values.insert(value)
        }
        if values.isEmpty { report(member, "is an empty list") }
        return values
    }

    private mutating func choice<Value: RawRepresentable & CaseIterable>(_ member: String, _ text: String) -> Value?
    where Value.RawValue == String {
        guard let value = Value(rawValue: text) else {
            let choices = Value.allCases.map(\.rawValue).joined(separator: ", ")
            report(member, "'\(text.prefix(80))' is not one of \(choices)")
            return nil
        }
        return value
    }

    mutating func timestamp(_ member: String) -> Timestamp? {
        guard let text = string(member) else { return nil }
        guard let wallTime = Timestamp(text) else {
            report(member, "'\(text.prefix(80))' is not a time of RFC 3339, as 2026-01-31T09:05:07Z")
            return nil
        }
        return wallTime
    }

    mutating func pageLimit() -> Int {
        guard let value = take("limit") else { return Limits.pageLimitDefault }
        guard let count = value.integer else {
            report("limit", "is \(value.typeName), not an integer")
            return Limits.pageLimitDefault
        }
        guard count >= 1, count <= Limits.pageLimitMax else {
            report("limit", "\(count) is out of bounds: 1 to \(Limits.pageLimitMax)")
            return Limits.pageLimitDefault
        }
        return Int(count)
    }

    /// An opaque cursor of an earlier answer.
    mutating func cursor<Value>(_ member: String, _ parse: (String) -> Value?) -> Value? {
        guard let text = string(member) else { return nil }
        guard let value = parse(text) else {
            report(member, "is not the 'next' of an earlier answer")
            return nil
        }
        return value
    }

    mutating func policy() -> PolicyPatch {
        guard let value = take("policy") else { return PolicyPatch() }
        guard case .object(let settings) = value else {
            report("policy", "is \(value.typeName), not an object")
            return PolicyPatch()
        }
        var patch = PolicyPatch()
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) {
            guard let setting = PolicySetting(rawValue: name) else {
                report("policy.\(name)", "is not a setting of the policy")
                continue
            }
            if let text = policyText(setting, value) {
                patch.settings[setting] = .some(text)
            }
        }
        return patch
    }

    /// The checked text of one setting; `.some(nil)` removes it, `nil` was reported.
    private mutating func policyText(_ setting: PolicySetting, _ value: JSONValue) -> String?? {
        let text: String
        switch value {
        case .null: return .some(nil)
        case .string(let string) where setting != .maxWakeAttempts: text = string
        case .integer(let number) where setting == .maxWakeAttempts || number == 0: text = String(number)
        default:
            let wanted = setting == .maxWakeAttempts ? "an integer" : "a string"
            report("policy.\(setting.rawValue)", "is \(value.typeName), not \(wanted)")
            return nil
        }
        do {
            var overrides = PolicyOverrides()
            try overrides.set(setting, to: text)
            return .some(text)
        } catch {
            report("policy.\(setting.rawValue)", error.reason)
            return nil
        }
    }

    mutating func variables() -> [String: String?] {
        guard let value = take("variables") else { return [:] }
        guard case .object(let values) = value else {
            report("variables", "is \(value.typeName), not an object")
            return [:]
        }
        if values.count > Limits.variablesMax {
            report("variables", "has \(values.count) members, at most \(Limits.variablesMax) are taken")
        }
        var result: [String: String?] = [:]
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            let member = "variables.\(name.prefix(80))"
            if name.isEmpty || name.utf8.count > Limits.variableNameLengthMax
                || !name.utf8.allSatisfy({ Identifier.isValid("a" + String(UnicodeScalar($0))) })
            {
                report(member, "is not a name: 1 to \(Limits.variableNameLengthMax) of A-Z a-z 0-9 . _ -")
                continue
            }
            switch value {
            case .null: result[name] = .some(nil)
            case .string(let text) where text.utf8.count <= Limits.variableValueLengthMax: result[name] = text
            case .string: report(member, "is longer than \(Limits.variableValueLengthMax) bytes")
            default: report(member, "is \(value.typeName), not a string")
            }
        }
        return result
    }

    mutating func provisionRequest() -> ProvisionRequest? {
        let role: Role? = choice("role")
        let board = identifier("board")
        let policy = policy()
        let variables = variables()
        let wake = bool("wake") ?? true
        return requiredAgent().map {
            ProvisionRequest(agent: $0, role: role, board: board, policy: policy, variables: variables, wake: wake)
        }
    }

    /// Exactly one of `agent`, `gateway` and `board`.
    mutating func pauseTarget() -> PauseTarget? {
        let present = presentMembers(of: ["agent", "gateway", "board"])
        guard present.count == 1 else {
            report(present.first ?? "agent", "exactly one of agent, gateway and board is needed")
            for member in present { members.removeValue(forKey: member) }
            return nil
        }
        switch present[0] {
        case "agent": return agent().map(PauseTarget.agent)
        case "gateway": return identifier("gateway").map(PauseTarget.gateway)
        default: return identifier("board").map(PauseTarget.board)
        }
    }

    /// At most one of `agent` and `gateway`.
    mutating func historySubject() -> Lookup.HistorySubject? {
        let present = presentMembers(of: ["agent", "gateway"])
        guard present.count < 2 else {
            report("agent", "only one of agent and gateway is taken")
            for member in present { members.removeValue(forKey: member) }
            return nil
        }
        switch present.first {
        case "agent": return agent().map { .agent($0) }
        case nil: return .everybody
        default: return identifier("gateway").map { .gateway($0) }
        }
    }

    mutating func templatesSync() throws(Problem) -> TemplatesSync? {
        guard var sync = requiredIdentifier("gateway").map(TemplatesSync.init(gateway:)) else { return nil }
        sync.board = identifier("board")
        sync.includesMain = bool("include_main") ?? true
        sync.isLeadOnly = bool("lead_only") ?? false
        sync.resetsSessions = bool("reset_sessions") ?? false
        sync.overwrites = bool("overwrite") ?? false
        sync.wakes = bool("wake") ?? false
        sync.rotatesTokens = bool("rotate_tokens") ?? false
        return sync
    }

    mutating func rotation() -> Command? {
        let now = bool("now") ?? false
        let present = presentMembers(of: ["agent", "gateway"])
        guard present.count == 1 else {
            report(present.first ?? "agent", "exactly one of agent and gateway is needed")
            for member in present { members.removeValue(forKey: member) }
            return nil
        }
        if present[0] == "agent" { return agent().map { .rotateAgentToken($0, now: now) } }
        return identifier("gateway").map { .rotateGatewayToken($0, now: now) }
    }

    /// Which of these members are there; those that are `null` are taken out, as if they were absent.
    private mutating func presentMembers(of names: [String]) -> [String] {
        for name in names where members[name] == .null { members.removeValue(forKey: name) }
        return names.filter { members[$0] != nil }
    }

    private mutating func require<Value>(_ member: String, _ read: (inout MemberReader) -> Value?) -> Value? {
        guard let present = members[member], present != .null else {
            members.removeValue(forKey: member)
            report(member, "is missing")
            return nil
        }
        return read(&self)
    }
}
