internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Gives partitions to the reconcilers that live, and keeps sending each grant until it is receipted.
final class GrantDelivery {
    /// Chunks without a receipt at once, for one reconciler: the rest waits here.
    private static let chunksMax = 8
    /// How long a turn grants: what is left is decided again in the next one.
    private static let grantLimit = TimeSpan(milliseconds: 200)
    private static let decideEvery = TimeSpan(milliseconds: 250)
    /// The same sender is told of the same refusal at most so often.
    private static let revokeAgainAfter = TimeSpan(milliseconds: 500)

    /// Stands for a message that is kept as JSON beside its stream.
    private struct Reference: Codable, Sendable {}

    private struct Message {
        let body: [UInt8]
        /// Of the last chunk of a grant: which partition is received with it.
        var completes: (partition: Int, epoch: Int)?
    }

    /// One life of one reconciler.
    private struct Recipient {
        let incarnation: String
        var sender: StreamSender<Reference>
        var sent: [Int: Message] = [:]
        var waiting: [Message] = []
        var announcedAt = Instant(nanoseconds: 0)
    }

    private struct Refusal: Hashable {
        let instance: String
        let incarnation: String
        let partition: Int
        let epoch: Int
    }

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var members = Membership(of: .reconciler)
    private var assignment: PartitionAssignment
    private var recipients: [String: Recipient] = [:]
    private var streamNumber = 0
    private var decideAt = Instant(nanoseconds: 0)
    private var toldAt: [Refusal: Instant] = [:]

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase, owners: [PartitionOwner]) {
        self.runtime = runtime
        self.database = database
        var table: [Int: PartitionAssignment.Owner] = [:]
        for owner in owners {
            table[owner.partition] = .init(epoch: owner.epoch, instance: owner.instance, incarnation: owner.incarnation)
        }
        assignment = PartitionAssignment(partitionCount: database.partitionCount, owners: table, now: Clock.now())
    }

    func connected(_ connection: Connection, now: Instant) {
        members.connected(now: now)
        for (instance, recipient) in recipients {
            let frames = recipients[instance]?.sender.resendAll(now: now) ?? []
            publish(frames, of: recipient, to: instance, on: connection)
        }
    }

    func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        members.heard(presence, isRetained: isRetained, now: now)
        if presence.service == ServiceName.reconciler.rawValue { decideAt = now }
    }

    /// A reconciler has sent under an old epoch, or what it does not own.
    func refused(_ frame: ReceivedFrame, now: Instant) {
        // A life that is over has nobody to tell, and its successor's grants must not be given up for it.
        guard members.live(now: now)[frame.stream.instance]?.incarnation == frame.stream.incarnation else { return }
        let refusal = Refusal(
            instance: frame.stream.instance, incarnation: frame.stream.incarnation, partition: frame.frame.partition,
            epoch: frame.frame.epoch)
        let wasTold = toldAt[refusal].map {
            now.milliseconds(since: $0) < GrantDelivery.revokeAgainAfter.milliseconds
        }
        guard wasTold != true else { return }
        if toldAt.count > 10_000 { toldAt.removeAll() }
        toldAt[refusal] = now
        runtime.log.event(
            "store.frame_refused", .warning,
            [
                "reconciler": LogValue(refusal.instance), "partition": LogValue(refusal.partition),
                "epoch": LogValue(refusal.epoch),
            ])
        revoke(refusal.partition, epoch: refusal.epoch, of: refusal.instance, incarnation: refusal.incarnation)
    }

    func received(_ receipt: StreamReceipt, on connection: Connection, now: Instant) -> Bool {
        guard let (instance, recipient) = recipients.first(where: { $0.value.sender.id == receipt.id }) else {
            return false
        }
        let frames = recipients[instance]?.sender.receive(receipt, now: now) ?? []
        for (seq, message) in recipient.sent where seq <= receipt.upTo {
            recipients[instance]?.sent[seq] = nil
            if let (partition, epoch) = message.completes {
                assignment.receipted(partition, epoch: epoch, now: now)
                runtime.log.event("store.grant_received", .debug, ["partition": LogValue(partition)])
            }
        }
        publish(frames, of: recipient, to: instance, on: connection)
        return true
    }

    /// Grants what is due and sends what is ready.
    func pump(on connection: Connection, now: Instant) throws(StorageError) {
        guard connection.isConnected else { return }
        if now >= decideAt {
            decideAt = now + GrantDelivery.decideEvery
            try decide(now)
        }
        for instance in recipients.keys { send(to: instance, on: connection, now: now) }
    }

    /// Repeats what waited too long. Called every 200 ms.
    func tick(on connection: Connection, now: Instant) {
        for (instance, recipient) in recipients {
            var frames = recipients[instance]?.sender.due(now: now) ?? []
            if frames.isEmpty, now.milliseconds(since: recipient.announcedAt) >= 1_000,
                let announcement = recipient.sender.announcement()
            {
                recipients[instance]?.announcedAt = now
                frames = [announcement]
            }
            publish(frames, of: recipient, to: instance, on: connection)
        }
    }

    // MARK: Inside

    private func decide(_ now: Instant) throws(StorageError) {
        let live = members.live(now: now)
        for (instance, recipient) in recipients
        where live[instance]?.incarnation != recipient.incarnation && recipient.waiting.isEmpty {
            // What it did not receipt is given up: should it return, its presence shows what it lacks.
            for case (let partition, let epoch)? in recipient.sent.values.map(\.completes) {
                assignment.receipted(partition, epoch: epoch, now: now)
            }
            recipients[instance] = nil
        }
        let end = Clock.now() + GrantDelivery.grantLimit
        for directive in assignment.decide(members, now: now) {
            switch directive {
            case .revoke(let partition, let epoch, let instance, let incarnation):
                revoke(partition, epoch: epoch, of: instance, incarnation: incarnation)
            case .grant(let partition, let instance, let incarnation):
                try grant(partition, to: instance, incarnation: incarnation)
                guard Clock.now() < end else {
                    decideAt = now
                    runtime.loop.after(.zero) {}
                    return
                }
            }
        }
    }

    private func grant(_ partition: Int, to instance: String, incarnation: String) throws(StorageError) {
        let snapshot = try database.grant(partition, instance: instance, incarnation: incarnation)
        assignment.granted(
            partition, to: .init(epoch: snapshot.epoch, instance: instance, incarnation: incarnation))
        var content = GrantChunks.Content()
        content.agents = snapshot.agents.map(\.bytes)
        content.tombstones = snapshot.tombstones
        for gateway in snapshot.gateways { content.gateways.append(try gateway.decoded()) }
        content.boardPauses = snapshot.boardPauses
        content.requests = snapshot.requests
        let bodies = GrantChunks.compose(
            partition: partition, epoch: snapshot.epoch, incarnation: incarnation, content)
        for (index, body) in bodies.enumerated() {
            let isLast = index == bodies.count - 1
            enqueue(
                Message(body: body, completes: isLast ? (partition, snapshot.epoch) : nil), to: instance,
                incarnation: incarnation)
        }
        runtime.log.event(
            "store.partition_granted", .debug,
            [
                "partition": LogValue(partition), "epoch": LogValue(snapshot.epoch), "reconciler": LogValue(instance),
                "agents": LogValue(snapshot.agents.count),
            ])
    }

    private func revoke(_ partition: Int, epoch: Int, of instance: String, incarnation: String) {
        let body = JSON.bytes(ReconcilerMessage.revoke(partition: partition, epoch: epoch))
        enqueue(Message(body: body), to: instance, incarnation: incarnation)
    }

    private func enqueue(_ message: Message, to instance: String, incarnation: String) {
        if recipients[instance]?.incarnation != incarnation {
            // A new life begins with a new stream: what the old one did not take is nobody's.
            streamNumber += 1
            let identifier = StreamID(
                service: runtime.name.rawValue, instance: runtime.instance, incarnation: runtime.incarnation,
                stream: "grants-\(streamNumber)")
            recipients[instance] = Recipient(incarnation: incarnation, sender: StreamSender(identifier))
        }
        recipients[instance]?.waiting.append(message)
    }

    private func send(to instance: String, on connection: Connection, now: Instant) {
        guard var recipient = recipients[instance], !recipient.waiting.isEmpty else { return }
        var frames: [StreamFrame<Reference>] = []
        while recipient.sender.keptCount < GrantDelivery.chunksMax, !recipient.waiting.isEmpty {
            let message = recipient.waiting.removeFirst()
            let frame = recipient.sender.send(Reference(), now: now)
            recipient.sent[recipient.sender.highestSeq] = message
            if let frame { frames.append(frame) }
        }
        recipients[instance] = recipient
        publish(frames, of: recipient, to: instance, on: connection)
    }

    private func publish(
        _ frames: [StreamFrame<Reference>], of recipient: Recipient, to instance: String, on connection: Connection
    ) {
        guard connection.isConnected else { return }
        let topic = runtime.topics.stream(to: .reconciler(instance))
        for frame in frames {
            let payload: [UInt8]
            if frame.body == nil {
                payload = JSON.bytes(frame)
            } else if let message = recipient.sent[frame.seq] {
                payload = RawFrame.compose(frame, body: message.body)
            } else {
                continue
            }
            // Kept until its receipt: a lost connection sends it again.
            _ = try? connection.publish(Publication(topic: topic, payload: payload))
        }
    }
}
