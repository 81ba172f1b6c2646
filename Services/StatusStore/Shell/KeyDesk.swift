internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Keeps idempotency keys for the requests that claim them: those of a turn in one transaction, answered behind it.
final class KeyDesk {
    /// Claims that one transaction takes: what is left waits for the next turn.
    private static let claimsMax = 1_000
    /// Claims that may wait; what comes beyond it is claimed again by its provisioner.
    private static let waitingMax = 10_000

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private let keeping: KeepingClock
    private var waiting: [KeyClaim] = []

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase, _ keeping: KeepingClock) {
        self.runtime = runtime
        self.database = database
        self.keeping = keeping
    }

    func received(_ payload: [UInt8]) {
        guard waiting.count < KeyDesk.waitingMax else { return }
        do {
            waiting.append(try JSON.decode(KeyClaim.self, from: payload))
        } catch {
            let (member, detail) = JSON.describe(error)
            runtime.log.event("store.claim_unreadable", .error, ["error": LogValue("\(member): \(detail)")])
        }
    }

    /// Whoever waits for an answer claims again.
    func disconnected() {
        waiting.removeAll()
    }

    /// - Throws: when nothing was claimed; then nobody is answered, and the claims come again.
    func pump(on connection: Connection) throws(StorageError) {
        guard !waiting.isEmpty else { return }
        let claims = Array(waiting.prefix(KeyDesk.claimsMax))
        waiting.removeFirst(claims.count)
        if !waiting.isEmpty { runtime.loop.after(.zero) {} }
        let holders = try database.claim(claims, now: keeping.stamp(at: runtime.loop.now))
        for (claim, holder) in zip(claims, holders) {
            let message = ProvisionerMessage.claimed(requestID: claim.requestID, digest: holder)
            // Lost with the connection: the provisioner claims again.
            _ = try? connection.publish(
                Publication(topic: runtime.topics.answers(instance: claim.provisioner), payload: JSON.bytes(message)))
        }
    }
}
