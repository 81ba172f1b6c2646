public import Lifecycle

/// Decides which reconciler owns which partition, and when one is granted again.
///
/// Every partition belongs to the live instance with the highest weight for it (rendezvous hashing: Thaler and
/// Ravishankar, "Using name-based mappings to increase hit rates", 1998): one instance more or less moves only its share.
public struct PartitionAssignment: Sendable {
    /// How long an owner may take, after the receipt of a grant, to say in its presence that it owns the partition.
    public static let confirmationTime = TimeSpan.seconds(3)
    /// Each further grant to an owner that does not confirm waits twice as long, up to this.
    public static let confirmationTimeMax = TimeSpan.seconds(48)

    /// Who owns a partition, as it is stored.
    public struct Owner: Hashable, Sendable {
        public let epoch: Int
        public let instance: String
        public let incarnation: String

        public init(epoch: Int, instance: String, incarnation: String) {
            self.epoch = epoch
            self.instance = instance
            self.incarnation = incarnation
        }
    }

    public enum Directive: Hashable, Sendable {
        /// Give the partition to this life of this instance, under a new epoch.
        case grant(partition: Int, instance: String, incarnation: String)
        /// Tell its owner until now, which lives, that it has lost the partition. Always before the grant.
        case revoke(partition: Int, epoch: Int, instance: String, incarnation: String)
    }

    private struct Ownership: Sendable {
        var owner: Owner
        /// When the owner receipted the grant; `nil` while it is under way.
        var receiptedAt: Instant?
        var patience = PartitionAssignment.confirmationTime
    }

    public let partitionCount: Int
    private var ownerships: [Int: Ownership] = [:]

    /// - Parameter owners: what is stored; their grants count as receipted `now`.
    public init(partitionCount: Int, owners: [Int: Owner], now: Instant) {
        self.partitionCount = partitionCount
        for (partition, owner) in owners {
            ownerships[partition] = Ownership(owner: owner, receiptedAt: now)
        }
    }

    public func owner(of partition: Int) -> Owner? { ownerships[partition]?.owner }

    /// What has to change; nothing while somebody is still expected, or when nobody is there.
    public func decide(_ members: Membership, now: Instant) -> [Directive] {
        let live = members.live(now: now)
        guard !live.isEmpty, !members.isSettling(now: now) else { return [] }
        let instances = live.keys.sorted()
        var directives: [Directive] = []
        for partition in 0..<partitionCount {
            let instance = PartitionAssignment.winner(of: partition, among: instances)
            guard let instance, let member = live[instance] else { continue }
            let ownership = ownerships[partition]
            if let ownership, ownership.owner.instance == instance, ownership.owner.incarnation == member.incarnation {
                guard isUnconfirmed(partition, ownership, by: member) else { continue }
            } else if let owner = ownership?.owner, live[owner.instance]?.incarnation == owner.incarnation {
                directives.append(
                    .revoke(
                        partition: partition, epoch: owner.epoch, instance: owner.instance,
                        incarnation: owner.incarnation))
            }
            directives.append(.grant(partition: partition, instance: instance, incarnation: member.incarnation))
        }
        return directives
    }

    /// A grant was committed.
    public mutating func granted(_ partition: Int, to owner: Owner) {
        var ownership = Ownership(owner: owner)
        if let before = ownerships[partition], before.owner.incarnation == owner.incarnation {
            ownership.patience = min(
                TimeSpan(milliseconds: before.patience.milliseconds * 2), PartitionAssignment.confirmationTimeMax)
        }
        ownerships[partition] = ownership
    }

    /// The owner has received the whole grant.
    public mutating func receipted(_ partition: Int, epoch: Int, now: Instant) {
        guard ownerships[partition]?.owner.epoch == epoch, ownerships[partition]?.receiptedAt == nil else { return }
        ownerships[partition]?.receiptedAt = now
    }

    /// Whether the owner had time to say that it owns the partition and says something else.
    private func isUnconfirmed(_ partition: Int, _ ownership: Ownership, by member: Membership.Member) -> Bool {
        guard member.epochs[partition] != ownership.owner.epoch, let receiptedAt = ownership.receiptedAt,
            let heardAt = member.heardAt
        else { return false }
        return heardAt.milliseconds(since: receiptedAt) >= ownership.patience.milliseconds
    }

    /// The instance with the highest weight; the later name wins a tie.
    public static func winner(of partition: Int, among instances: [String]) -> String? {
        instances.max { (weight($0, partition), $0) < (weight($1, partition), $1) }
    }

    /// FNV-1a over `instance/partition`, then the finisher of MurmurHash3: in FNV alone the last bytes do not reach the
    /// highest bits, so that one name would win nearly everything.
    static func weight(_ instance: String, _ partition: Int) -> UInt64 {
        var hash = Partition.fnv1a("\(instance)/\(partition)")
        hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
        hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
        return hash ^ (hash >> 33)
    }
}
