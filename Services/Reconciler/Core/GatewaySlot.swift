internal import API
internal import Lifecycle
internal import Model

/// One gateway of the partition, with the agents behind it.
struct GatewaySlot: Sendable {
    var state: GatewayState
    /// The slots of its agents, by agent id.
    var agents: [PackedIdentifier: Int] = [:]
    var pace: WakeLimiter
    /// What its status topic said last; while suspended it waits here.
    var heard: GatewayState.Connection?
    /// The incarnation that was heard of last.
    var heardBootID: String?
    /// When it last said that it is connected: it has subscribed by then.
    var connectedAt: Instant?
    /// Since when it was away before its newest return; `nil` when that was not heard of.
    var awaySince: Instant?
    /// Whether its newest return was the beginning of another incarnation.
    var hasBegunAnew = false
    /// Whether the broker has said in this session what it keeps of the gateway.
    var isConfirmed = false
    /// When it is no longer believed to be connected.
    var confirmBy: Instant?
    /// When an event of it was told last, and how many were left out since.
    var toldAt: Instant?
    var leftOut = 0
    /// A wake of one of its agents has reached nobody since it was told of its return.
    var hasUnheardWakes = false
    /// All its agents are being deleted, and then it.
    var isLeaving = false
    var lostHeartbeats: Int64 = 0
    var repeatedHeartbeats: Int64 = 0

    init(state: GatewayState, rate: Rate) {
        self.state = state
        heardBootID = state.bootID
        pace = WakeLimiter(rate: rate)
    }

    /// How often it has returned; `nil` while it is not connected.
    var hostReturn: Int? { state.connection == .connected ? state.returns ?? 0 : nil }

    /// It is heard that it is gone.
    mutating func leave(_ connection: GatewayState.Connection, _ now: Instant) {
        if heard != .lost, heard != .stopped { awaySince = now }
        heard = connection
    }

    /// What is told of its connection.
    var event: GatewayEvent? {
        switch state.connection {
        case .connected: .gatewayConnected
        case .lost: .gatewayLost
        case .stopped: .gatewayStopped
        case .never: nil
        }
    }
}
