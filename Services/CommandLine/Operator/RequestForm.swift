internal import API
internal import Model
internal import ServiceHost

/// One member of a request and the options that give it.
///
/// Values are sent as they were written: the service checks them, so that its refusal names the member.
struct Member: Sendable {
    enum Kind: Sendable {
        case text(placeholder: String)
        /// One text, or several with commas between.
        case list(placeholder: String)
        case integer
        /// `--name` is true, `--no-name` false; both are taken, the help shows what has a text.
        case flag(yes: String?, no: String?)
    }

    let name: String
    let kind: Kind
    var help = ""

    static func text(_ name: String, _ placeholder: String, _ help: String) -> Member {
        Member(name: name, kind: .text(placeholder: placeholder), help: help)
    }
    static func list(_ name: String, _ placeholder: String, _ help: String) -> Member {
        Member(name: name, kind: .list(placeholder: placeholder), help: help)
    }
    static func flag(_ name: String, yes: String? = nil, no: String? = nil) -> Member {
        Member(name: name, kind: .flag(yes: yes, no: no))
    }
    static func integer(_ name: String, _ help: String) -> Member {
        Member(name: name, kind: .integer, help: help)
    }

    var option: String { RequestForm.kebab(name) }
}

/// How the arguments of a subcommand become the JSON of a request.
struct RequestForm: Sendable {
    /// What the positional argument is.
    enum Positional: Sendable {
        case none
        case required(String, placeholder: String)
        /// One of several members says what it is about.
        case optional(String, placeholder: String)
        /// Without it the request is about all.
        case filter(String, placeholder: String)
        /// With a slash an agent, else a gateway.
        case agentOrGateway
    }

    let verb: Verb
    var positional = Positional.none
    var members: [Member] = []
    var hasPolicy = false
    var hasVariables = false
    /// `null` removes a setting or a variable.
    var canUnset = false

    static func kebab(_ name: String) -> String { String(name.map { $0 == "_" ? "-" : $0 }) }

    var placeholder: String {
        switch positional {
        case .none: ""
        case .required(_, let placeholder): placeholder
        case .optional(_, let placeholder), .filter(_, let placeholder): "[\(placeholder)]"
        case .agentOrGateway: "ADDRESS|GW"
        }
    }

    // MARK: Options

    /// What the help shows.
    var options: [OptionSpecification] {
        var options = members.flatMap { member -> [OptionSpecification] in
            switch member.kind {
            case .text(let placeholder), .list(let placeholder):
                [OptionSpecification(member.option, value: placeholder, help: member.help)]
            case .integer: [OptionSpecification(member.option, value: "N", help: member.help)]
            case .flag(let yes, let no):
                [
                    yes.map { OptionSpecification(member.option, help: $0) },
                    no.map { OptionSpecification("no-\(member.option)", help: $0) },
                ].compactMap { $0 }
            }
        }
        if hasVariables {
            options.append(
                .init("var", value: "K=V", isRepeatable: true, help: "a variable of the templates; repeatable"))
            if canUnset {
                options.append(
                    .init("unset-var", value: "K", isRepeatable: true, help: "remove a variable; repeatable"))
            }
        }
        guard hasPolicy else { return options }
        options += PolicySetting.allCases.map { setting in
            OptionSpecification(
                RequestForm.kebab(setting.rawValue), value: RequestForm.placeholder(of: setting),
                help: RequestForm.help(of: setting))
        }
        if canUnset {
            let help = "give a setting of the policy up, as checkin-deadline; repeatable"
            options.append(.init("unset-policy", value: "NAME", isRepeatable: true, help: help))
        }
        return options
    }

    /// The other form of each flag, which the help does not show.
    var hiddenOptions: [OptionSpecification] {
        members.flatMap { member -> [OptionSpecification] in
            guard case .flag(let yes, let no) = member.kind else { return [] }
            return [
                yes == nil ? OptionSpecification(member.option, help: "") : nil,
                no == nil ? OptionSpecification("no-\(member.option)", help: "") : nil,
            ].compactMap { $0 }
        }
    }

    private static func placeholder(of setting: PolicySetting) -> String {
        switch setting {
        case .maxWakeAttempts: "N"
        case .onLapse: "wake|offline"
        case .wakeRate, .heartbeatRate: "N/s"
        case .checkinDeadline, .heartbeatInterval, .offlineAfter, .lostGrace, .startupExtensionMax, .recoverBackoff,
            .recoverBackoffMax:
            "DURATION"
        }
    }

    private static func help(of setting: PolicySetting) -> String {
        switch setting {
        case .checkinDeadline: "policy: time an agent has after each wake"
        case .maxWakeAttempts: "policy: wakes in one cycle"
        case .heartbeatInterval: "policy: how often a healthy agent publishes"
        case .offlineAfter: "policy: silence after which an online agent has lapsed"
        case .onLapse: "policy: start a new cycle, or mark it offline at once"
        case .lostGrace: "policy: time to come back after the Last Will"
        case .startupExtensionMax: "policy: what 'starting' may add to one cycle's deadlines"
        case .recoverBackoff: "policy: wait before the second recovery in a row; twice as long each, 0s is none"
        case .recoverBackoffMax: "policy: the longest such wait"
        case .wakeRate: "policy: wakes published for one gateway"
        case .heartbeatRate: "policy: heartbeats accepted of one agent; 0 is no limit"
        }
    }

    // MARK: The request

    /// The members of the request; the positional argument must be there if it is required.
    func request(_ arguments: ParsedArguments) throws(UsageError) -> [String: JSONValue] {
        var request: [String: JSONValue] = [:]
        for member in members { request[member.name] = try value(of: member, arguments) }
        if hasPolicy {
            let policy = policy(arguments)
            if !policy.isEmpty { request["policy"] = .object(policy) }
        }
        if hasVariables {
            let variables = try variables(arguments)
            if !variables.isEmpty { request["variables"] = .object(variables) }
        }
        try addPositional(arguments.positional, to: &request)
        return request
    }

    private func addPositional(_ given: [String], to request: inout [String: JSONValue]) throws(UsageError) {
        let limit: Int
        switch positional {
        case .none: limit = 0
        case .required(let member, let placeholder):
            guard let text = given.first else { throw UsageError("\(placeholder) is missing") }
            request[member] = .string(text)
            limit = 1
        case .optional(let member, let placeholder):
            guard !given.isEmpty || request["gateway"] != nil || request["board"] != nil else {
                throw UsageError("\(placeholder), --gateway or --board is missing")
            }
            if let text = given.first { request[member] = .string(text) }
            limit = 1
        case .filter(let member, _):
            if let text = given.first { request[member] = .string(text) }
            limit = 1
        case .agentOrGateway:
            guard !given.isEmpty || request["gateway"] != nil else { throw UsageError("ADDRESS or GW is missing") }
            if let text = given.first { request[text.contains("/") ? "agent" : "gateway"] = .string(text) }
            limit = 1
        }
        if given.count > limit { throw UsageError("unexpected argument '\(given[limit])'") }
    }

    private func value(of member: Member, _ arguments: ParsedArguments) throws(UsageError) -> JSONValue? {
        switch member.kind {
        case .text: return arguments.value(member.option).map(JSONValue.string)
        case .list: return arguments.value(member.option).map(RequestForm.list)
        case .integer: return arguments.value(member.option).map(RequestForm.integer)
        case .flag:
            let (yes, no) = (arguments.has(member.option), arguments.has("no-\(member.option)"))
            if yes, no { throw UsageError("--\(member.option) and --no-\(member.option) contradict each other") }
            return yes || no ? .bool(yes) : nil
        }
    }

    /// A number when it is one; else as written, for the service to refuse.
    private static func integer(_ text: String) -> JSONValue { Int64(text).map(JSONValue.integer) ?? .string(text) }

    private static func list(_ text: String) -> JSONValue {
        let items = text.split(separator: ",", omittingEmptySubsequences: false).map { JSONValue.string(String($0)) }
        return items.count == 1 ? items[0] : .array(items)
    }

    private func policy(_ arguments: ParsedArguments) -> [String: JSONValue] {
        var policy: [String: JSONValue] = [:]
        for name in arguments.values("unset-policy") {
            policy[String(name.map { $0 == "-" ? "_" : $0 })] = .null
        }
        for setting in PolicySetting.allCases {
            guard let text = arguments.values(RequestForm.kebab(setting.rawValue)).last else { continue }
            policy[setting.rawValue] = setting == .maxWakeAttempts ? RequestForm.integer(text) : .string(text)
        }
        return policy
    }

    private func variables(_ arguments: ParsedArguments) throws(UsageError) -> [String: JSONValue] {
        var variables: [String: JSONValue] = [:]
        for name in arguments.values("unset-var") { variables[name] = .null }
        for text in arguments.values("var") {
            guard let equals = text.firstIndex(of: "=") else { throw UsageError("--var: '\(text)' is not K=V") }
            variables[String(text[..<equals])] = .string(String(text[text.index(after: equals)...]))
        }
        return variables
    }
}
