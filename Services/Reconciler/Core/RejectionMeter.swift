internal import Model

/// How many rejections of a gateway's agents, known or not, are told as events: so many a second. The others are counted.
struct RejectionMeter: Sendable {
    static let toldMax = 100
    static let interval = TimeSpan.seconds(1)

    private var begun: Instant?
    private var told: [String: Int] = [:]

    /// Whether one more may be told.
    func mayTell(_ gateway: String, _ now: Instant) -> Bool {
        guard let begun, now < begun + RejectionMeter.interval else { return true }
        return told[gateway, default: 0] < RejectionMeter.toldMax
    }

    mutating func noteTold(_ gateway: String, _ now: Instant) {
        if begun.map({ now >= $0 + RejectionMeter.interval }) ?? true {
            begun = now
            told = [:]
        }
        told[gateway, default: 0] += 1
    }
}
