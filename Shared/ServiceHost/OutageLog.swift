/// What an outage of the broker was logged with: once for each reason, of which a long one may bring new ones, as a broker that
/// comes back with a certificate that has ended.
public struct OutageLog: Hashable, Sendable {
    /// Reasons of one outage; more are not logged.
    static let reasonsMax = 8

    private var reasons: Set<String> = []

    public init() {}

    /// Whether something of this outage was logged.
    public var isLogged: Bool { !reasons.isEmpty }

    /// Whether a reason is to be logged.
    public mutating func takes(_ reason: String) -> Bool {
        reasons.count < OutageLog.reasonsMax && reasons.insert(reason).inserted
    }
}
