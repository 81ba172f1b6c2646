internal import API
internal import Bus
internal import Model
internal import RollcallSupervisor

/// What an operator sees of a storm: every event, wake and presence, each judged as it comes.
final class StormWatch: ConnectionDelegate {
    /// One agent as its events tell of it.
    private struct Seen {
        var revision = 0
        var status = Status.other
        /// The highest attempt of the newest generation that a wake was seen of.
        var generation = 0
        var attempt = 0
    }

    private enum Status { case online, offline, other }

    /// When something happened first and last, and how often.
    struct Mark {
        var first = Clock.now()
        var last = Clock.now()
        var count = 0
    }

    /// The wakes of one gateway in the last second, by arrival.
    private struct WakeWindow {
        var arrivals: [Instant] = []
        var head = 0
        var busiest = 0

        mutating func note(_ now: Instant) {
            arrivals.append(now)
            while arrivals[head] + .seconds(1) <= now { head += 1 }
            busiest = max(busiest, arrivals.count - head)
            guard head > 10_000 else { return }
            arrivals.removeFirst(head)
            head = 0
        }
    }

    private let topics: Topics
    private let witnesses: Set<String>
    private let attemptsMax: Int
    private var agents: [Substring: Seen] = [:]
    private var wakeWindows: [Substring: WakeWindow] = [:]
    private var connection: Connection!
    private(set) var isSubscribed = false
    /// Events of the agents that fall silent, by name, since `beginPhase`.
    private(set) var marks: [String: Mark] = [:]
    private(set) var onlineCount = 0
    private(set) var offlineCount = 0
    private(set) var events = 0
    private(set) var repeatedEvents = 0
    private(set) var lostEvents = 0
    private(set) var wakes = 0
    private(set) var repeatedWakes = 0
    private(set) var excessiveWakes = 0
    private(set) var witnessVerdicts = 0
    private(set) var losses = 0
    /// Of each gateway, its events with their counts of agents, in order.
    private(set) var gatewayEvents: [String: [(event: GatewayEvent, agents: Int)]] = [:]
    /// How often reconcilers said that they are suspended, by the reason.
    private(set) var suspensions: [String: Int] = [:]
    private var suspended: [String: String] = [:]
    private var owned: [String: [String: Int]] = [:]
    /// Called for each wake of an agent.
    var woken: (_ gateway: Substring, _ agent: Substring) -> Void = { _, _ in }
    /// Called for each event of a witness.
    var witnessed: (_ gateway: Substring, _ agent: Substring, _ event: Substring) -> Void = { _, _, _ in }

    init(_ system: BenchSystem, witnesses: [StormGateway], attemptsMax: Int) {
        topics = system.topics
        self.witnesses = Set(witnesses.map(\.name))
        self.attemptsMax = attemptsMax
        let address = system.supervisor.address(of: Supervisor.operatorName)
        connection = Connection(
            ConnectionOptions(broker: address, clientID: "\(Supervisor.operatorName)~watch"), loop: system.loop,
            delegate: self)
    }

    func close() { connection.close() }

    func beginPhase() { marks = [:] }

    /// The most wakes that any gateway had in one second, as they arrived here.
    var busiestSecond: Int { wakeWindows.values.map(\.busiest).max() ?? 0 }

    /// The reconciler that owns a partition, as its presence says.
    func owner(of partition: Int) -> (instance: String, epoch: Int, isSuspended: Bool)? {
        let owners = owned.compactMap { instance, epochs in
            epochs[String(partition)].map { (instance, $0, suspended[instance] != nil) }
        }
        return owners.max { $0.1 < $1.1 }
    }

    // MARK: ConnectionDelegate

    func connected(_ connection: Connection) {
        connection.subscribe([
            topics.allLifecycle(), topics.allGatewayLifecycle(), "\(topics.root)/agents/+/+/wake", topics.allPresence,
        ])
    }

    func subscribed(refused: [String], on connection: Connection) {
        isSubscribed = refused.isEmpty
    }

    func disconnected(_ error: BusError, on connection: Connection) {
        losses += 1
    }

    func received(_ delivery: Delivery, on connection: Connection) {
        guard let levels = topics.levels(of: delivery.topic), levels.count >= 3 else { return }
        switch levels[0] {
        case "agents" where levels.count == 5: event(levels, delivery)
        case "agents": wake(levels, delivery)
        case "gateways":
            guard let message = try? JSON.decode(GatewayLifecycleMessage.self, from: delivery.payload) else { return }
            gatewayEvents[message.gateway, default: []].append((message.event, message.agents))
        case "services":
            // An empty payload clears a presence.
            guard let presence = try? JSON.decode(Presence.self, from: delivery.payload) else { return }
            heard(presence)
        default: return
        }
    }

    // MARK: Inside

    private func event(_ levels: [Substring], _ delivery: Delivery) {
        events += 1
        let address = delivery.topic[levels[1].startIndex..<levels[2].endIndex]
        var seen = agents[address] ?? Seen()
        let revision = delivery.userProperty("sequence").flatMap { Int($0) } ?? 0
        guard revision > seen.revision else {
            repeatedEvents += 1
            return
        }
        lostEvents += revision - seen.revision - 1
        seen.revision = revision
        let isWitness = witnesses.contains(String(levels[1]))
        if isWitness {
            if levels[4] == "lapsed" || levels[4] == "offline" { witnessVerdicts += 1 }
            witnessed(levels[1], levels[2], levels[4])
        } else {
            let name = StormWatch.mark(levels[4], delivery)
            marks[name, default: Mark()].last = Clock.now()
            marks[name, default: Mark()].count += 1
            settle(&seen, levels[4])
        }
        agents[address] = seen
    }

    /// What is counted: of a change its reason as well, since an agent that is well again has one of its own.
    private static func mark(_ event: Substring, _ delivery: Delivery) -> String {
        guard event == LifecycleEvent.changed.rawValue,
            let reason = try? JSON.decode(Change.self, from: delivery.payload).reason
        else { return String(event) }
        return "\(event) (\(reason))"
    }

    private struct Change: Decodable {
        let reason: String?
    }

    private func settle(_ seen: inout Seen, _ event: Substring) {
        let status: Status
        switch event {
        case "online": status = .online
        case "offline": status = .offline
        case "provisioning", "updating", "retriggered", "deleting": status = .other
        default: return
        }
        onlineCount += (status == .online ? 1 : 0) - (seen.status == .online ? 1 : 0)
        offlineCount += (status == .offline ? 1 : 0) - (seen.status == .offline ? 1 : 0)
        seen.status = status
    }

    private struct WakeNumber: Decodable {
        let generation: Int
        let attempt: Int
    }

    private func wake(_ levels: [Substring], _ delivery: Delivery) {
        wakes += 1
        guard let number = try? JSON.decode(WakeNumber.self, from: delivery.payload) else { return }
        let address = delivery.topic[levels[1].startIndex..<levels[2].endIndex]
        var seen = agents[address] ?? Seen()
        if (number.generation, number.attempt) == (seen.generation, seen.attempt) { repeatedWakes += 1 }
        if number.generation > seen.generation { (seen.generation, seen.attempt) = (number.generation, 0) }
        seen.attempt = max(seen.attempt, number.attempt)
        if seen.attempt > attemptsMax, !witnesses.contains(String(levels[1])) { excessiveWakes += 1 }
        agents[address] = seen
        wakeWindows[levels[1], default: WakeWindow()].note(Clock.now())
        woken(levels[1], levels[2])
    }

    private func heard(_ presence: Presence) {
        guard presence.service == ServiceName.reconciler.rawValue else { return }
        let name = presence.instance
        if let reason = presence.suspended, suspended[name] != reason { suspensions[reason, default: 0] += 1 }
        suspended[name] = presence.suspended
        owned[name] = presence.state == .running ? presence.partitions : nil
    }
}
