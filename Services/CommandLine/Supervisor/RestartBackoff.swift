internal import Model

/// How long a child that ended waits for its next start.
struct RestartBackoff: Hashable, Sendable {
    static let shortest = TimeSpan(milliseconds: 200)
    static let longest = TimeSpan.seconds(5)
    /// A child that ran so long begins anew with the shortest pause.
    static let forgivenAfter = TimeSpan.seconds(30)

    private var next = RestartBackoff.shortest

    /// The pause after a run of this length; the next one is twice as long, up to `longest`.
    mutating func pause(afterRunning length: TimeSpan) -> TimeSpan {
        if length >= RestartBackoff.forgivenAfter { next = RestartBackoff.shortest }
        let pause = next
        next = TimeSpan(milliseconds: min(pause.milliseconds * 2, RestartBackoff.longest.milliseconds))
        return pause
    }
}
