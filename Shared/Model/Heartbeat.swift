/// What an agent says of itself in a heartbeat.
public enum HeartbeatStatus: String, Codable, CaseIterable, Sendable {
    /// Alive and working. The default.
    case ok
    /// Alive, working with less than all it needs.
    case degraded
    /// Alive but not ready: no check-in, more time.
    case starting
    /// Its host is there, it does not run: no sign of life.
    case waiting
    /// It ends: a goodbye, or a crash when it has an exit status.
    case stopping
    /// Its Last Will: the connection broke.
    case lost
}

/// Why an agent ends.
public enum StoppingReason: String, Codable, CaseIterable, Sendable {
    /// It has done what it was there for. The default.
    case finished
    /// Its host ends, and starts it again when it returns.
    case hostStopping = "host_stopping"
}

/// One heartbeat as its owner judges it: form has been checked, standing has not.
public struct Heartbeat: Hashable, Sendable {
    public var status = HeartbeatStatus.ok
    /// With `stopping`.
    public var reason: StoppingReason?
    /// With `stopping`: 0 to 255, 128 + signal. Another one than 0 is a crash.
    public var exitStatus: Int?
    /// With `starting`: how much more time is asked for.
    public var extend: DurationText?
    /// The generation and attempt of the wake it answers, when it says so.
    public var generation: Int?
    public var attempt: Int?
    public var bootID: String?
    public var seq: Int64?
    public var templatesDigest: String?
    public var note: String?
    /// SHA-256 of the token it carried, in hexadecimal.
    public var tokenDigest: String?
    /// When heartbeat-ingest received it, on the owner's monotonic clock and on the wall clock.
    public var receivedAt: Instant
    public var receivedWallTime: Timestamp
    /// Names who received it, 0 for nobody: what came by one ingest counts in its order, whatever the clocks say.
    public var ingest = 0

    public init(receivedAt: Instant, receivedWallTime: Timestamp) {
        self.receivedAt = receivedAt
        self.receivedWallTime = receivedWallTime
    }
}

/// The events of an agent's life, as operators read them.
public enum LifecycleEvent: String, Codable, CaseIterable, Sendable {
    case provisioning, updating, woken, online, retriggered, offline, lapsed, changed
    case provisionFailed = "provision_failed"
    case deleting, deleted, paused, resumed
    case heartbeatRejected = "heartbeat_rejected"
    case tokenRotated = "token_rotated"
    case templatesSynced = "templates_synced"
}

/// The events of a gateway.
public enum GatewayEvent: String, Codable, CaseIterable, Sendable {
    case gatewayLost = "gateway_lost"
    case gatewayConnected = "gateway_connected"
    case gatewayStopped = "gateway_stopped"
}

/// Why an agent is offline.
public enum OfflineReason: String, Codable, CaseIterable, Sendable {
    case checkinMissed = "checkin_missed"
    case lapsed, goodbye
    /// It was provisioned without a wake.
    case neverWoken = "never_woken"
}
