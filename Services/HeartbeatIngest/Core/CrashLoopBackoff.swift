public import Model

/// How the incarnations of one instance have ended lately, as it notes it for its next incarnation.
///
/// Each unclean end makes the reconcilers suspended for a moment. An ingest that keeps ending so would keep them suspended, so it
/// waits before it subscribes again: see `wait`. The note is retained by the broker, written before an incarnation subscribes and
/// taken back by a clean end. A broker that forgets it costs no more than a wait.
public struct CrashLoopBackoff: Codable, Hashable, Sendable {
    /// So many in `window` are nobody's fault.
    public static let toleratedMax = 2
    public static let window = TimeSpan.seconds(300)
    /// The wait for one more than is tolerated; it doubles with each further one, up to `waitMax`.
    public static let waitMin = TimeSpan.seconds(10)
    public static let waitMax = TimeSpan.seconds(300)
    /// Ends that are remembered: more make no difference.
    static let rememberedMax = 16

    /// An incarnation has begun and not ended cleanly.
    public private(set) var isRunning: Bool
    /// When incarnations ended, in milliseconds since 1970, oldest first.
    public private(set) var ends: [Int64]

    /// Begins an incarnation after what the one before has noted, if it has.
    public init(after note: CrashLoopBackoff?, now: Timestamp) {
        isRunning = true
        ends = note?.ends ?? []
        forgetOld(now)
        // When it ended nobody knows: it is noticed now.
        if note?.isRunning == true { add(now) }
    }

    /// This incarnation stood still for so long that its connections were given up: as good as an end.
    public mutating func stalled(now: Timestamp) {
        add(now)
    }

    /// What a clean end notes.
    public func ended() -> CrashLoopBackoff {
        var note = self
        note.isRunning = false
        return note
    }

    /// How long to wait from the newest end on before subscribing again.
    public func wait(now: Timestamp) -> TimeSpan {
        var recent = self
        recent.forgetOld(now)
        let excess = recent.ends.count - CrashLoopBackoff.toleratedMax
        guard excess > 0 else { return .zero }
        let doubled = CrashLoopBackoff.waitMin.milliseconds << Int64(excess - 1)
        return TimeSpan(milliseconds: min(doubled, CrashLoopBackoff.waitMax.milliseconds))
    }

    private mutating func add(_ now: Timestamp) {
        forgetOld(now)
        ends.append(now.millisecondsSince1970)
        if ends.count > CrashLoopBackoff.rememberedMax { ends.removeFirst() }
    }

    /// Whatever lies ahead was noted by a clock that was wrong, or is.
    private mutating func forgetOld(_ now: Timestamp) {
        let first = now.millisecondsSince1970 - CrashLoopBackoff.window.milliseconds
        ends.removeAll { $0 < first || $0 > now.millisecondsSince1970 }
    }
}
