internal import API
internal import AlertDelivery
internal import Alerts
internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// `rollcall up`: a whole system on this machine, for development, trials and tests.
public enum UpCommand {
    static let options =
        [
            OptionSpecification(
                "data", value: "DIR", help: "where everything is kept; the same DIR keeps its state (default .rollcall)"
            ),
            OptionSpecification(
                "mqtt-port", value: "PORT", help: "port of the broker on 127.0.0.1; 0: a free one (default 18830)"),
            OptionSpecification(
                "http-port", value: "PORT",
                help: "port of control-api on 127.0.0.1; 0: a free one (default 18080)"),
            OptionSpecification("demo", value: "N", help: "a gateway 'demo' with N simulated agents"),
            OptionSpecification("reconcilers", value: "N", help: "instances of the reconciler, 1 to 64 (default 1)"),
            OptionSpecification("ingests", value: "N", help: "instances of heartbeat-ingest, 1 to 64 (default 1)"),
            OptionSpecification("provisioners", value: "N", help: "instances of the provisioner, 1 to 64 (default 1)"),
            OptionSpecification(
                "rate-factor", value: "N",
                help: "multiplies what the broker takes of each client in a second; 0: no limit (default 1)"),
            OptionSpecification(
                "templates", value: "DIR", environment: "ROLLCALL_TEMPLATES",
                help: "templates of agents (default: those that came with this program)"),
            OptionSpecification("alerts", value: "FILE", help: "where agents that are offline are announced"),
            CommonOptions.topicRoot, CommonOptions.logFormat, CommonOptions.logLevel,
        ] + CommonOptions.policy + [CommonOptions.help]

    static let help = helpText(
        usage: "rollcall up [OPTION]...",
        description: """
            Starts a private mosquitto and every service, restarts what dies, and ends all of it with Ctrl-C.
            DIR/operator.env makes a shell the operator of this system: . DIR/operator.env
            It stays when the system stops, since the secrets in it stay the same.
            """, options: options)

    /// Runs a system until SIGINT, SIGTERM or SIGHUP. Call it from the main thread: the children die with their thread.
    ///
    /// - Parameter arguments: what follows `up`.
    /// - Returns: 0 after a signal, 1 when the system cannot start or a child had to be killed, 2 for bad usage.
    public static func run(_ arguments: [String]) -> Int32 {
        let settings: Settings
        do throws(UsageError) {
            let parsed = try ParsedArguments(arguments, options: options)
            if parsed.has("help") {
                print(help, terminator: "")
                return ExitStatus.done
            }
            settings = try Settings(parsed)
        } catch {
            ServiceProgram.complain("rollcall up: \(error.reason)\nTry 'rollcall up --help'.")
            return ExitStatus.usage
        }
        do throws(ServiceFailure) {
            let programs = try InstalledPrograms.locate(templates: settings.templates)
            return try UpRun(settings.configuration(programs), demo: settings.demo).run()
        } catch {
            ServiceProgram.complain("rollcall up: \(error.reason)")
            return error.status
        }
    }

    /// What the arguments say.
    struct Settings {
        var data = ".rollcall"
        var mqttPort = 18_830
        var httpPort = 18_080
        var demo: Int?
        var templates: String?
        var topics: Topics
        var policy: PolicyOverrides
        var logFormat: Log.Format
        var logLevel: LogLevel
        var instances: [ServiceName: Int] = [:]
        var rateFactor: Int?
        var alerts: String?

        init(_ arguments: ParsedArguments) throws(UsageError) {
            if let unexpected = arguments.positional.first { throw UsageError("unexpected argument '\(unexpected)'") }
            if let directory = arguments.value("data") {
                guard !directory.isEmpty else { throw UsageError("--data: is empty") }
                data = directory
            }
            if let port = try arguments.integer("mqtt-port", in: 0...65_535) { mqttPort = port }
            if let port = try arguments.integer("http-port", in: 0...65_535) { httpPort = port }
            demo = try arguments.integer("demo", in: 0...DemoFleet.sizeMax)
            for (name, service) in [
                ("reconcilers", ServiceName.reconciler), ("ingests", .heartbeatIngest), ("provisioners", .provisioner),
            ] {
                instances[service] = try arguments.integer(name, in: 1...64)
            }
            rateFactor = try arguments.integer("rate-factor", in: 0...1_000)
            templates = arguments.value("templates")
            alerts = arguments.value("alerts")
            if let alerts { _ = try AlertSettings.read(alerts) }
            let root = arguments.value("topic-root") ?? Topics.defaultRoot
            guard Topics.isValidRoot(root) else {
                throw UsageError("--topic-root: '\(root)' is not one or two plain topic levels")
            }
            topics = Topics(root: root)
            policy = try CommonOptions.policyOverrides(arguments)
            (logFormat, logLevel) = try ProgramOptions.log(arguments)
        }

        func configuration(_ programs: InstalledPrograms) -> SupervisorConfiguration {
            var configuration = SupervisorConfiguration(data: data, programs: programs)
            configuration.mqttPort = mqttPort
            configuration.httpPort = httpPort
            configuration.topics = topics
            configuration.instances = instances
            configuration.rateFactor = rateFactor
            configuration.alerts = alerts
            configuration.policy = policy
            configuration.logFormat = logFormat
            configuration.logLevel = logLevel
            return configuration
        }
    }
}

/// One run of `rollcall up`: supervisor, demo, signals.
private final class UpRun {
    private let loop = EventLoop()
    private let log: Log
    private let supervisor: Supervisor
    private let demo: DemoGateway?
    private let demoCount: Int
    private var status = ExitStatus.done
    private var stopSignals = StopSignals()

    init(_ configuration: SupervisorConfiguration, demo count: Int?) {
        log = Log(service: "up", instance: "1", format: configuration.logFormat, level: configuration.logLevel)
        supervisor = Supervisor(configuration, loop: loop, log: log)
        demoCount = count ?? 0
        demo = demoCount > 0 ? DemoGateway(count: demoCount, supervisor: supervisor) : nil
    }

    func run() throws(ServiceFailure) -> Int32 {
        umask(0o077)  // the database and the broker's files are for their owner too
        signal(SIGPIPE, SIG_IGN)  // nobody reads the log any more: the system goes on
        let signals = SignalDescriptor([SIGTERM, SIGINT, SIGHUP])
        loop.watch(signals.descriptor) { [unowned self] in
            for number in signals.drain() { signalled(number) }
        }
        supervisor.becameReady = { [unowned self] in ready() }
        supervisor.failed = { [unowned self] reason in
            ServiceProgram.complain("rollcall up: \(reason)")
            status = ExitStatus.failed
        }
        supervisor.stopped = { [unowned self] in loop.stop() }
        try supervisor.start()
        loop.turnEnded = { [unowned self] in log.flush() }
        loop.run()
        log.finish()
        return supervisor.killed.isEmpty ? status : ExitStatus.failed
    }

    private func signalled(_ number: Int32) {
        log.event("up.signalled", .info, ["signal": LogValue(Int(number))])
        switch stopSignals.received(number, now: Clock.now()) {
        case .end:
            demo?.stop()
            supervisor.stop()
        case .kill: supervisor.kill(because: "the operator asked for it with a third SIGINT")
        case .nothing: break
        }
    }

    private func ready() {
        let data = supervisor.data.path
        switch log.format {
        case .json:
            // Programs wait for it: it is written at every --log-level.
            Log(service: log.service, instance: log.instance, format: log.format, level: .info).event(
                "rollcall.up", .info,
                [
                    "mqtt_port": LogValue(supervisor.mqttPort), "http_port": LogValue(supervisor.httpPort),
                    "data": LogValue(data), "demo": LogValue(demoCount),
                ])
        case .text:
            var lines = [
                "rollcall is up", "  broker    mqtt://\(LocalPort.host):\(supervisor.mqttPort)",
                "  http      http://\(LocalPort.host):\(supervisor.httpPort)",
                "  operator  . \(OperatorEnvironment.quoted(supervisor.data.operatorEnvironment))",
            ]
            if demo != nil {
                lines += [
                    "  demo      gateway '\(DemoFleet.gateway)' with \(demoCount) agents; in another terminal try",
                    "              infra/rollcall watch", "              infra/rollcall agents",
                    "              infra/rollcall status",
                ]
            }
            log.say(lines.joined(separator: "\n") + "\n")
        }
        demo?.start()
    }
}
