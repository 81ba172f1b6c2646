internal import API
internal import Model
internal import Wire

// A key belongs to one request, wherever that one's owner is: the store keeps it before the request is forwarded.
extension CommandHandler {
    func claim(_ use: Use, _ directives: inout [Directive]) {
        directives.append(.claim(KeyClaim(requestID: use.id, digest: use.digest, provisioner: instance)))
    }

    /// A claim, or its answer, may have been lost.
    mutating func claimAgain(_ now: Instant, _ directives: inout [Directive]) {
        claiming.removeAll { pending[$0]?.isClaimed ?? true }
        for use in claiming {
            guard let claimedAt = pending[use]?.forwardedAt,
                now.milliseconds(since: claimedAt) >= CommandHandler.forwardAgainAfter.milliseconds
            else { continue }
            pending[use]?.forwardedAt = now
            claim(use, &directives)
        }
    }

    /// The request that has the key is forwarded; every other one is a conflict.
    mutating func claimed(
        _ requestID: String, by holder: String, _ now: Instant, _ directives: inout [Directive]
    ) {
        for digest in digests[requestID] ?? [] {
            let use = Use(id: requestID, digest: digest)
            guard var request = pending[use], request.isKeyed, !request.isClaimed else { continue }
            guard digest == holder else {
                let problem = Problem(.conflict, "the idempotency key was used for another request")
                finish(use, .failure(problem), minted: false, &directives)
                continue
            }
            request.isClaimed = true
            request.forwardedAt = now
            pending[use] = request
            forward(requestID, request, &directives)
        }
    }
}
