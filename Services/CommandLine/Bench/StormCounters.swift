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
        longestTurns[name] = max(longestTurns[name] ?? 0, message.longestTurn)
        stepTurns[name] = max(stepTurns[name] ?? 0, message.longestTurn)
        longestWork[name] = max(longestWork[name] ?? 0, message.longestWork)
        stepWork[name] = max(stepWork[name] ?? 0, message.longestWork)
        let before = told.updateValue(message.stalls, forKey: name) ?? 0
        let more = message.stalls < before ? message.stalls : message.stalls - before
        stalls[name, default: 0] += more
        stepStalls += more
    }

    func disconnected(_ error: BusError, on connection: Connection) {}
}
