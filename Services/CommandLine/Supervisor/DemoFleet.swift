internal import API
internal import Model

/// What a simulated agent does after it was woken.
enum DemoBehaviour: String, CaseIterable, Hashable, Sendable {
    /// Checks in and publishes heartbeats.
    case healthy
    /// Needs a second wake: `retriggered`, then `online`.
    case late
    /// Never answers: `offline` after the last attempt.
    case silent
    /// Says goodbye a while after it came online: `offline`, reason `goodbye`.
    case leaver
    /// Connects by itself with a Last Will and is cut off: `lapsed`, then woken again and `online`.
    case cut
}

/// One simulated agent of the demo's gateway.
struct DemoAgent: Hashable, Sendable {
    let id: String
    let role: Role
    let board: String?
    let behaviour: DemoBehaviour

    /// How an agent answers a wake.
    struct Answer: Hashable, Sendable {
        /// From the wake to the check-in.
        let startsAfter: TimeSpan
        /// From the check-in to its end; `nil`: it lives on.
        let endsAfter: TimeSpan?
    }

    /// What the agent does about a wake; `nil`: nothing.
    ///
    /// - Parameter starts: how often it has started before.
    func answer(attempt: Int, starts: Int) -> Answer? {
        // Not all at once, as with real ones.
        let startsAfter = TimeSpan(milliseconds: 300 + Int64(Partition.fnv1a(id) % 700))
        switch behaviour {
        case .healthy: return Answer(startsAfter: startsAfter, endsAfter: nil)
        case .late: return attempt < 2 ? nil : Answer(startsAfter: startsAfter, endsAfter: nil)
        case .silent: return nil
        case .leaver: return Answer(startsAfter: startsAfter, endsAfter: .seconds(15))
        // Soon at first, so that whoever watches sees it; then so rarely that its history stays readable.
        case .cut: return Answer(startsAfter: startsAfter, endsAfter: .seconds(starts == 0 ? 12 : 60))
        }
    }
}

/// The simulated agents of one gateway, as a pure value: wakes and time in, what is to be sent out.
struct DemoFleet: Hashable, Sendable {
    static let gateway = "demo"
    static let sizeMax = 10_000

    /// What the gateway is to do.
    enum Directive: Hashable, Sendable {
        /// Publish this in the gateway's message for all its agents.
        case beat(agent: String, DemoBeat)
        /// Connect this agent by itself, with a Last Will of this boot, and let it check in.
        case connect(agent: String, DemoBeat)
        /// Publish this on the agent's own connection.
        case beatOwn(agent: String, DemoBeat)
        /// End the agent's own connection without a word.
        case cutOff(agent: String)
        /// End the agent's own connection politely: it starts anew, or was deleted.
        case disconnect(agent: String)
    }

    private struct State: Hashable {
        var generation = 0
        var attempt = 0
        var starts = 0
        var bootID = ""
        var seq: Int64 = 0
        var interval = TimeSpan.seconds(60)
        var answer: DemoAgent.Answer?
        var startsAt: Instant?
        var endsAt: Instant?
        /// Set while it runs.
        var beatsAt: Instant?
    }

    let agents: [DemoAgent]
    private let byID: [String: DemoAgent]
    private var states: [String: State] = [:]

    init(agents: [DemoAgent]) {
        self.agents = agents
        byID = Dictionary(agents.map { ($0.id, $0) }) { first, _ in first }
    }

    /// The fleet of `--demo N`: a main, the leads of two boards, workers of every behaviour.
    init(count: Int) {
        self.init(agents: (0..<min(count, DemoFleet.sizeMax)).map(DemoFleet.agent))
    }

    private static func agent(at index: Int) -> DemoAgent {
        switch index {
        case 0: return DemoAgent(id: "main", role: .main, board: nil, behaviour: .healthy)
        case 1: return DemoAgent(id: "lead-alpha", role: .lead, board: "alpha", behaviour: .healthy)
        case 2: return DemoAgent(id: "lead-beta", role: .lead, board: "beta", behaviour: .healthy)
        default:
            let behaviour: DemoBehaviour =
                switch index {
                case 3: .late
                case 4: .silent
                case 5: .leaver
                case 6: .cut
                // One agent is enough that connects by itself; of the others one in ten of each kind.
                default:
                    switch index % 10 {
                    case 3: .late
                    case 4: .silent
                    case 5: .leaver
                    default: .healthy
                    }
                }
            let name = behaviour == .healthy ? "worker" : behaviour.rawValue
            return DemoAgent(
                id: "\(name)-\(index + 1)", role: .worker, board: index % 2 == 1 ? "alpha" : "beta",
                behaviour: behaviour)
        }
    }

    /// The pause between two agents' provisioning: a dozen takes half a minute, so that whoever watches sees each, and
    /// many take no longer than that.
    static func pause(count: Int) -> TimeSpan {
        TimeSpan(milliseconds: min(1_500, 20_000 / Int64(max(1, count))))
    }

    /// A wake arrived. Lower numbers than seen are old; the same wake, another attempt or a recovery of an agent that runs is
    /// answered with a heartbeat; a new generation starts the agent anew.
    mutating func woken(
        _ id: String, generation: Int, attempt: Int, isRecovery: Bool = false, interval: TimeSpan, now: Instant
    ) -> [Directive] {
        guard let agent = byID[id] else { return [] }
        var state = states[id] ?? State()
        guard (generation, attempt) >= (state.generation, state.attempt) else { return [] }
        let isKept = isRecovery && state.beatsAt != nil
        let isNewCycle = generation > state.generation && !isKept
        state.generation = generation
        state.attempt = attempt
        state.interval = interval
        defer { states[id] = state }
        if !isNewCycle, state.beatsAt != nil {
            state.beatsAt = now + interval
            return [beat(agent, &state, status: nil)]
        }
        guard isNewCycle || state.startsAt == nil else { return [] }
        let wasRunning = state.beatsAt != nil
        state.beatsAt = nil
        state.endsAt = nil
        state.answer = agent.answer(attempt: attempt, starts: state.starts)
        state.startsAt = state.answer.map { now + $0.startsAfter }
        return wasRunning && agent.behaviour == .cut ? [.disconnect(agent: id)] : []
    }

    /// The agent was deleted: it ends without a word.
    mutating func deleted(_ id: String) -> [Directive] {
        guard let state = states.removeValue(forKey: id), byID[id]?.behaviour == .cut, state.beatsAt != nil else {
            return []
        }
        return [.disconnect(agent: id)]
    }

    /// The agent's own connection is gone, and the agent with it.
    mutating func connectionLost(_ id: String) {
        states[id]?.beatsAt = nil
        states[id]?.endsAt = nil
    }

    /// Time has passed: what is due.
    mutating func advanced(to now: Instant) -> [Directive] {
        agents.compactMap { agent in
            guard var state = states[agent.id] else { return nil }
            defer { states[agent.id] = state }
            if let startsAt = state.startsAt, startsAt <= now {
                state.startsAt = nil
                state.starts += 1
                state.seq = 0
                state.bootID = "\(state.generation).\(state.starts)"
                state.beatsAt = now + state.interval
                state.endsAt = state.answer?.endsAfter.map { now + $0 }
                let first = DemoFleet.beat(of: agent, &state, status: nil)
                return agent.behaviour == .cut ? .connect(agent: agent.id, first) : .beat(agent: agent.id, first)
            }
            if let endsAt = state.endsAt, endsAt <= now {
                state.endsAt = nil
                state.beatsAt = nil
                return agent.behaviour == .cut ? .cutOff(agent: agent.id) : beat(agent, &state, status: "stopping")
            }
            guard let beatsAt = state.beatsAt, beatsAt <= now else { return nil }
            state.beatsAt = now + state.interval
            return beat(agent, &state, status: nil)
        }
    }

    private func beat(_ agent: DemoAgent, _ state: inout State, status: String?) -> Directive {
        let beat = DemoFleet.beat(of: agent, &state, status: status)
        return agent.behaviour == .cut ? .beatOwn(agent: agent.id, beat) : .beat(agent: agent.id, beat)
    }

    private static func beat(of agent: DemoAgent, _ state: inout State, status: String?) -> DemoBeat {
        state.seq += 1
        return DemoBeat(
            status: status, generation: state.generation, attempt: state.attempt,
            bootID: state.bootID, seq: state.seq)
    }
}

/// One heartbeat of a simulated agent.
struct DemoBeat: Hashable, Sendable {
    var status: String?
    var generation: Int
    var attempt: Int
    var bootID: String
    var seq: Int64

    var members: [String: JSONValue] {
        var members: [String: JSONValue] = [
            "generation": .integer(Int64(generation)), "attempt": .integer(Int64(attempt)), "boot_id": .string(bootID),
            "seq": .integer(seq),
        ]
        if let status { members["status"] = .string(status) }
        return members
    }
}
