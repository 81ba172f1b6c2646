public import Model

/// Decides which reconciler owns which partition, and when one is granted again.
///
/// Every partition belongs to the live instance with the highest weight for it (rendezvous hashing: Thaler and
/// Ravishankar, "Using name-based mappings to increase hit rates", 1998): one instance more or less moves only its share.
public struct PartitionAssignment: Sendable {
    /// How long an owner may take, after the acknowledgement of a grant, to say in its presence that it owns the partition.
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

    /// What an incarnation of an instance takes for its own, by its presence or by what it sends.
    public struct Claim: Hashable, Sendable {
        public let partition: Int
        public let epoch: Int
        public let instance: String
        public let incarnation: String

        public init(partition: Int, epoch: Int, instance: String, incarnation: String) {
            self.partition = partition
            self.epoch = epoch
            self.instance = instance
            self.incarnation = incarnation
        }
    }

    public enum Directive: Hashable, Sendable {
        /// Give the partition to this incarnation of this instance, under a new epoch.
        case grant(partition: Int, instance: String, incarnation: String)
        /// Tell this incarnation, which is heard, that the partition is not its own: before another gets it, and for as long as it
        /// claims what another has got.
        case revoke(Claim)
    }

    private struct Ownership: Sendable {
        var owner: Owner
        /// When the owner acknowledged the grant; `nil` while it is under way.
        var acknowledgedAt: Instant?
        var patience = PartitionAssignment.confirmationTime
    }

    /// The same claim is denied at most so often.
    private static let revokeAgainAfter = TimeSpan(milliseconds: 500)
    /// So many are remembered.
    private static let revokedMax = 10_000

    public let partitionCount: Int
    private var ownerships: [Int: Ownership] = [:]
    /// The highest epoch of each partition that anybody has claimed.
    private var claimed: [Int: Int] = [:]
    /// When each claim was denied last.
    private var revokedAt: [Claim: Instant] = [:]

    /// - Parameter owners: what is stored; their grants count as acknowledged `now`.
    public init(partitionCount: Int, owners: [Int: Owner], now: Instant) {
        self.partitionCount = partitionCount
        for (partition, owner) in owners {
            ownerships[partition] = Ownership(owner: owner, acknowledgedAt: now)
        }
    }

    public func owner(of partition: Int) -> Owner? { ownerships[partition]?.owner }

    /// The highest epoch of a partition that anybody has claimed; 0 for none. An older copy of the database may not know it.
    public func highestClaim(of partition: Int) -> Int { claimed[partition] ?? 0 }

    /// What has to change; nothing while somebody is still expected, or when nobody is there.
    public func decide(_ members: Membership, now: Instant) -> [Directive] {
        let live = members.live(now: now)
        guard !live.isEmpty, !members.isSettling(now: now) else { return [] }
        let instances = live.keys.sorted()
        var directives = instances.flatMap { staleClaims(of: $0, live, now: now).map { Directive.revoke($0) } }
        for partition in 0..<partitionCount {
            let instance = PartitionAssignment.winner(of: partition, among: instances)
            guard let instance, let member = live[instance] else { continue }
            let ownership = ownerships[partition]
            if let ownership, ownership.owner.instance == instance, ownership.owner.incarnation == member.incarnation {
                guard isUnconfirmed(partition, ownership, by: member) else { continue }
            } else if let owner = ownership?.owner, live[owner.instance]?.incarnation == owner.incarnation {
                directives.append(
                    .revoke(
                        Claim(
                            partition: partition, epoch: owner.epoch, instance: owner.instance,
                            incarnation: owner.incarnation)))
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

    /// Takes what this instance claims. Of what is its own it is the confirmation: should it lose it and be granted it again, it is
    /// waited for as at first.
    public mutating func heard(_ instance: String, among members: Membership, now: Instant) {
        guard let member = members.live(now: now)[instance] else { return }
        for (partition, epoch) in member.epochs {
            note(partition, epoch)
            if ownerships[partition]?.owner
                == Owner(epoch: epoch, instance: instance, incarnation: member.incarnation)
            {
                ownerships[partition]?.patience = PartitionAssignment.confirmationTime
            }
        }
    }

    private mutating func note(_ partition: Int, _ epoch: Int) {
        guard (0..<partitionCount).contains(partition) else { return }
        claimed[partition] = max(claimed[partition] ?? 0, epoch)
    }

    /// The owner has received the whole grant.
    public mutating func acknowledged(_ partition: Int, epoch: Int, now: Instant) {
        guard ownerships[partition]?.owner.epoch == epoch, ownerships[partition]?.acknowledgedAt == nil else { return }
        ownerships[partition]?.acknowledgedAt = now
    }

    /// This claim was denied.
    public mutating func revoked(_ claim: Claim, now: Instant) {
        if revokedAt.count >= PartitionAssignment.revokedMax { revokedAt.removeAll() }
        note(claim.partition, claim.epoch)
        revokedAt[claim] = now
    }

    /// Whether whoever makes this claim, or sends under it and is refused, is to be told (again).
    public func isToBeTold(_ claim: Claim, now: Instant) -> Bool {
        guard let told = revokedAt[claim] else { return true }
        return now.milliseconds(since: told) >= PartitionAssignment.revokeAgainAfter.milliseconds
    }

    /// What this instance claims and another has got since: a store that began anew had not heard it when it gave the
    /// partition away. Or what nobody was ever given: the database is an older copy. Once it is told, only what it says
    /// afterwards counts.
    private func staleClaims(of instance: String, _ live: [String: Membership.Member], now: Instant) -> [Claim] {
        guard let member = live[instance], let heardAt = member.heardAt else { return [] }
        return member.epochs.sorted { $0.key < $1.key }.compactMap { partition, epoch in
            guard let owner = ownerships[partition]?.owner else { return nil }
            // Its own grant may be under way.
            let isOwner = (owner.instance, owner.incarnation) == (instance, member.incarnation)
            guard !isOwner || epoch > owner.epoch else { return nil }
            let claim = Claim(
                partition: partition, epoch: epoch, instance: instance, incarnation: member.incarnation)
            let isAnswered = revokedAt[claim].map { $0 >= heardAt } ?? false
            return isAnswered || !isToBeTold(claim, now: now) ? nil : claim
        }
    }

    /// Whether the owner had time to say that it owns the partition and says something else.
    private func isUnconfirmed(_ partition: Int, _ ownership: Ownership, by member: Membership.Member) -> Bool {
        guard member.epochs[partition] != ownership.owner.epoch, let acknowledgedAt = ownership.acknowledgedAt,
            let heardAt = member.heardAt
        else { return false }
        return heardAt.milliseconds(since: acknowledgedAt) >= ownership.patience.milliseconds
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
