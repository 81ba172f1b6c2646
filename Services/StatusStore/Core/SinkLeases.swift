internal import Model
internal import Storage
internal import Wire

/// Which process serves each sink of alerts: one at a time, so that its messages come once and in their order. A pure value.
///
/// A restart of this store forgets them: for a moment two processes may serve a sink. What is delivered twice has the same id.
struct SinkLeases {
    /// Whoever has not asked for so long serves no more.
    static let lifetime = TimeSpan.seconds(5)
    private static let leasesMax = 1_000

    private var leases: [String: (holder: String, until: Instant)] = [:]

    /// Behind which event a sink goes on; `nil` while another one than the asker serves it.
    mutating func position(
        _ question: EventQuestion, of sink: String, asker: String, last: Int64, _ database: any StatusDatabase,
        now: Instant
    ) throws(StorageError) -> Int64? {
        leases = leases.filter { now < $0.value.until }
        if let lease = leases[sink], lease.holder != asker { return nil }
        guard leases[sink] != nil || leases.count < SinkLeases.leasesMax else { return nil }
        if let delivered = question.delivered { try database.note(alertPosition: delivered, of: sink) }
        leases[sink] = (asker, now + SinkLeases.lifetime)
        if let after = question.after { return after }
        if let kept = try database.alertPosition(of: sink), kept <= last { return kept }
        // A new sink is told what comes from now on; so is one that knows more than this database, which is an older copy.
        try database.note(alertPosition: last, of: sink)
        return last
    }
}
