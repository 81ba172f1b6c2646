/// How much of something is allowed in a second, and at once.
public struct Allowance: Equatable, Sendable {
    public let perSecond: Int
    public let burst: Int

    public init(perSecond: Int, burst: Int) {
        self.perSecond = perSecond
        self.burst = burst
    }

    func times(_ factor: Int) -> Allowance { Allowance(perSecond: perSecond * factor, burst: burst * factor) }
}

/// A token bucket in one number: the moment at which all that was taken is paid for (GCRA, ITU-T I.371).
struct Meter: Sendable {
    private(set) var paidAt = Int64.min

    /// Takes `amount`, unless more than the burst would be unpaid; then nothing is taken.
    ///
    /// - Parameter now: nanoseconds of a steady clock.
    mutating func take(_ amount: Int, of allowance: Allowance, at now: Int64) -> Bool {
        let begin = max(paidAt, now)
        let end = begin + Int64(amount) * 1_000_000_000 / Int64(allowance.perSecond)
        guard end - now <= Int64(allowance.burst) * 1_000_000_000 / Int64(allowance.perSecond) else { return false }
        paidAt = end
        return true
    }
}

/// What publications are metered by.
public enum TopicClass: Int, CaseIterable, Sendable {
    case heartbeat, heartbeats, status, request, command
    /// What services say to each other: they keep to windows of their own.
    case unmetered

    /// The class of what a filter of the table of rights lets through.
    init(of filter: String, by kind: Username.Kind) {
        let last = filter.split(separator: "/").last
        self =
            switch (kind, last) {
            case (.service, _): .unmetered
            case (_, "heartbeat"): .heartbeat
            case (_, "heartbeats"): .heartbeats
            case (_, "status"): .status
            case (_, "files"), (_, "credentials"): .request
            default: .command
            }
    }
}

/// The budget of one identity: the only place where these limits stand. Of a gateway most grow with its agents.
///
/// All are far above what a client that keeps to the contract needs. The receivers have finer ones: a policy's
/// `heartbeat_rate`, requests under way.
public struct Budget: Sendable {
    let kind: Username.Kind
    /// Agents behind a gateway.
    let agents: Int
    /// Multiplies what may be published in a second; 0 is no limit.
    let factor: Int

    public init(of kind: Username.Kind, agents: Int = 0, factor: Int = 1) {
        self.kind = kind
        self.agents = agents
        self.factor = factor
    }

    /// How long a session may outlive its connection (`persistent_client_expiration 1h` of the broker's configuration), with
    /// a minute for the broker to notice.
    static let sessionNanoseconds: Int64 = 3_660 * 1_000_000_000
    /// What may be queued for all absent sessions of an identity until it connects again, payloads and what the broker needs
    /// for each message; beyond it they get nothing.
    public static let queuedBytesMax = 32 << 20
    static let messageBytes = 1_024
    /// What is refused in a second before all connections of the identity are closed.
    public static let refusalsMax = 1_000
    /// For so long it is not admitted then.
    static let exclusionNanoseconds: Int64 = 5_000_000_000
    /// Heartbeats and requests in the name of agents that do not exist: each is told in the log and to operators.
    static let unknownNames = Allowance(perSecond: 10, burst: 20)

    /// Connections at a time.
    public var connectionsMax: Int {
        switch kind {
        case .agent, .operator: 8
        case .gateway: 64
        case .service: .max
        }
    }

    /// Subscriptions of all its connections.
    public var subscriptionsMax: Int {
        switch kind {
        case .agent, .operator: 64
        case .gateway: 100_000
        case .service: .max
        }
    }

    /// New connections. Each may leave a session behind.
    var connects: Allowance {
        switch kind {
        case .agent: Allowance(perSecond: 1, burst: 64)
        case .gateway: Allowance(perSecond: 2, burst: 256)
        case .operator, .service: Allowance(perSecond: 50, burst: 500)
        }
    }

    /// New subscriptions: with each the broker looks for what is retained.
    var subscribes: Allowance {
        switch kind {
        case .agent: Allowance(perSecond: 10, burst: 128)
        case .gateway: Allowance(perSecond: 1_000, burst: 200_000)
        case .operator, .service: Allowance(perSecond: 100, burst: 1_000)
        }
    }

    /// Messages of a class; `nil`: as many as come.
    public func messages(_ topic: TopicClass) -> Allowance? {
        guard factor > 0, kind != .service else { return nil }
        let allowance: Allowance? =
            switch (topic, kind) {
            case (.unmetered, _): nil
            case (.heartbeat, .gateway):
                Allowance(perSecond: min(200 + 10 * agents, 5_000), burst: min(1_000 + 20 * agents, 20_000))
            case (.heartbeat, _): Allowance(perSecond: 200, burst: 1_000)
            case (.heartbeats, _): Allowance(perSecond: 50, burst: 200)
            case (.status, _): Allowance(perSecond: 5, burst: 50)
            case (.request, _): Allowance(perSecond: min(20 + agents / 10, 2_000), burst: 64 + 2 * agents)
            case (.command, _): Allowance(perSecond: 1_000, burst: 1_000)
            }
        return allowance?.times(factor)
    }

    /// Their bytes.
    public func bytes(_ topic: TopicClass) -> Allowance? {
        guard factor > 0, kind != .service else { return nil }
        let (kilobyte, megabyte) = (1 << 10, 1 << 20)
        let allowance: Allowance? =
            switch topic {
            case .unmetered: nil
            case .heartbeat:
                Allowance(
                    perSecond: min(megabyte + agents * kilobyte, 8 * megabyte),
                    burst: min(4 * megabyte + agents * 4 * kilobyte, 64 * megabyte))
            case .heartbeats:
                Allowance(
                    perSecond: min(64 * kilobyte + agents * 256, 8 * megabyte),
                    burst: min(megabyte + agents * kilobyte, 64 * megabyte))
            case .status, .request: Allowance(perSecond: 256 * kilobyte, burst: 4 * megabyte)
            case .command: Allowance(perSecond: 8 * megabyte, burst: 128 * megabyte)
            }
        return allowance?.times(factor)
    }
}
