internal import API
internal import Model
internal import ServiceHost

/// What `rollcall bench storm` measures.
struct StormOptions {
    var agents = 100_000
    var gateways = 1
    var witnesses = 1_000
    var wakeRate = Rate(perSecond: 1_000)
    var attempts = 1
    var deadline = DurationText(5, .seconds)
    var offlineAfter = DurationText(20, .seconds)
    var inFlight = 500
    var reconcilers = 1
    var ingests = 1

    static let specifications = [
        OptionSpecification("agents", value: "N", help: "agents that fall silent, 1 to 1000000 (default 100000)"),
        OptionSpecification(
            "gateways", value: "N", help: "gateways they are spread over; 1: all in one partition (default 1)"),
        OptionSpecification("witnesses", value: "N", help: "agents that go on beating, 2 to 100000 (default 1000)"),
        OptionSpecification("wake-rate", value: "N/s", help: "wakes for one gateway; 0: no limit (default 1000/s)"),
        OptionSpecification("attempts", value: "N", help: "wakes of one cycle, 1 to 10 (default 1)"),
        OptionSpecification("checkin-deadline", value: "DURATION", help: "after each wake (default 5s)"),
        OptionSpecification("offline-after", value: "DURATION", help: "silence that lapses, 2s to 10m (default 20s)"),
        OptionSpecification("in-flight", value: "N", help: "commands under way at once, 1 to 5000 (default 500)"),
        OptionSpecification("reconcilers", value: "N", help: "how many run, 1 to 16 (default 1)"),
        OptionSpecification("ingests", value: "N", help: "how many run, 1 to 16 (default 1)"),
        OptionSpecification("log", help: "let the services log to standard error"),
        CommonOptions.help,
    ]

    init(_ arguments: ParsedArguments) throws(UsageError) {
        agents = try arguments.integer("agents", in: 1...1_000_000) ?? agents
        gateways = try arguments.integer("gateways", in: 1...10_000) ?? gateways
        witnesses = try arguments.integer("witnesses", in: 2...100_000) ?? witnesses
        attempts = try arguments.integer("attempts", in: 1...10) ?? attempts
        inFlight = try arguments.integer("in-flight", in: 1...5_000) ?? inFlight
        reconcilers = try arguments.integer("reconcilers", in: 1...16) ?? reconcilers
        ingests = try arguments.integer("ingests", in: 1...16) ?? ingests
        guard gateways <= agents else { throw UsageError("--gateways: there are more of them than --agents") }
        do throws(InvalidValue) {
            if let text = arguments.value("wake-rate") { wakeRate = try Rate(parsing: text) }
            if let text = arguments.value("checkin-deadline") { deadline = try DurationText(parsing: text) }
            if let text = arguments.value("offline-after") { offlineAfter = try DurationText(parsing: text) }
        } catch {
            throw UsageError(error.reason)
        }
        guard (2_000...600_000).contains(offlineAfter.span.milliseconds) else {
            throw UsageError("--offline-after: \(offlineAfter) is not within 2s to 10m")
        }
    }

    /// The policy of the gateways that fall silent. Its interval is how often they beat: what a suspended time puts lapses off by.
    var policy: JSONValue {
        .object([
            "checkin_deadline": .string(deadline.description), "max_wake_attempts": .integer(Int64(attempts)),
            "heartbeat_interval": .string(DurationText(beatInterval.milliseconds, .milliseconds).description),
            "offline_after": .string(offlineAfter.description), "wake_rate": .string(wakeRate.description),
        ])
    }

    /// How often everybody beats.
    var beatInterval: TimeSpan { TimeSpan(milliseconds: offlineAfter.span.milliseconds / 4) }

    /// The gateways that fall silent, with their agents.
    var fleet: [StormGateway] {
        (0..<gateways).map { number in
            let share = agents * (number + 1) / gateways - agents * number / gateways
            return StormGateway(name: "storm-\(number)", agents: (0..<share).map { "a\($0)" })
        }
    }

    /// Two gateways that do not: one in the partition of the first one that does, one in another.
    var witnessGateways: [StormGateway] {
        let partition = Partition.of(gateway: "storm-0", count: Partition.defaultCount)
        let names = (0..<1_000).lazy.map { "witness-\($0)" }
        let same = names.first { Partition.of(gateway: $0, count: Partition.defaultCount) == partition }
        let other = names.first { Partition.of(gateway: $0, count: Partition.defaultCount) != partition }
        return [same, other].compactMap { $0 }.enumerated().map { index, name in
            let share = (witnesses + index) / 2
            return StormGateway(name: name, agents: (0..<share).map { "w\($0)" })
        }
    }

    /// The shortest time in which all attempts of all agents can be woken and judged.
    var idealSeconds: Double {
        let perGateway = Double((agents + gateways - 1) / gateways)
        let waking = wakeRate.isUnlimited ? 0 : perGateway / Double(wakeRate.perSecond)
        return max(waking * Double(attempts), waking) + Double(attempts) * Double(deadline.span.milliseconds) / 1_000
    }
}

/// A gateway of the benchmark with the names of its agents.
struct StormGateway {
    let name: String
    let agents: [String]
}
