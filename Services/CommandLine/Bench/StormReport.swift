internal import Model

/// What a storm came to, printed as one line of JSON.
struct StormReport: Encodable {
    let benchmark = "storm"
    var agents: Int
    var gateways: Int
    var witnesses: Int
    var wakeRate: String
    var attempts: Int
    var checkinDeadline: String
    var offlineAfter: String
    var provisionedPerSecond = 0.0
    /// From the first heartbeat until everybody was online.
    var checkinSeconds = 0.0
    /// From the deadline of the first until the lapse of the last, and until the last verdict, was seen.
    var lapseSeconds = 0.0
    var verdictSeconds = 0.0
    /// The shortest possible time to the last verdict: what `wake_rate` and the deadlines take.
    var idealVerdictSeconds = 0.0
    /// From the gateways' return until everybody was online.
    var returnSeconds = 0.0
    var events = 0
    var eventsLost = 0
    var eventsRepeated = 0
    var wakes = 0
    var wakesRepeated = 0
    /// The most wakes of one gateway in one second.
    var busiestSecond = 0
    /// What came after the storm: commands about all agents of one gateway, and processes that were killed.
    var steps: [String: Step] = [:]
    /// From a heartbeat of a witness that says something new to its event at an operator.
    var eventLatencyMilliseconds: BenchReport.Latency?
    /// From the question for a record to its answer.
    var lookupMilliseconds: BenchReport.Latency?
    /// How much older `last_seen_at` was than the witness's newest heartbeat, in answers to `get`.
    var lastSeenAgeMilliseconds: BenchReport.Latency?
    /// By service: the longest turn of its loop, and its stalls.
    var longestTurnMilliseconds: [String: Int64] = [:]
    /// Without the time in which others had the processor: what it would be on a machine of its own.
    var longestWorkMilliseconds: [String: Int64] = [:]
    var stalls: [String: Int64] = [:]
    var suspensions: [String: Int] = [:]
    var peakMemoryMiB: [String: Int] = [:]
    var cpuSeconds: [String: Double] = [:]
    /// What must not be; empty when all is well.
    var violations: [String] = []

    /// One thing that was done to the largest gateway.
    struct Step: Encodable {
        /// Until the answer; to a change of one agent, when a process was killed.
        var seconds: Double
        /// Until the owner of its partition judges again.
        var observableSeconds: Double?
        var longestTurnMilliseconds: [String: Int64]
        var longestWorkMilliseconds: [String: Int64]
        var stalls: Int64

        enum CodingKeys: String, CodingKey {
            case seconds, stalls
            case observableSeconds = "sighted_seconds"
            case longestTurnMilliseconds = "longest_turn_ms"
            case longestWorkMilliseconds = "longest_turn_cpu_ms"
        }
    }

    static func seconds(from start: Instant, to end: Instant) -> Double {
        Double((end.nanoseconds - start.nanoseconds) / 1_000_000) / 1_000
    }

    init(_ options: StormOptions) {
        agents = options.agents
        gateways = options.gateways
        witnesses = options.witnesses
        wakeRate = options.wakeRate.description
        attempts = options.attempts
        checkinDeadline = options.deadline.description
        offlineAfter = options.offlineAfter.description
        idealVerdictSeconds = options.idealSeconds
    }

    enum CodingKeys: String, CodingKey {
        case benchmark, agents, gateways, witnesses, attempts, events, wakes, steps, stalls, violations
        case wakeRate = "wake_rate"
        case checkinDeadline = "checkin_deadline"
        case offlineAfter = "offline_after"
        case provisionedPerSecond = "provisioned_per_second"
        case checkinSeconds = "checkin_seconds"
        case lapseSeconds = "lapse_seconds"
        case verdictSeconds = "verdict_seconds"
        case idealVerdictSeconds = "ideal_verdict_seconds"
        case returnSeconds = "return_seconds"
        case eventsLost = "events_lost"
        case eventsRepeated = "events_repeated"
        case wakesRepeated = "wakes_repeated"
        case busiestSecond = "busiest_second"
        case eventLatencyMilliseconds = "event_latency_ms"
        case lookupMilliseconds = "lookup_ms"
        case lastSeenAgeMilliseconds = "last_seen_age_ms"
        case longestTurnMilliseconds = "longest_turn_ms"
        case longestWorkMilliseconds = "longest_turn_cpu_ms"
        case suspensions = "blind_spells"
        case peakMemoryMiB = "peak_memory_mib"
        case cpuSeconds = "cpu_seconds"
    }
}
