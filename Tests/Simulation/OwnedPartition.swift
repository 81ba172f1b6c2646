import Contract
import Lifecycle
import ReconcilerCore
import Streams

extension ReconcilerProcess {
    /// A partition that a reconciler owns, or is being given.
    final class Owned {
        var owner: PartitionOwner
        let epoch: Int
        var ledger = CommitLedger()
        var inlet = StreamReceiver()
        /// The next chunk of the snapshot; `nil` once it is complete.
        var nextChunk: Int? = 0
        /// The newest order of each agent, and the one it repeats: for the rules that are switched off.
        var newestOrder: [AgentAddress: WakeOrder] = [:]
        var repeatedIssues: Set<Int> = []
        var hadSight = false
        /// Whether the newest input has caused entries.
        var hasCaused = false
        /// Last Wills that came while blind.
        var wills: [HeartbeatDetail] = []

        init(_ owner: PartitionOwner, _ epoch: Int) {
            self.owner = owner
            self.epoch = epoch
        }

        var stream: String { "events/\(owner.partition)/\(epoch)" }
        var isComplete: Bool { nextChunk == nil }
        /// Names this ownership.
        var key: String { "\(owner.partition).\(epoch)" }
    }
}
