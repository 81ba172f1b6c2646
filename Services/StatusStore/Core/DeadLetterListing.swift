internal import API
internal import Storage

extension DeadLetterReport {
    /// What of an error is told; all of it lies in the database.
    private static let errorLengthMax = 200

    /// `nil` when none is kept.
    static func of(total: Int, kept: Int, newest: [StoredDeadLetter]) -> DeadLetterReport? {
        guard kept > 0 else { return nil }
        return DeadLetterReport(
            total: total, kept: kept,
            newest: newest.map { letter in
                Letter(
                    number: letter.number, at: letter.at, stream: letter.stream, seq: letter.seq,
                    error: String(letter.error.prefix(errorLengthMax)))
            })
    }
}
