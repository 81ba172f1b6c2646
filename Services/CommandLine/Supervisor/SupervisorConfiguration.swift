public import API
public import Model
public import ServiceHost

/// A private system: where it lives and how it is set.
public struct SupervisorConfiguration: Sendable {
    /// Everything of the system is below it; relative to the present directory.
    public var data: String
    /// Where the broker listens on 127.0.0.1; 0: a free port.
    public var mqttPort = 18_830
    /// Where control-api listens on 127.0.0.1; 0: a free port.
    public var httpPort = 18_080
    public var topics = Topics()
    /// What differs from the product's policy, for every agent.
    public var policy = PolicyOverrides()
    public var programs: InstalledPrograms
    public var logFormat = Log.Format.text
    public var logLevel = LogLevel.info
    /// How many instances of a service run; absent: one.
    public var instances: [ServiceName: Int] = [:]
    /// Multiplies what each client may publish in a second; 0 is no limit, `nil` the plugin's default.
    public var rateFactor: Int?
    /// The configuration file of alerts.
    public var alerts: String?
    /// How often services publish their counters; `nil`: their default.
    public var counterInterval: String?
    /// A descriptor that takes the children's standard output and error; `nil`: they have those of this process.
    public var childOutput: Int32?

    public init(data: String, programs: InstalledPrograms) {
        self.data = data
        self.programs = programs
    }

    /// The arguments of a service. No secret is among them: any user reads command lines.
    func arguments(
        _ service: ServiceName, instance: String, broker: String, data: DataDirectory, httpPort: Int
    ) -> [String] {
        var arguments = [
            "--broker", broker, "--instance", instance, "--topic-root", topics.root, "--log-format", logFormat.rawValue,
            "--log-level", logLevel.name,
        ]
        if let counterInterval { arguments += ["--counter-interval", counterInterval] }
        switch service {
        case .statusStore: arguments += ["--database", "sqlite:" + data.database]
        case .provisioner: arguments += ["--templates", programs.templates]
        case .reconciler:
            for setting in PolicySetting.allCases {
                guard let text = policy.text(of: setting) else { continue }
                arguments += ["--" + CommonOptions.flag(of: setting), text]
            }
        case .controlAPI:
            arguments += ["--http-port", String(httpPort), "--tokens", data.httpTokens]
            if let alerts { arguments += ["--alerts", alerts] }
        case .heartbeatIngest: break
        }
        return arguments
    }

    /// All services of the system with their instances, in the order in which they start.
    var services: [(service: ServiceName, instance: String)] {
        InstalledPrograms.serviceNames.compactMap { ServiceName(rawValue: $0) }.flatMap { service in
            (1...max(1, instances[service] ?? 1)).map { (service, String($0)) }
        }
    }
}
