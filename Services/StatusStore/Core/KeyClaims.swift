internal import Model
internal import Storage
internal import Wire

/// Keeps idempotency keys for the requests that claim them: those of a turn in one transaction, answered behind it. A pure
/// value.
struct KeyClaims {
    /// Claims that one transaction takes: what is left waits for the next turn.
    private static let claimsMax = 1_000
    /// Claims that may wait; what comes beyond it is claimed again by its provisioner.
    private static let waitingMax = 10_000

    private var waiting: [KeyClaim] = []
    /// Committed and not answered, each with whose key it is.
    private var kept: [(claim: KeyClaim, holder: String)] = []

    /// Whether a turn is wanted at once.
    var hasMore: Bool { !waiting.isEmpty }

    mutating func received(_ claim: KeyClaim) {
        if waiting.count < KeyClaims.waitingMax { waiting.append(claim) }
    }

    /// Whoever waits for an answer claims again.
    mutating func disconnected() {
        waiting = []
        kept = []
    }

    /// - Parameter keptSince: the time of what is kept for a time.
    /// - Throws: when nothing was claimed; then nobody is answered, and the claims come again.
    mutating func commit(_ database: any StatusDatabase, keptSince: Timestamp) throws(StorageError) {
        guard !waiting.isEmpty else { return }
        let claims = Array(waiting.prefix(KeyClaims.claimsMax))
        waiting.removeFirst(claims.count)
        for (claim, holder) in zip(claims, try database.claim(claims, now: keptSince)) { kept.append((claim, holder)) }
    }

    mutating func answer(_ output: inout StoreOutput) {
        for (claim, holder) in kept {
            let message = ProvisionerMessage.claimed(requestID: claim.requestID, digest: holder)
            // Lost with the connection: the provisioner claims again.
            output.publish(.answer(Carried(message), provisioner: claim.provisioner))
        }
        kept = []
    }
}
