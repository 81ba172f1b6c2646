internal import API
internal import Bus
internal import RollcallSupervisor
internal import Wire

/// The services' own counters: their longest turns and their stalls, in all and in one step.
final class StormCounters: ConnectionDelegate {
    private let topics: Topics
    private var connection: Connection!
    private(set) var longestTurns: [String: Int64] = [:]
    /// Without the time in which others had the processor.
    private(set) var longestWork: [String: Int64] = [:]
    private(set) var stalls: [String: Int64] = [:]
    private(set) var stepTurns: [String: Int64] = [:]
    private(set) var stepWork: [String: Int64] = [:]
    private(set) var stepStalls: Int64 = 0
    /// As each process told last: one that is started again counts from 0.
    private var told: [String: Int64] = [:]

    init(_ system: BenchSystem) {
        topics = system.topics
        let service = ConnectionOptions(
            broker: system.supervisor.address(of: Supervisor.benchName), clientID: Supervisor.benchName)
        connection = Connection(service, loop: system.loop, delegate: self)
    }

    func close() { connection.close() }

    func beginStep() { (stepTurns, stepWork, stepStalls) = ([:], [:], 0) }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        connection.subscribe([topics.counters(service: "+", instance: "+")])
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        // Only our own services publish here.
        guard let message = try? WireFormat.decode(CounterMessage.self, from: delivery.payload) else { return }
        let name = message.instance == "1" ? message.service : "\(message.service)/\(message.instance)"
        let turn = message.counters["longest_turn_ms"] ?? 0
        longestTurns[name] = max(longestTurns[name] ?? 0, turn)
        stepTurns[name] = max(stepTurns[name] ?? 0, turn)
        let work = message.counters["longest_turn_cpu_ms"] ?? 0
        longestWork[name] = max(longestWork[name] ?? 0, work)
        stepWork[name] = max(stepWork[name] ?? 0, work)
        guard let count = message.counters["stalls"] else { return }
        let before = told.updateValue(count, forKey: name) ?? 0
        let more = count < before ? count : count - before
        stalls[name, default: 0] += more
        stepStalls += more
    }

    func disconnected(_ error: BusError, on connection: Connection) {}
}
