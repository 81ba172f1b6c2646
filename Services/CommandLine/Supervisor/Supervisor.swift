internal import API
public import Bus
internal import Glibc
internal import Model
internal import Secrets
public import ServiceHost

/// Runs a private system, a broker and every service, as child processes, each restarted when it dies.
///
/// It lives on an event loop; the thread that runs the loop must not end before the system does, since the children die
/// with it. From code:
///
///     let loop = EventLoop()
///     let supervisor = Supervisor(configuration, loop: loop, log: log)
///     try supervisor.start()
///     guard loop.run(until: { supervisor.isReady || supervisor.hasStopped }, for: .seconds(30)) else { … }
///     …
///     supervisor.stop()
///     _ = loop.run(until: { supervisor.hasStopped }, for: .seconds(15))
public final class Supervisor {
    /// How long a service may take to stop from the time it is asked, longer than what it gives itself; and then the broker.
    static let serviceStopLimit = TimeSpan.seconds(5)
    static let brokerStopLimit = TimeSpan.seconds(2)
    /// How long one that stands still may hold up those that would hand it what they have.
    static let standingLimit = TimeSpan.seconds(2)
    /// How often a broker may fail to start before the system gives up.
    static let brokerStartsMax = 5
    static let stopOrder: [[ServiceName]] = [
        [.controlAPI], [.provisioner, .heartbeatIngest], [.reconciler], [.statusStore],
    ]
    /// Identities beside the services' own.
    public static let operatorName = "op:admin"
    public static let benchName = "svc:bench/1"
    /// The file below `secrets` that keeps this operator's token over HTTP.
    static let httpTokenName = "http:admin"

    /// Called once all services are ready and a command was answered.
    public var becameReady: () -> Void = {}
    /// Called when the system cannot start; it stops by itself.
    public var failed: (String) -> Void = { _ in }
    /// Called once nothing of the system runs any more.
    public var stopped: () -> Void = {}
    public private(set) var isReady = false
    public private(set) var hasStopped = false
    /// The operator's connection, from the time the broker listens.
    public private(set) var operatorLink: OperatorLink?
    /// Where the broker listens; known after `start`.
    public private(set) var mqttPort = 0
    /// Where control-api listens; known after `start`.
    public private(set) var httpPort = 0

    let configuration: SupervisorConfiguration
    let data: DataDirectory
    let loop: EventLoop
    let log: Log
    private var lock: DirectoryLock?
    private var secrets: [String: String] = [:]
    private var httpToken = ""
    private var broker: SupervisedChild?
    private var services: [SupervisedChild] = []
    private var readiness: Readiness
    private var isStopping = false
    private var hasListened = false
    private var brokerStarts = 0
    private var lastBrokerLine = ""
    private var terminated: Set<String> = []
    private var startedAt = Clock.now()

    public init(_ configuration: SupervisorConfiguration, loop: EventLoop, log: Log) {
        self.configuration = configuration
        self.loop = loop
        self.log = log
        data = DataDirectory(configuration.data)
        readiness = Readiness(expected: configuration.services.map { "\($0.service.rawValue)/\($0.instance)" })
    }

    /// Checks that the system can be started here and starts its broker; the services follow on the loop.
    ///
    /// - Throws: when another system uses the directory, a port is taken, or a file cannot be written. Nothing was
    ///   changed then by the first two.
    public func start() throws(ServiceFailure) {
        for (character, problem) in [
            ("\n", "has a line break in its name"), ("\u{FFFD}", "has a name that is not UTF-8"),
        ]
        where data.path.contains(character) {
            throw ServiceFailure("--data: '\(data.path)' \(problem)")
        }
        lock = try DirectoryLock.take(data, creating: false)
        mqttPort = try Supervisor.choose(configuration.mqttPort, for: "--mqtt-port")
        httpPort = try Supervisor.choose(configuration.httpPort, for: "--http-port")
        try data.create()
        if lock == nil { lock = try DirectoryLock.take(data, creating: true) }
        try prepareFiles()
        Supervisor.raiseDescriptorLimit()
        startedAt = Clock.now()
        startBroker()
        sayWhatIsMissing()
    }

    /// Where an identity of this system connects, with its secret: an operator by TCP, a service by the fastest way.
    public func address(of username: String) -> BrokerAddress {
        BrokerAddress(
            endpoint: username.hasPrefix("svc:")
                ? serviceEndpoint : .tcp(host: LocalPort.host, port: mqttPort, isEncrypted: false),
            username: username, password: secrets[username])
    }

    /// The running processes by name: `broker`, `provisioner`, …; a second instance is `provisioner/2`.
    public var processIDs: [String: Int32] {
        Dictionary(children.compactMap { child in child.processID.map { (child.name, $0) } }) { first, _ in first
        }
    }

    /// Ends the services in the order in which work flows, then the broker; `stopped` is called at the end.
    public func stop() {
        guard !isStopping else { return }
        isStopping = true
        log.event("up.stopping")
        operatorLink?.close()
        operatorLink = nil
        for service in services { service.retire() }
        loop.after(Supervisor.standingLimit) { [unowned self] in
            for child in children where child.isStandingStill { child.kill(because: "it stands still") }
        }
        stopFurther()
    }

    /// Ends everything at once.
    public func kill(because reason: String) {
        for child in children { child.kill(because: reason) }
    }

    /// Those that had to be killed.
    public var killed: [String] { children.filter(\.wasKilled).map(\.name) }

    private var children: [SupervisedChild] { services + (broker.map { [$0] } ?? []) }

    // MARK: Preparing

    private static func choose(_ port: Int, for option: String) throws(ServiceFailure) -> Int {
        if port == 0 {
            guard let free = LocalPort.free() else { throw ServiceFailure("no free port on \(LocalPort.host)") }
            return free
        }
        guard LocalPort.isFree(port) else {
            throw ServiceFailure("port \(port) of \(LocalPort.host) is taken: choose another with \(option)")
        }
        return port
    }

    private func prepareFiles() throws(ServiceFailure) {
        let usernames = configuration.services.map { "svc:\($0.service.rawValue)/\($0.instance)" }
        for username in [Supervisor.operatorName, Supervisor.benchName] + usernames {
            secrets[username] = try data.secret(of: username)
        }
        let identities = secrets.sorted { $0.key < $1.key }.map { "\($0.key) \(Digest(of: $0.value))" }
        // Operators that somebody has added stay.
        try DataDirectory.write(lines: identities, to: data.identities) { line in
            line.hasPrefix("op:") && secrets[String(line.prefix { $0 != " " })] == nil
        }
        httpToken = try data.secret(of: Supervisor.httpTokenName)
        try writeHTTPTokens()
        try writePorts()
    }

    /// This operator's own token, beside those that others have made.
    private func writeHTTPTokens() throws(ServiceFailure) {
        let own = OperatorToken(name: "admin", scope: .admin, digest: Digest(of: httpToken).description, expires: nil)
        try DataDirectory.write(lines: [own.line], to: data.httpTokens) { line in
            line.split(separator: " ").first.map { $0 != own.name } ?? false
        }
    }

    /// The files that name the broker's port.
    private func writePorts() throws(ServiceFailure) {
        let text = BrokerConfiguration(
            port: mqttPort, socketPath: socketPath, isRoot: geteuid() == 0, plugin: configuration.programs.accessPlugin,
            topicRoot: configuration.topics.root, identities: data.identities, state: data.brokerState,
            rateFactor: configuration.rateFactor
        ).text
        try DataDirectory.write(text, to: data.brokerConfiguration)
        let environment = OperatorEnvironment(
            host: LocalPort.host, mqttPort: mqttPort, httpPort: httpPort, username: Supervisor.operatorName,
            password: secrets[Supervisor.operatorName] ?? "", httpToken: httpToken)
        try DataDirectory.write(environment.text, to: data.operatorEnvironment)
    }

    private var socketPath: String? {
        data.brokerSocket.utf8.count <= BrokerConfiguration.socketPathLengthMax ? data.brokerSocket : nil
    }

    private var serviceEndpoint: BrokerAddress.Endpoint {
        socketPath.map { .unix(path: $0) } ?? .tcp(host: LocalPort.host, port: mqttPort, isEncrypted: false)
    }

    /// A connection is a descriptor: the broker is to take as many as this process may give it.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(resource, &limit)
    }

    // MARK: Starting

    private func startBroker() {
        let environment = ChildEnvironment.variables(of: ParsedArguments.processEnvironment())
        let program = ChildProgram(
            name: "broker", path: configuration.programs.mosquitto, arguments: ["-c", data.brokerConfiguration],
            environment: environment, directory: data.path)
        let child = SupervisedChild(program, loop: loop, log: log, output: -1)
        let brokerLog = Log(service: "broker", instance: "1", format: log.format, level: log.level)
        child.tookLine = { [unowned self] line in
            lastBrokerLine = line
            if let event = BrokerConfiguration.accessEvent(of: line) {
                brokerLog.event(event.name, event.level, event.members)
            } else {
                brokerLog.event("broker.message", BrokerConfiguration.level(of: line), ["text": LogValue(line)])
            }
        }
        child.exited = { [unowned self] _ in brokerExited() }
        broker = child
        child.start()
        awaitListening()
    }

    private func awaitListening() {
        var timer: Int?
        timer = loop.every(TimeSpan(milliseconds: 20)) { [unowned self] in
            if isStopping, let timer { return loop.cancel(timer) }
            guard broker?.processID != nil, LocalPort.accepts(mqttPort),
                socketPath.map({ LocalPort.accepts(socketPath: $0) }) ?? true
            else { return }
            if let timer { loop.cancel(timer) }
            hasListened = true
            do throws(ServiceFailure) {
                try chooseHTTPPortAgain()
            } catch {
                return fail(error.reason)
            }
            startServices()
            openLink()
        }
    }

    /// It was found free before the broker had its port, and may be that one, or somebody's by now.
    private func chooseHTTPPortAgain() throws(ServiceFailure) {
        guard configuration.httpPort == 0, !LocalPort.isFree(httpPort) else { return }
        httpPort = try Supervisor.choose(0, for: "--http-port")
        try writePorts()
    }

    private func brokerExited() {
        guard !isStopping else { return stopFurther() }
        guard !hasListened else { return }
        brokerStarts += 1
        guard brokerStarts < Supervisor.brokerStartsMax else {
            return fail("the broker does not start: \(lastBrokerLine.isEmpty ? "it says nothing" : lastBrokerLine)")
        }
        // Somebody may have taken the port since it was found free.
        guard configuration.mqttPort == 0 else { return }
        do {
            mqttPort = try Supervisor.choose(0, for: "--mqtt-port")
            try writePorts()
        } catch {
            fail(error.reason)
        }
    }

    private func startServices() {
        let own = ParsedArguments.processEnvironment()
        let address = BrokerAddress(endpoint: serviceEndpoint)
        for (service, instance) in configuration.services {
            let username = "svc:\(service.rawValue)/\(instance)"
            var broker = address
            broker.username = username
            let environment = ["ROLLCALL_PASSWORD_FILE": data.secretFile(of: username)]
            let program = ChildProgram(
                name: instance == "1" ? service.rawValue : "\(service.rawValue)/\(instance)",
                path: "\(configuration.programs.services)/rollcall-\(service.rawValue)",
                arguments: configuration.arguments(
                    service, instance: instance, broker: broker.withCredentials, data: data, httpPort: httpPort),
                environment: ChildEnvironment.variables(of: own, adding: environment))
            let child = SupervisedChild(program, loop: loop, log: log, output: configuration.childOutput ?? -1)
            child.exited = { [unowned self] exit in serviceExited(child.name, exit) }
            services.append(child)
            child.start()
        }
    }

    private func serviceExited(_ name: String, _ exit: ChildExit) {
        guard !isStopping else { return stopFurther() }
        // A configuration that was refused once is refused again.
        if !isReady, exit == .exited(ExitStatus.usage) { fail("\(name) refused its configuration") }
    }

    // MARK: Becoming ready

    private func openLink() {
        let link = OperatorLink(address(of: Supervisor.operatorName), topics: configuration.topics, loop: loop)
        operatorLink = link
        link.heard = { [unowned self] presence in
            readiness.heard(presence)
            if !isReady, readiness.missing.isEmpty { ask() }
        }
    }

    /// Every ten seconds until all is ready.
    private func sayWhatIsMissing() {
        loop.after(.seconds(10)) { [weak self] in
            guard let self, !isReady, !isStopping else { return }
            let missing = hasListened ? readiness.missing : ["broker"]
            let text = missing.isEmpty ? "no command was answered yet" : missing.joined(separator: ", ")
            log.event("up.waiting", .warning, ["for": LogValue(text)])
            sayWhatIsMissing()
        }
    }

    /// The proof that commands come through: one is answered, whose answer is small however many there are. Asked with each
    /// presence until then, one at a time.
    private func ask() {
        guard !readiness.isAnswered, let operatorLink else { return }
        readiness.isAnswered = true
        operatorLink.request(.list, ["limit": .integer(1)]) { [unowned self] result in
            guard case .success = result else {
                readiness.isAnswered = false
                return
            }
            guard !isReady, !isStopping else { return }
            isReady = true
            log.event("up.ready", .debug, ["milliseconds": LogValue(Int(Clock.now().milliseconds(since: startedAt)))])
            becameReady()
        }
    }

    // MARK: Ending

    private func fail(_ reason: String) {
        guard !isStopping else { return }
        log.event("up.failed", .error, ["error": LogValue(reason)])
        failed(reason)
        stop()
    }

    /// Ends what nobody needs any more: the edges first, which hand what they have to the reconcilers, those next, which
    /// hand it to the store. Each stage begins when the one before is gone.
    private func stopFurther() {
        guard isStopping, !hasStopped else { return }
        // Without the broker nobody hands over anything, and nobody is to be waited for.
        let stages = broker?.processID == nil ? [Supervisor.stopOrder.flatMap { $0 }] : Supervisor.stopOrder
        for stage in stages {
            let running = services.filter { child in
                child.processID != nil && stage.contains { child.name.hasPrefix($0.rawValue) }
            }
            guard running.isEmpty else {
                for child in running { end(child, within: Supervisor.serviceStopLimit) }
                return
            }
        }
        if let broker, broker.processID != nil { return end(broker, within: Supervisor.brokerStopLimit) }
        hasStopped = true
        lock = nil
        if killed.isEmpty {
            log.event("up.stopped")
        } else {
            log.event("up.stopped", .warning, ["killed": LogValue(killed.joined(separator: " "))])
        }
        stopped()
    }

    private func end(_ child: SupervisedChild, within limit: TimeSpan) {
        guard terminated.insert(child.name).inserted else { return }
        child.terminate()
        loop.after(limit) { child.kill(because: "it did not end within \(limit.seconds) s of SIGTERM") }
    }
}
