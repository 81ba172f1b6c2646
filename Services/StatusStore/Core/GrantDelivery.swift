internal import API
internal import Model
internal import Storage
internal import Streams
internal import Wire

/// Gives partitions to the reconcilers that live, and keeps sending each grant until it is acknowledged: a pure value.
struct GrantDelivery {
    /// Chunks without an acknowledgement at once, for one reconciler: the rest waits here.
    private static let chunksMax = 8
    /// How long a turn grants, and then reads what was granted: what is left waits for the next one.
    private static let grantLimit = TimeSpan(milliseconds: 100)
    private static let decideEvery = TimeSpan(milliseconds: 250)

    /// What waits to be sent to a reconciler.
    private enum Waiting {
        case revoke(partition: Int, epoch: Int)
        /// A grant of which chunks are left: each is read when it can go out.
        case grant(GrantChunks)
    }

    /// One incarnation of one reconciler.
    private struct Recipient {
        let incarnation: String
        let stream: String
        var waiting: [Waiting] = []
        /// By the last chunk of a grant: which partition is received with it.
        var completing: [Int: (partition: Int, epoch: Int)] = [:]
    }

    /// What a turn is at.
    private enum Work {
        case none
        case granting(Queue<PartitionAssignment.Directive>, until: Instant)
        case sending(until: Instant)
    }

    private let chunkBytesMax: Int
    private var members = Membership(of: .reconciler)
    private var assignment: PartitionAssignment
    private var senders: StreamSenders<ReconcilerMessage>
    private var recipients: [String: Recipient] = [:]
    private var streamNumber = 0
    private var decideAt = Instant(nanoseconds: 0)
    private var work = Work.none
    /// Whether a turn is wanted at once.
    private(set) var hasMore = false

    init(
        senders: StreamSenders<ReconcilerMessage>, owners: [PartitionOwner], partitionCount: Int, chunkBytesMax: Int,
        now: Instant
    ) {
        self.senders = senders
        self.chunkBytesMax = chunkBytesMax
        var table: [Int: PartitionAssignment.Owner] = [:]
        for owner in owners {
            table[owner.partition] = .init(epoch: owner.epoch, instance: owner.instance, incarnation: owner.incarnation)
        }
        assignment = PartitionAssignment(partitionCount: partitionCount, owners: table, now: now)
    }

    mutating func connected(now: Instant) {
        members.connected(now: now)
        senders.reconnected(now: now)
    }

    mutating func heard(_ presence: Presence, isRetained: Bool, now: Instant) {
        members.heard(presence, isRetained: isRetained, now: now)
        guard presence.service == ServiceName.reconciler.rawValue else { return }
        assignment.heard(presence.instance, among: members, now: now)
        decideAt = now
    }

    /// A reconciler has sent under an old epoch, or what it does not own: it is told before its next presence would show
    /// it. One that has only part of a grant shows nothing.
    mutating func refused(_ frame: ReceivedFrame, now: Instant, _ output: inout StoreOutput) {
        // An incarnation that is over has nobody to tell, and its successor's grants must not be given up for it.
        guard members.live(now: now)[frame.stream.instance]?.incarnation == frame.stream.incarnation else { return }
        let claim = PartitionAssignment.Claim(
            partition: frame.frame.partition, epoch: frame.frame.epoch, instance: frame.stream.instance,
            incarnation: frame.stream.incarnation)
        guard assignment.isToBeTold(claim, now: now) else { return }
        output.log(.frameRefused(claim))
        revoke(claim, now)
    }

    mutating func received(_ acknowledgement: StreamAcknowledgement, now: Instant, _ output: inout StoreOutput) {
        guard let progress = senders.receive(acknowledgement, now: now),
            case .reconciler(let instance) = progress.destination, let recipient = recipients[instance]
        else { return }
        for (seq, grant) in recipient.completing.sorted(by: { $0.key < $1.key }) where seq <= progress.upTo {
            recipients[instance]?.completing[seq] = nil
            assignment.acknowledged(grant.partition, epoch: grant.epoch, now: now)
            output.log(.grantReceived(partition: grant.partition))
        }
    }

    /// Repeats what waited too long. Called every 200 ms.
    mutating func tick(now: Instant) { senders.tick(now: now) }

    var unacknowledgedCount: Int { senders.unacknowledgedCount }

    /// What is to be published now.
    mutating func takeFrames() -> [StreamSenders<ReconcilerMessage>.Outgoing] { senders.takeFrames() }

    /// Does one thing of what is due: grants a partition or sends a message. Whether the turn has time for more.
    mutating func pumpNext(
        _ database: any StatusDatabase, now: Instant, kept: Timestamp, _ output: inout StoreOutput
    ) throws(StorageError) -> Bool {
        let before = work
        // Whatever is thrown ends the turn's work: the next one decides anew.
        work = .none
        switch before {
        case .none:
            hasMore = false
            guard now >= decideAt else { return send(until: now + GrantDelivery.grantLimit) }
            decideAt = now + GrantDelivery.decideEvery
            forgetWhoIsGone(now)
            work = .granting(Queue(assignment.decide(members, now: now)), until: now + GrantDelivery.grantLimit)
        case .granting(var directives, let end):
            while let directive = directives.popFirst() {
                switch directive {
                case .revoke(let claim): revoke(claim, now)
                case .grant(let partition, let instance, let incarnation):
                    try grant(partition, to: instance, incarnation: incarnation, database, now, &output)
                    guard now < end else {
                        decideAt = now
                        hasMore = true
                        return send(until: now + GrantDelivery.grantLimit)
                    }
                    work = .granting(directives, until: end)
                    return true
                }
            }
            return send(until: now + GrantDelivery.grantLimit)
        case .sending(let end):
            guard let instance = recipients.keys.sorted().first(where: canSend) else { return false }
            guard now < end else {
                hasMore = true
                return false
            }
            try sendNext(to: instance, database, now, kept, &output)
            work = .sending(until: end)
        }
        return true
    }

    // MARK: Inside

    private mutating func send(until end: Instant) -> Bool {
        work = .sending(until: end)
        return true
    }

    private mutating func forgetWhoIsGone(_ now: Instant) {
        let live = members.live(now: now)
        for (instance, recipient) in recipients.sorted(by: { $0.key < $1.key })
        where live[instance]?.incarnation != recipient.incarnation {
            // What it did not acknowledgement is given up: should it return, its presence shows what it lacks.
            for grant in recipient.completing.values {
                assignment.acknowledged(grant.partition, epoch: grant.epoch, now: now)
            }
            for case .grant(let chunks) in recipient.waiting {
                assignment.acknowledged(chunks.partition, epoch: chunks.epoch, now: now)
            }
            forget(instance)
        }
    }

    private mutating func forget(_ instance: String) {
        guard let recipient = recipients.removeValue(forKey: instance) else { return }
        senders.end(stream: recipient.stream)
    }

    private mutating func grant(
        _ partition: Int, to instance: String, incarnation: String, _ database: any StatusDatabase, _ now: Instant,
        _ output: inout StoreOutput
    ) throws(StorageError) {
        let snapshot = try database.grant(
            partition, instance: instance, incarnation: incarnation, above: assignment.highestClaim(of: partition))
        assignment.granted(
            partition, to: .init(epoch: snapshot.epoch, instance: instance, incarnation: incarnation))
        var first: [GrantChunks.Item] = []
        do {
            for gateway in snapshot.gateways { first.append(.gateway(try gateway.decoded())) }
        } catch {
            return giveUpGrant(of: partition, epoch: snapshot.epoch, to: instance, error, now, &output)
        }
        first += snapshot.boardPauses.map { .boardPause($0) } + snapshot.tombstones.map { .tombstone($0) }
        let chunks = GrantChunks(
            partition: partition, epoch: snapshot.epoch, incarnation: incarnation, first: first,
            requests: snapshot.requestPlaces, agents: snapshot.agentPlaces, bytesMax: chunkBytesMax)
        enqueue(.grant(chunks), to: instance, incarnation: incarnation)
        output.log(
            .partitionGranted(
                partition: partition, epoch: snapshot.epoch, reconciler: instance,
                agents: snapshot.agentPlaces.count))
    }

    private mutating func revoke(_ claim: PartitionAssignment.Claim, _ now: Instant) {
        assignment.revoked(claim, now: now)
        enqueue(
            .revoke(partition: claim.partition, epoch: claim.epoch), to: claim.instance, incarnation: claim.incarnation)
    }

    private mutating func enqueue(_ waiting: Waiting, to instance: String, incarnation: String) {
        if recipients[instance]?.incarnation != incarnation {
            // A new incarnation begins with a new stream: what the old one did not take is nobody's.
            forget(instance)
            streamNumber += 1
            recipients[instance] = Recipient(incarnation: incarnation, stream: "grants-\(streamNumber)")
        }
        recipients[instance]?.waiting.append(waiting)
    }

    // MARK: Sending

    private func canSend(to instance: String) -> Bool {
        guard let recipient = recipients[instance], !recipient.waiting.isEmpty else { return false }
        return senders.unacknowledgedCount(stream: recipient.stream) < GrantDelivery.chunksMax
    }

    /// Sends what is next for a reconciler; nothing for a grant that is nobody's any more.
    private mutating func sendNext(
        to instance: String, _ database: any StatusDatabase, _ now: Instant, _ kept: Timestamp,
        _ output: inout StoreOutput
    ) throws(StorageError) {
        switch recipients[instance]?.waiting.first {
        case nil: return
        case .revoke(let partition, let epoch):
            recipients[instance]?.waiting.removeFirst()
            send(.revoke(partition: partition, epoch: epoch), to: instance, completes: nil, now)
        case .grant(var chunks):
            let (partition, epoch) = (chunks.partition, chunks.epoch)
            // Out of the list while it is taken from, so that it is not copied.
            recipients[instance]?.waiting.removeFirst()
            guard assignment.owner(of: partition)?.epoch == epoch else { return }
            let chunk: GrantChunk
            do {
                chunk = try chunks.next { page throws(StorageError) in
                    switch page {
                    case .requests(let places):
                        try database.requests(of: partition, at: places).map { .request($0.with(kept: kept)) }
                    case .agents(let places): try database.agents(of: partition, at: places).map { .agent($0) }
                    }
                }
            } catch {
                if error.kind.isOfContent {
                    return giveUpGrant(of: partition, epoch: epoch, to: instance, error, now, &output)
                }
                recipients[instance]?.waiting.insert(.grant(chunks), at: 0)
                throw error
            }
            if !chunk.isLast { recipients[instance]?.waiting.insert(.grant(chunks), at: 0) }
            send(.grant(chunk), to: instance, completes: chunk.isLast ? (partition, epoch) : nil, now)
        }
    }

    private mutating func send(
        _ message: ReconcilerMessage, to instance: String, completes: (partition: Int, epoch: Int)?, _ now: Instant
    ) {
        guard let stream = recipients[instance]?.stream else { return }
        let seq = senders.send(message, to: .reconciler(instance), stream: stream, now: now)
        if let completes { recipients[instance]?.completing[seq] = completes }
    }

    /// A grant that cannot be read to its end is nobody's: the next one waits, and says so again.
    private mutating func giveUpGrant(
        of partition: Int, epoch: Int, to instance: String, _ error: StorageError, _ now: Instant,
        _ output: inout StoreOutput
    ) {
        assignment.acknowledged(partition, epoch: epoch, now: now)
        output.log(.grantUnreadable(partition: partition, reconciler: instance, error))
    }
}
