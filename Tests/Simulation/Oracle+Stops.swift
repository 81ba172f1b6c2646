import Model
import Wire

// What services keep in hand, and what they leave behind when they say that they have handed over all of it.
extension Oracle {
    // MARK: Ingests

    /// Bytes of batches: what a turn hands over at most.
    private static let readBeforePause = 10_000
    /// A process may stand still for nearly a second before a turn and within it, and looks every 200 ms.
    private static let turns: Int64 = 2_500_000
    private static let unreadMax = IngestProcess.pauseLimit + turns
    private static let unacknowledgedMax = IngestProcess.acknowledgementLimit + turns

    /// An ingest keeps no more than it may, but for what it read before it stopped reading.
    func ingestHolds(_ bytes: Int, of bytesMax: Int, by ingest: IngestProcess) {
        guard bytes > bytesMax + Oracle.readBeforePause else { return }
        violate("\(ingest.name) keeps \(bytes) bytes")
    }

    /// What it reads is no older than it says, and it reads only while owners can know of it.
    func ingestReads(_ ingest: IngestProcess, unread: Int64, unacknowledged: Int64) {
        if unread > Oracle.unreadMax { violate("\(ingest.name) reads what lay unread for \(unread / 1_000) ms") }
        guard unacknowledged > Oracle.unacknowledgedMax else { return }
        violate("\(ingest.name) receives, and was not acknowledged for \(unacknowledged / 1_000) ms")
    }

    /// The answer to a barrier names the batches of all that was read before its canary.
    func ingestAnswers(_ ingest: IngestProcess, received: Int, sent: Int) {
        if received != sent { violate("\(ingest.name) answers a barrier and keeps \(received - sent) heartbeats") }
    }

    /// Who hands over what it has asks for nothing more.
    func subscribes(_ process: Process, isDraining: Bool) {
        if isDraining { violate("\(process.name) is to stop and asks for more") }
    }

    func ingestStopped(_ ingest: IngestProcess, received: Int, sent: Int, unacknowledgedBytes: Int) {
        let unread = ingest.subscription.session.flatMap { handovers.heartbeats[$0.number] } ?? 0
        if unread > 0 { violate("\(ingest.name) has stopped and not read \(unread) heartbeats") }
        if received != sent { violate("\(ingest.name) has stopped and handed over \(sent) heartbeats of \(received)") }
        guard unacknowledgedBytes > 0 else { return }
        violate("\(ingest.name) has stopped and what it has sent has no acknowledgement")
    }

    // MARK: Provisioners

    /// Requests on their way when there was room for one, and the reports of every agent's order.
    private static let keptBeside = 40

    func provisionerKeeps(_ frames: Int, of framesMax: Int, by provisioner: ProvisionerProcess) {
        guard frames > framesMax + Oracle.keptBeside else { return }
        violate("\(provisioner.name) keeps \(frames) frames")
    }

    // MARK: Reconcilers

    /// What time brings waits until the store takes what there is.
    func sliceBegan(by reconciler: ReconcilerProcess, stuckFor: TimeSpan?) {
        guard let stuckFor, stuckFor.milliseconds > ReconcilerProcess.lagMax else { return }
        violate("\(reconciler.name) begins more though nothing was committed for \(stuckFor.milliseconds) ms")
    }

    func reconcilerStopped(_ reconciler: ReconcilerProcess, owning owners: [String]) {
        guard let owner = owners.first(where: { uncommitted[$0] ?? 0 > 0 }) else { return }
        violate("\(reconciler.name) has stopped and \(uncommitted[owner] ?? 0) entries of \(owner) are not committed")
    }

    // MARK: The store

    func storeStopped(_ store: StoreProcess) {
        if !store.hasPublishedAll { violate("\(store.name) has stopped and not published all that is committed") }
    }
}
