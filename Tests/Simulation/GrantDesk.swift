import Contract
import Lifecycle
import StatusStoreCore
import Streams

/// Gives partitions to the reconcilers that live, as `GrantDelivery` does.
final class GrantDesk {
    private struct Recipient {
        let instance: String
        let incarnation: String
        var sender: StreamSender<ReconcilerMessage>
        /// The last chunk of each grant that is under way.
        var completing: [Int: (partition: Int, epoch: Int)] = [:]
        var announcedAt = Instant(nanoseconds: 0)
    }

    private unowned let store: StoreProcess
    private var members = Membership(of: .reconciler)
    private var assignment: PartitionAssignment
    private var recipients: [Recipient] = []
    private var streamNumber = 0
    private var decideAt = Instant(nanoseconds: 0)

    init(_ store: StoreProcess) {
        self.store = store
        var table: [Int: PartitionAssignment.Owner] = [:]
        for (partition, owner) in store.database.owners {
            table[partition] = .init(epoch: owner.epoch, instance: owner.instance, incarnation: owner.incarnation)
        }
        assignment = PartitionAssignment(
            partitionCount: store.database.partitionCount, owners: table, now: store.now)
    }

    func connected() {
        members.connected(now: store.now)
        for index in recipients.indices { publish(recipients[index].sender.resendAll(now: store.now), index) }
    }

    func heard(_ presence: Presence, isRetained: Bool) {
        members.heard(presence, isRetained: isRetained, now: store.now)
        guard presence.service == ServiceName.reconciler.rawValue else { return }
        assignment.heard(presence.instance, among: members, now: store.now)
        decideAt = store.now
    }

    func refused(_ frame: DatabaseModel.Received) {
        if store.world.isBroken(.refusedOwnersReload) { return }
        guard members.live(now: store.now)[frame.id.instance]?.incarnation == frame.id.incarnation else { return }
        let claim = PartitionAssignment.Claim(
            partition: frame.frame.partition, epoch: frame.frame.epoch, instance: frame.id.instance,
            incarnation: frame.id.incarnation)
        if assignment.isToBeTold(claim, now: store.now) { revoke(claim) }
    }

    func received(_ receipt: StreamReceipt) {
        guard let index = recipients.firstIndex(where: { $0.sender.id == receipt.id }) else { return }
        let frames = recipients[index].sender.receive(receipt, now: store.now)
        for (seq, grant) in recipients[index].completing.sorted(by: { $0.key < $1.key }) where seq <= receipt.upTo {
            recipients[index].completing[seq] = nil
            assignment.receipted(grant.partition, epoch: grant.epoch, now: store.now)
        }
        publish(frames, index)
    }

    func pump() {
        let now = store.now
        guard now >= decideAt else { return }
        decideAt = now + TimeSpan(milliseconds: 250)
        let live = members.live(now: now)
        for recipient in recipients where live[recipient.instance]?.incarnation != recipient.incarnation {
            for (_, grant) in recipient.completing.sorted(by: { $0.key < $1.key }) {
                assignment.receipted(grant.partition, epoch: grant.epoch, now: now)
            }
        }
        recipients.removeAll { live[$0.instance]?.incarnation != $0.incarnation }
        for directive in assignment.decide(members, now: now) {
            switch directive {
            case .revoke(let claim):
                let isOwners = assignment.owner(of: claim.partition)?.epoch == claim.epoch
                let isToldByClaim = ![.staleClaimsEnd, .refusedOwnersReload].contains(where: store.world.isBroken)
                if isOwners || isToldByClaim { revoke(claim) }
            case .grant(let partition, let instance, let incarnation):
                if store.world.isBroken(.grantsFollowPresence), assignment.owner(of: partition)?.instance == instance {
                    continue
                }
                grant(partition, to: instance, incarnation)
            }
        }
    }

    func tick() {
        for index in recipients.indices {
            var frames = recipients[index].sender.due(now: store.now)
            if frames.isEmpty, store.now.milliseconds(since: recipients[index].announcedAt) >= 1_000,
                let announcement = recipients[index].sender.announcement()
            {
                recipients[index].announcedAt = store.now
                frames = [announcement]
            }
            publish(frames, index)
        }
    }

    // MARK: Inside

    private func grant(_ partition: Int, to instance: String, _ incarnation: String) {
        let all = store.database.grant(
            partition, instance: instance, incarnation: incarnation, above: assignment.highestClaim(of: partition),
            store.world)
        store.world.note("store grants \(partition) under \(all.epoch) to \(incarnation)")
        assignment.granted(partition, to: .init(epoch: all.epoch, instance: instance, incarnation: incarnation))
        // In two chunks: what is not an agent, and the agents.
        let halves = all.agents.isEmpty ? 1 : 2
        for index in 0..<halves {
            var chunk = GrantChunk(
                partition: partition, epoch: all.epoch, incarnation: incarnation, index: index,
                isLast: index == halves - 1)
            if index == 0 {
                chunk.tombstones = all.tombstones
                chunk.gateways = all.gateways
                chunk.boardPauses = all.boardPauses
                chunk.requests = all.requests
            } else {
                chunk.agents = all.agents
            }
            enqueue(
                .grant(chunk), to: instance, incarnation,
                completes: index == halves - 1 ? (partition, all.epoch) : nil)
        }
    }

    private func revoke(_ claim: PartitionAssignment.Claim) {
        assignment.revoked(claim, now: store.now)
        enqueue(.revoke(partition: claim.partition, epoch: claim.epoch), to: claim.instance, claim.incarnation)
    }

    private func enqueue(
        _ message: ReconcilerMessage, to instance: String, _ incarnation: String,
        completes: (partition: Int, epoch: Int)? = nil
    ) {
        if !recipients.contains(where: { $0.instance == instance && $0.incarnation == incarnation }) {
            recipients.removeAll { $0.instance == instance }
            streamNumber += 1
            let id = StreamID(
                service: store.service.rawValue, instance: store.instance, incarnation: store.incarnation,
                stream: "grants-\(streamNumber)")
            recipients.append(Recipient(instance: instance, incarnation: incarnation, sender: StreamSender(id)))
        }
        guard let index = recipients.firstIndex(where: { $0.instance == instance }) else { return }
        let frame = recipients[index].sender.send(message, now: store.now)
        if let completes { recipients[index].completing[recipients[index].sender.highestSeq] = completes }
        if let frame { publish([frame], index) }
    }

    private func publish(_ frames: [StreamFrame<ReconcilerMessage>], _ index: Int) {
        let destination = StreamDestination.reconciler(recipients[index].instance)
        store.publish(frames.map { .init(destination: destination, frame: $0) }) { .reconciler($0) }
    }
}
