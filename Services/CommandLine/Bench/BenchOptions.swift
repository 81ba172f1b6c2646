internal import Bus
internal import ServiceHost

/// What `rollcall bench heartbeats` measures.
struct BenchOptions {
    enum Mode: String {
        case single, gateway
    }

    var agents = 1_000
    var mode = Mode.single
    var batch = 500
    /// Heartbeats a second; 0: as many as are accepted.
    var rate = 0
    var qualityOfService = Publication.QualityOfService.atMostOnce
    var seconds = 10
    var rounds = 5

    static let specifications = [
        OptionSpecification("agents", value: "N", help: "agents that send heartbeats, 1 to 1000000 (default 1000)"),
        OptionSpecification(
            "mode", value: "single|gateway", help: "one message each, or a gateway's for many (default single)"),
        OptionSpecification("batch", value: "N", help: "agents in one gateway message, 1 to 5000 (default 500)"),
        OptionSpecification("rate", value: "N", help: "heartbeats a second; 0: as many as are accepted (default 0)"),
        OptionSpecification("qos", value: "0|1", help: "quality of service (default 0)"),
        OptionSpecification("seconds", value: "N", help: "steady state of each round, 1 to 600 (default 10)"),
        OptionSpecification("rounds", value: "N", help: "alternations of bare and full, 1 to 20 (default 5)"),
        OptionSpecification("log", help: "let the services log to standard error"),
        CommonOptions.help,
    ]

    init(_ arguments: ParsedArguments) throws(UsageError) {
        agents = try arguments.integer("agents", in: 1...1_000_000) ?? agents
        batch = try arguments.integer("batch", in: 1...5_000) ?? batch
        rate = try arguments.integer("rate", in: 0...10_000_000) ?? rate
        seconds = try arguments.integer("seconds", in: 1...600) ?? seconds
        rounds = try arguments.integer("rounds", in: 1...20) ?? rounds
        if let text = arguments.value("mode") {
            guard let mode = Mode(rawValue: text) else {
                throw UsageError("--mode: '\(text)' is not single or gateway")
            }
            self.mode = mode
        }
        if let level = try arguments.integer("qos", in: 0...1) {
            qualityOfService = level == 0 ? .atMostOnce : .atLeastOnce
        }
    }

    /// Heartbeats in one message.
    var heartbeatsPerMessage: Int { mode == .single ? 1 : min(batch, agents) }
}
