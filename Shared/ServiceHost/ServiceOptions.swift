public import API
public import Bus
internal import Glibc
public import Model
public import Secrets

/// How a program ends.
public enum ExitStatus {
    public static let done: Int32 = 0
    /// Failed or refused.
    public static let failed: Int32 = 1
    /// Bad usage or configuration.
    public static let usage: Int32 = 2
    /// Broker or database not reachable at start (`EX_UNAVAILABLE` of sysexits.h).
    public static let unreachable: Int32 = 69
}

/// The options that every program of Rollcall takes.
public enum CommonOptions {
    public static let help = OptionSpecification("help", help: "print this help and exit; also -h")
    public static let version = OptionSpecification("version", help: "print the version and exit")
    public static let broker = OptionSpecification(
        "broker", value: "URL", environment: "ROLLCALL_BROKER",
        help: "mqtt[s]://[user[:password]@]host[:port] or unix:PATH; user and password percent-encoded")
    public static let topicRoot = OptionSpecification(
        "topic-root", value: "ROOT", environment: "ROLLCALL_TOPIC_ROOT",
        help: "first levels of every topic (default rollcall/v1)")
    public static let logFormat = OptionSpecification(
        "log-format", value: "text|json", environment: "ROLLCALL_LOG_FORMAT",
        help: "form of the log on standard output (default text)")
    public static let logLevel = OptionSpecification(
        "log-level", value: "LEVEL", environment: "ROLLCALL_LOG_LEVEL",
        help: "debug, info, warning or error (default info)")
    public static let connectTimeout = OptionSpecification(
        "connect-timeout", value: "DURATION", environment: "ROLLCALL_CONNECT_TIMEOUT",
        help: "how long the start may wait for broker and database (default 10s)")
    public static let certificateAuthority = OptionSpecification(
        "ca-file", value: "FILE", environment: "ROLLCALL_CA_FILE",
        help: "certificates that mqtts trusts (default: the system's)")
    public static let certificate = OptionSpecification(
        "cert-file", value: "FILE", environment: "ROLLCALL_CERT_FILE",
        help: "a certificate to show to a broker by mqtts that asks for one")
    public static let key = OptionSpecification(
        "key-file", value: "FILE", environment: "ROLLCALL_KEY_FILE", help: "its key")
    public static let instance = OptionSpecification(
        "instance", value: "NAME", environment: "ROLLCALL_INSTANCE",
        help: "name of this instance among its service's (default 1)")

    public static let counterInterval = OptionSpecification(
        "counter-interval", value: "DURATION", environment: "ROLLCALL_COUNTER_INTERVAL",
        help: "how often internal counters are published, for benchmarks (default 1s)")

    public static let metricsPort = OptionSpecification(
        "metrics-port", value: "PORT",
        help: "serve /healthz, /readyz and /metrics over HTTP on this port; 0 picks a free one (default: not served)")
    public static let metricsHost = OptionSpecification(
        "metrics-host", value: "ADDRESS", help: "the address that they are served on (default 127.0.0.1)")

    public static let program = [
        broker, topicRoot, logFormat, logLevel, connectTimeout, certificateAuthority, certificate, key, help, version,
    ]
    public static let service = [instance, counterInterval, metricsPort, metricsHost] + program

    /// The settings of the policy as flags: `--checkin-deadline 30s`, `ROLLCALL_CHECKIN_DEADLINE=30s`.
    public static let policy: [OptionSpecification] = PolicySetting.allCases.map { setting in
        OptionSpecification(
            flag(of: setting), value: placeholder(of: setting),
            environment: "ROLLCALL_\(setting.rawValue.uppercased())",
            help: "default \(PolicyOverrides(all: Policy()).text(of: setting) ?? "")")
    }

    public static func flag(of setting: PolicySetting) -> String {
        String(setting.rawValue.map { $0 == "_" ? "-" : $0 })
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

    /// The policy settings that were given, by flag or environment.
    public static func policyOverrides(_ arguments: ParsedArguments) throws(UsageError) -> PolicyOverrides {
        var overrides = PolicyOverrides()
        for setting in PolicySetting.allCases {
            guard let text = arguments.value(flag(of: setting)) else { continue }
            do {
                try overrides.set(setting, to: text)
            } catch {
                throw UsageError("--\(flag(of: setting)): \(error.reason)")
            }
        }
        return overrides
    }
}

/// What the common options say.
public struct ProgramOptions: Sendable {
    public var broker: BrokerAddress
    public var topics: Topics
    public var logFormat: Log.Format
    public var logLevel: LogLevel
    public var connectTimeout: TimeSpan
    public var tls: TLSFiles
    public var counterInterval: TimeSpan
    /// Where a service serves its metrics; `nil`: nowhere.
    public var metrics: (address: String, port: Int)?

    /// - Parameter defaultBroker: what is used when neither option nor environment names one.
    public init(_ arguments: ParsedArguments, defaultBroker: String? = nil) throws(UsageError) {
        guard let text = arguments.value("broker") ?? defaultBroker else {
            throw UsageError("no broker: give --broker or ROLLCALL_BROKER")
        }
        do {
            broker = try BrokerAddress(parsing: text)
        } catch {
            throw UsageError("--broker: \(error.reason)")
        }
        if let file = arguments.environmentValue("ROLLCALL_PASSWORD_FILE"), broker.password == nil {
            broker.password = try ProgramOptions.secret(from: file)
        }
        let root = arguments.value("topic-root") ?? Topics.defaultRoot
        guard Topics.isValidRoot(root) else {
            throw UsageError("--topic-root: '\(root)' is not one or two plain topic levels")
        }
        topics = Topics(root: root)
        (logFormat, logLevel) = try ProgramOptions.log(arguments)
        connectTimeout = try arguments.duration("connect-timeout") ?? .seconds(10)
        tls = try ProgramOptions.tls(arguments, broker: broker)
        counterInterval = try arguments.duration("counter-interval") ?? .seconds(1)
        metrics = try arguments.integer("metrics-port", in: 0...65_535).map {
            (arguments.value("metrics-host") ?? "127.0.0.1", $0)
        }
    }

    /// What is wrong with the files is said before anybody is connected.
    private static func tls(_ arguments: ParsedArguments, broker: BrokerAddress) throws(UsageError) -> TLSFiles {
        let files = TLSFiles(
            authority: arguments.value("ca-file"), certificate: arguments.value("cert-file"),
            key: arguments.value("key-file"))
        guard (files.certificate == nil) == (files.key == nil) else {
            throw UsageError("--cert-file and --key-file belong together")
        }
        guard case .tcp(let host, _, true) = broker.endpoint else { return files }
        do {
            _ = try TLSClient(files, host: host)
        } catch {
            throw UsageError(error.reason)
        }
        return files
    }

    public static func log(_ arguments: ParsedArguments) throws(UsageError) -> (Log.Format, LogLevel) {
        let format = arguments.value("log-format") ?? "text"
        guard let logFormat = Log.Format(rawValue: format) else {
            throw UsageError("--log-format: '\(format)' is not text or json")
        }
        let level = arguments.value("log-level") ?? "info"
        guard let logLevel = LogLevel(name: level) else {
            throw UsageError("--log-level: '\(level)' is not debug, info, warning or error")
        }
        return (logFormat, logLevel)
    }

    /// No secret is longer than this.
    static let secretBytesMax = 4_096

    /// The secret that a file holds: its first line, without a byte order mark before it and white space behind it.
    public static func secret(from path: String) throws(UsageError) -> String {
        guard let file = fopen(path, "re") else { throw UsageError("\(path): \(String(cString: strerror(errno)))") }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: secretBytesMax)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else { throw UsageError("\(path): \(String(cString: strerror(errno)))") }
        return try secret(in: bytes.prefix(count), of: path)
    }

    static func secret(in bytes: ArraySlice<UInt8>, of path: String) throws(UsageError) -> String {
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        let text = bytes.starts(with: mark) ? bytes.dropFirst(mark.count) : bytes
        var line = text.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        while let last = line.last, last == UInt8(ascii: " ") || last == UInt8(ascii: "\t") { line.removeLast() }
        guard !line.isEmpty else { throw UsageError("\(path): is empty") }
        guard let secret = String(validating: line, as: UTF8.self), !line.contains(0) else {
            throw UsageError("\(path): is not text in UTF-8; write the secret as one line of plain text")
        }
        return secret
    }
}

extension CommonOptions {
    /// The name of this instance: an id, `1` unless given.
    public static func instanceName(_ arguments: ParsedArguments) throws(UsageError) -> String {
        let name = arguments.value("instance") ?? "1"
        guard Identifier.isValid(name) else {
            throw UsageError("--instance: '\(name)' is not a name: \(Identifier.rule)")
        }
        return name
    }
}
