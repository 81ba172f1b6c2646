internal import API
internal import Doctor
internal import Model

/// The services as they announce themselves: a pure value.
struct Presences {
    /// By `SERVICE/INSTANCE`, each with when it was heard last.
    private var heard: [String: (presence: Presence, at: Instant)] = [:]
    /// How many milliseconds the clock of each was ahead of ours at its newest word.
    private(set) var clocks: [String: Int64] = [:]
    /// Outlives the connection: who starts again and again may be why it broke.
    private(set) var incarnations = Incarnations()

    /// By name.
    var all: [Presence] { heard.sorted { $0.key < $1.key }.map(\.value.presence) }

    mutating func received(_ presence: Presence, now: Instant, wallTime: Timestamp) {
        clocks[presence.name] = presence.time.map { $0.millisecondsSince1970 - wallTime.millisecondsSince1970 }
        heard[presence.name] = (presence, now)
        incarnations.heard(presence, now: now)
    }

    mutating func cleared(_ name: String) { heard[name] = nil }

    mutating func disconnected() { (heard, clocks) = ([:], [:]) }

    /// Who runs says so again and again: the broker forgets who does not, and so does this.
    mutating func ticked(now: Instant) {
        let silence = TimeSpan.seconds(Int64(Presence.expirySeconds))
        heard = heard.filter { $0.value.presence.state != .running || now < $0.value.at + silence }
        incarnations.ticked(now: now)
    }
}
