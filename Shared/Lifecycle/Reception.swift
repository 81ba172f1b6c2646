internal import Model

/// When something was heard, and by which ingest.
struct Reception: Hashable, Sendable {
    let at: Instant
    let ingest: Int

    init(at: Instant, ingest: Int = 0) {
        self.at = at
        self.ingest = ingest
    }

    init(of heartbeat: Heartbeat) {
        self.init(at: heartbeat.receivedAt, ingest: heartbeat.ingest)
    }

    /// Whether a heartbeat that is judged now was received after this: what came by one ingest is judged in its order. Of two
    /// ingests it must have come later by `margin`; a negative one is what may be missing.
    func isBefore(_ heartbeat: Heartbeat, atLeast margin: TimeSpan) -> Bool {
        if ingest != 0, ingest == heartbeat.ingest { return true }
        return heartbeat.receivedAt >= at + margin
    }
}

/// Why an agent that is online is asked for, and since when.
struct Loss: Hashable, Sendable {
    let at: Reception
    /// The reason of the lapse that follows when it does not come.
    let reason: String
}
