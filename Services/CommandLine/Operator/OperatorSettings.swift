internal import API
internal import Bus
internal import Model
internal import Secrets
internal import ServiceHost

/// Whom an operator's subcommand asks, as whom and for how long.
struct OperatorSettings {
    static let connectTimeoutDefault = TimeSpan.seconds(5)
    static let timeoutDefault = TimeSpan.seconds(30)
    /// Of what changes nothing: the store answers it from what it has.
    static let lookupTimeoutDefault = TimeSpan.seconds(5)
    static let usernamePrefix = "op:"

    let broker: BrokerAddress
    /// `op:NAME`.
    let username: String
    let topics: Topics
    let connectTimeout: TimeSpan
    let tls: TLSFiles
    /// As given; see `timeout(of:)`.
    var timeout: TimeSpan?
    /// The same for each repeat of the request.
    let idempotencyKey: String

    /// Options that say where the system is.
    static let connectionOptions: [OptionSpecification] = [
        CommonOptions.broker, SystemLocation.option, CommonOptions.topicRoot, CommonOptions.certificateAuthority,
        CommonOptions.certificate, CommonOptions.key,
        OptionSpecification(
            "connect-timeout", value: "DURATION", environment: "ROLLCALL_CONNECT_TIMEOUT",
            help: "how long to wait for the broker (default 5s)"),
    ]
    /// Options of what asks for something.
    static let requestOptions: [OptionSpecification] = [
        OptionSpecification(
            "timeout", value: "DURATION", help: "how long to wait for the answer (default 30s; 5s of what only looks)"),
        OptionSpecification(
            "idempotency-key", value: "KEY", help: "same key and same request: done once, same answer (default: random)"
        ),
    ]
    static let json = OptionSpecification("json", help: "print the answer as it came, one JSON document")
    /// Taken as by every program, of no effect here.
    static let hiddenOptions = [CommonOptions.logFormat, CommonOptions.logLevel, CommonOptions.version]

    init(_ arguments: ParsedArguments) throws(UsageError) {
        guard arguments.value("broker") != nil else {
            throw UsageError(
                "no broker: start a system here with 'rollcall up', or give --broker, ROLLCALL_BROKER or --data")
        }
        var program = try ProgramOptions(arguments)
        if program.broker.username == nil {
            program.broker.username = arguments.environmentValue("ROLLCALL_USERNAME")
            program.broker.password = program.broker.password ?? arguments.environmentValue("ROLLCALL_PASSWORD")
        }
        guard let username = program.broker.username, username.hasPrefix(OperatorSettings.usernamePrefix),
            username.utf8.count > OperatorSettings.usernamePrefix.utf8.count
        else {
            throw UsageError("the broker's URL must name an operator: mqtt://op%3ANAME:PASSWORD@HOST")
        }
        self.username = username
        broker = program.broker
        topics = program.topics
        tls = program.tls
        connectTimeout = try arguments.duration("connect-timeout") ?? OperatorSettings.connectTimeoutDefault
        timeout = try arguments.duration("timeout")
        let key = arguments.value("idempotency-key")
        if let key, key.isEmpty || key.utf8.count > Limits.idempotencyKeyLengthMax {
            throw UsageError("--idempotency-key: 1 to \(Limits.idempotencyKeyLengthMax) bytes")
        }
        idempotencyKey = key ?? OperatorSettings.random() + OperatorSettings.random()
    }

    func timeout(of verb: Verb) -> TimeSpan {
        timeout ?? (verb.isLookup ? OperatorSettings.lookupTimeoutDefault : OperatorSettings.timeoutDefault)
    }

    /// 64 random bits in base 36.
    static func random() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
    }
}
