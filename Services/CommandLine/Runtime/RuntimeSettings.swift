internal import API
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// Whom a runtime speaks for.
enum RuntimeIdentity: Hashable, Sendable {
    case agent(AgentAddress)
    case gateway(String)

    /// What it calls itself to the broker.
    var username: String {
        switch self {
        case .agent(let address): address.description
        case .gateway(let gateway): gateway
        }
    }

    var kind: String {
        switch self {
        case .agent: "agent"
        case .gateway: "gateway"
        }
    }

    /// Whether the commands of `agent` are run here.
    func covers(_ agent: AgentAddress) -> Bool {
        switch self {
        case .agent(let address): agent == address
        case .gateway(let gateway): agent.gateway == gateway
        }
    }
}

/// What the arguments and the environment of a runtime say.
struct RuntimeSettings {
    let identity: RuntimeIdentity
    let command: String
    /// Absolute.
    let directory: String
    /// Absolute.
    let tokenFile: String
    let program: ProgramOptions
    /// What every command gets, beside what its wake says.
    let environment: [String: String]

    static let options: [OptionSpecification] = [
        OptionSpecification("on-wake", value: "CMD", help: "what a wake starts, with /bin/sh -c, in DIR/GATEWAY/AGENT"),
        OptionSpecification("dir", value: "DIR", help: "where the folders of agents are (default .)"),
        OptionSpecification(
            "token-file", value: "FILE", environment: "ROLLCALL_TOKEN_FILE", help: "the token: the first line of FILE"),
        OptionSpecification(
            "broker", value: "URL", environment: "ROLLCALL_BROKER",
            help: "mqtt[s]://host[:port] or unix:PATH; a user in it is not used here"),
        SystemLocation.option,
        CommonOptions.topicRoot, CommonOptions.certificateAuthority, CommonOptions.certificate, CommonOptions.key,
        OptionSpecification(
            "connect-timeout", value: "DURATION", environment: "ROLLCALL_CONNECT_TIMEOUT",
            help: "how long the first connection may take (default 30s)"),
        CommonOptions.logFormat, CommonOptions.logLevel, CommonOptions.help, CommonOptions.version,
    ]

    /// - Parameter environment: what the process was given.
    init(_ arguments: ParsedArguments, identity: RuntimeIdentity, environment: [String: String]) throws(UsageError) {
        guard let command = arguments.value("on-wake"), !command.isEmpty else {
            throw UsageError("--on-wake is missing")
        }
        guard let tokenFile = arguments.value("token-file") else {
            throw UsageError("no token: give --token-file or ROLLCALL_TOKEN_FILE")
        }
        var program = try ProgramOptions(arguments)
        if arguments.value("connect-timeout") == nil { program.connectTimeout = .seconds(30) }
        // Only the host comes from the address: who connects is the argument.
        program.broker.username = identity.username
        program.broker.password = try ProgramOptions.secret(from: tokenFile)
        let directory = arguments.value("dir") ?? "."
        do {
            try AgentFolder.makeDirectory(directory)
        } catch {
            throw UsageError("--dir: \(error)")
        }
        self.identity = identity
        self.command = command
        self.directory = RuntimeSettings.absolute(directory)
        self.tokenFile = RuntimeSettings.absolute(tokenFile)
        self.program = program
        self.environment = RuntimeSettings.commandEnvironment(
            environment, broker: program.broker, topicRoot: program.topics.root,
            http: arguments.environmentValue("ROLLCALL_HTTP"),
            tokenFile: identity.kind == "agent" ? self.tokenFile : nil)
    }

    /// The runtime's own environment without the secrets of operators and gateways, with where the system is.
    static func commandEnvironment(
        _ environment: [String: String], broker: BrokerAddress, topicRoot: String, http: String?, tokenFile: String?
    ) -> [String: String] {
        var result = environment
        for name in [
            "ROLLCALL_USERNAME", "ROLLCALL_PASSWORD", "ROLLCALL_PASSWORD_FILE", "ROLLCALL_TOKEN_FILE",
            "ROLLCALL_HTTP_TOKEN",
        ] {
            result[name] = nil
        }
        result["ROLLCALL_BROKER"] = broker.description
        result["ROLLCALL_TOPIC_ROOT"] = topicRoot
        if case .tcp(let host, let port, _) = broker.endpoint {
            result["ROLLCALL_HOST"] = host
            result["ROLLCALL_MQTT_PORT"] = String(port)
        }
        result["ROLLCALL_HTTP"] = http
        result["ROLLCALL_TOKEN_FILE"] = tokenFile
        return result
    }

    /// What one start adds. The token of a gateway's agent is in its folder, once it has one.
    func environment(for wake: Wake, in folder: AgentFolder) -> [String: String] {
        var environment = environment
        if case .gateway = identity, folder.hasToken { environment["ROLLCALL_TOKEN_FILE"] = folder.tokenFile }
        return environment.merging([
            "ROLLCALL_AGENT": wake.agent.description,
            "ROLLCALL_GENERATION": String(wake.generation),
            "ROLLCALL_ATTEMPT": String(wake.attempt),
            "ROLLCALL_REASON": wake.reason,
            "ROLLCALL_WAKE": wake.text,
        ]) { _, ours in ours }
    }

    private static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
