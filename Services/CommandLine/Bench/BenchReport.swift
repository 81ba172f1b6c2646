/// What one benchmark found, printed as one line of JSON.
struct BenchReport: Encodable {
    struct Latency: Encodable {
        let p50: Double
        let p99: Double
        let max: Double
        let samples: Int

        /// The percentiles of latencies in milliseconds; `nil` without samples.
        init?(_ samples: [Double]) {
            guard !samples.isEmpty else { return nil }
            let sorted = samples.sorted()
            p50 = sorted[(sorted.count - 1) / 2]
            p99 = sorted[(sorted.count - 1) * 99 / 100]
            max = sorted[sorted.count - 1]
            self.samples = sorted.count
        }
    }

    let benchmark = "heartbeats"
    var agents: Int
    var mode: String
    var batch: Int
    var qos: Int
    /// The rate asked for; 0: as many as are accepted.
    var rate: Int
    var seconds: Int
    var rounds: Int
    /// Medians over the rounds.
    var heartbeatsPerSecond: Double
    var bareMessagesPerSecond: Double
    /// Messages of heartbeats a second over bare messages a second: the median of the rounds' ratios.
    var ratio: Double
    /// From the publication of a heartbeat that says something new to its event at an operator: ingest, owner, commit and
    /// publication are in it.
    var latencyMilliseconds: Latency?
    /// Processor seconds of each process in all full rounds together.
    var cpuSeconds: [String: Double]
    var cpuMicrosecondsPerHeartbeat: Double
    /// Messages published and never accepted, received.
    var heartbeatDrops: Int
    var bareDrops: Int

    enum CodingKeys: String, CodingKey {
        case benchmark, agents, mode, batch, qos, rate, seconds, rounds, ratio
        case heartbeatsPerSecond = "heartbeats_per_second"
        case bareMessagesPerSecond = "bare_messages_per_second"
        case latencyMilliseconds = "latency_ms"
        case cpuSeconds = "cpu_seconds"
        case cpuMicrosecondsPerHeartbeat = "cpu_us_per_heartbeat"
        case heartbeatDrops = "heartbeat_drops"
        case bareDrops = "bare_drops"
    }
}

/// The middle of the values, the lower of the two for an even count; 0 for none.
func median(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.sorted()[(values.count - 1) / 2]
}
