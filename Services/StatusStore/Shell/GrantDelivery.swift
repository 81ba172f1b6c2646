internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage
internal import Streams

/// Gives partitions to the reconcilers that live, and keeps sending each grant until it is receipted.
final class GrantDelivery {
    /// Chunks without a receipt at once, for one reconciler: the rest waits here.
    private static let chunksMax = 8
    /// How long a turn grants, and reads what was granted: what is left waits for the next one.
    private static let grantLimit = TimeSpan(milliseconds: 100)
    private static let decideEvery = TimeSpan(milliseconds: 250)

    /// What waits to be sent to a reconciler.
    private enum Waiting {
        case message([UInt8])
        /// A grant of which chunks are left: each is read when it can go out.
        case grant(GrantChunks)
    }

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
        var waiting: [Waiting] = []
        var announcedAt = Instant(nanoseconds: 0)
    }

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var members = Membership(of: .reconciler)
    private var assignment: PartitionAssignment
    private var recipients: [String: Recipient] = [:]
    private var streamNumber = 0
    private var decideAt = Instant(nanoseconds: 0)

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
        guard presence.service == ServiceName.reconciler.rawValue else { return }
        assignment.heard(presence.instance, among: members, now: now)
        decideAt = now
    }

    /// A reconciler has sent under an old epoch, or what it does not own: it is told before its next presence would show
    /// it. One that has only part of a grant shows nothing.
    func refused(_ frame: ReceivedFrame, now: Instant) {
        // A life that is over has nobody to tell, and its successor's grants must not be given up for it.
        guard members.live(now: now)[frame.stream.instance]?.incarnation == frame.stream.incarnation else { return }
        let claim = PartitionAssignment.Claim(
            partition: frame.frame.partition, epoch: frame.frame.epoch, instance: frame.stream.instance,
            incarnation: frame.stream.incarnation)
        guard assignment.isToBeTold(claim, now: now) else { return }
        runtime.log.event(
            "store.frame_refused", .warning,
            [
                "reconciler": LogValue(claim.instance), "partition": LogValue(claim.partition),
                "epoch": LogValue(claim.epoch),
            ])
        revoke(claim, now)
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
        let end = Clock.now() + GrantDelivery.grantLimit
        for instance in recipients.keys.sorted() { try send(to: instance, on: connection, now: now, until: end) }
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
        where live[instance]?.incarnation != recipient.incarnation {
            // What it did not receipt is given up: should it return, its presence shows what it lacks.
            for case (let partition, let epoch)? in recipient.sent.values.map(\.completes) {
                assignment.receipted(partition, epoch: epoch, now: now)
            }
            for case .grant(let chunks) in recipient.waiting {
                assignment.receipted(chunks.partition, epoch: chunks.epoch, now: now)
            }
            recipients[instance] = nil
        }
        let end = Clock.now() + GrantDelivery.grantLimit
        for directive in assignment.decide(members, now: now) {
            switch directive {
            case .revoke(let claim): revoke(claim, now)
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
        let snapshot = try database.grant(
            partition, instance: instance, incarnation: incarnation, above: assignment.highestClaim(of: partition))
        assignment.granted(
            partition, to: .init(epoch: snapshot.epoch, instance: instance, incarnation: incarnation))
        var first: [GrantChunks.Item] = []
        do {
            for gateway in snapshot.gateways { first.append(.gateway(try gateway.decoded())) }
        } catch {
            return giveUpGrant(of: partition, epoch: snapshot.epoch, to: instance, error)
        }
        first += snapshot.boardPauses.map { .boardPause($0) } + snapshot.tombstones.map { .tombstone($0) }
        let chunks = GrantChunks(
            partition: partition, epoch: snapshot.epoch, incarnation: incarnation, first: first,
            requests: snapshot.requestPlaces, agents: snapshot.agentPlaces)
        enqueue(.grant(chunks), to: instance, incarnation: incarnation)
        runtime.log.event(
            "store.partition_granted", .debug,
            [
                "partition": LogValue(partition), "epoch": LogValue(snapshot.epoch), "reconciler": LogValue(instance),
                "agents": LogValue(snapshot.agentPlaces.count),
            ])
    }

    private func revoke(_ claim: PartitionAssignment.Claim, _ now: Instant) {
        assignment.revoked(claim, now: now)
        let body = JSON.bytes(ReconcilerMessage.revoke(partition: claim.partition, epoch: claim.epoch))
        enqueue(.message(body), to: claim.instance, incarnation: claim.incarnation)
    }

    private func enqueue(_ waiting: Waiting, to instance: String, incarnation: String) {
        if recipients[instance]?.incarnation != incarnation {
            // A new life begins with a new stream: what the old one did not take is nobody's.
            streamNumber += 1
            let identifier = StreamID(
                service: runtime.name.rawValue, instance: runtime.instance, incarnation: runtime.incarnation,
                stream: "grants-\(streamNumber)")
            recipients[instance] = Recipient(incarnation: incarnation, sender: StreamSender(identifier))
        }
        recipients[instance]?.waiting.append(waiting)
    }

    private func send(
        to instance: String, on connection: Connection, now: Instant, until end: Instant
    ) throws(StorageError) {
        var frames: [StreamFrame<Reference>] = []
        defer {
            if let recipient = recipients[instance] { publish(frames, of: recipient, to: instance, on: connection) }
        }
        while let recipient = recipients[instance], !recipient.waiting.isEmpty,
            recipient.sender.keptCount < GrantDelivery.chunksMax
        {
            guard Clock.now() < end else {
                runtime.loop.after(.zero) {}
                return
            }
            guard let message = try nextMessage(to: instance) else { continue }
            if let frame = recipients[instance]?.sender.send(Reference(), now: now) { frames.append(frame) }
            if let seq = recipients[instance]?.sender.highestSeq { recipients[instance]?.sent[seq] = message }
        }
    }

    /// A grant that cannot be read to its end is nobody's: the next one waits, and says so again.
    private func giveUpGrant(of partition: Int, epoch: Int, to instance: String, _ error: StorageError) {
        assignment.receipted(partition, epoch: epoch, now: Clock.now())
        runtime.log.event(
            "store.grant_unreadable", .error,
            ["partition": LogValue(partition), "reconciler": LogValue(instance), "error": LogValue(error)])
    }

    /// Takes what is to be sent next out of what waits; `nil` for a grant that is nobody's any more.
    private func nextMessage(to instance: String) throws(StorageError) -> Message? {
        switch recipients[instance]?.waiting.first {
        case .message(let body):
            recipients[instance]?.waiting.removeFirst()
            return Message(body: body)
        case .grant(var chunks):
            let (partition, epoch) = (chunks.partition, chunks.epoch)
            guard assignment.owner(of: partition)?.epoch == epoch else {
                recipients[instance]?.waiting.removeFirst()
                return nil
            }
            // Out of the list while it is taken from, so that it is not copied.
            recipients[instance]?.waiting[0] = .message([])
            var isLeft = true
            defer {
                if isLeft {
                    recipients[instance]?.waiting[0] = .grant(chunks)
                } else {
                    recipients[instance]?.waiting.removeFirst()
                }
            }
            do {
                let (body, isLast) = try chunks.next { page throws(StorageError) in try read(page, of: partition) }
                isLeft = !isLast
                return Message(body: body, completes: isLast ? (partition, epoch) : nil)
            } catch {
                guard error.kind.isOfContent else { throw error }
                isLeft = false
                giveUpGrant(of: partition, epoch: epoch, to: instance, error)
                return nil
            }
        case nil: return nil
        }
    }

    private func read(_ page: GrantChunks.Page, of partition: Int) throws(StorageError) -> [GrantChunks.Item] {
        switch page {
        case .requests(let places): try database.requests(of: partition, at: places).map { .request($0) }
        case .agents(let places): try database.agents(of: partition, at: places).map { .agent($0.bytes) }
        }
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
