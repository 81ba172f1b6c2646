public import API
public import Bus
public import Model

/// What a service does with its connection. All calls come on the one thread that runs the service.
public protocol Service: AnyObject {
    /// Called once, before the first connection.
    func start(_ runtime: ServiceRuntime) throws(ServiceFailure)
    /// A new session: subscribe.
    func connected(_ connection: Connection)
    func subscribed(refused: [String])
    func received(_ delivery: Delivery)
    func published(_ ticket: Int, reason: UInt8)
    func disconnected()
    /// The end of a turn: commit and publish for everything that was received in it.
    func turnEnded(now: Instant)
    func stalled(_ length: TimeSpan)
    /// What else presence says.
    func describe(_ presence: inout Presence)
    /// The service is to stop: take nothing new. Asked again each turn until all is handed over, at most 4 s.
    func isDrained() -> Bool
    /// The administrator asks for what lies in files to be read again (SIGHUP).
    func reload()
    func ended()  // the last call: whatever is open is to be closed
    /// What its administrator is told of it.
    var metrics: [Metric] { get }
    /// Heartbeats that it has received or accepted, for benchmarks.
    var heartbeats: Int64 { get }
}

extension Service {
    public func subscribed(refused: [String]) {}
    public func published(_ ticket: Int, reason: UInt8) {}
    public func disconnected() {}
    public func stalled(_ length: TimeSpan) {}
    public func describe(_ presence: inout Presence) {}
    public func isDrained() -> Bool { true }
    public func reload() {}
    public func ended() {}
    public var metrics: [Metric] { [] }
    public var heartbeats: Int64 { 0 }
}
