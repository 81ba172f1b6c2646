public import API
public import Model

/// Which instances of one service are alive, by their presence.
///
/// Presence is refreshed every 2 s. Only a message that was just sent proves life: a retained copy may be years old, so
/// an instance known by one alone is waited for before anything is decided without it.
public struct Membership: Sendable {
    /// A presence counts for so long.
    public static let lifetime = TimeSpan.seconds(10)
    /// How long whoever should be there is waited for after a connection: two refreshes.
    public static let settlingTime = TimeSpan.seconds(4)

    /// One instance, by its newest presence.
    public struct Member: Hashable, Sendable {
        public let incarnation: String
        /// When it was last heard; `nil` while only a retained copy is known.
        public let heardAt: Instant?
        /// Of a reconciler: the epoch of each partition it says it owns.
        public let epochs: [Int: Int]
        /// Until when it is expected to be heard, if it has not been since the connection was made.
        fileprivate var expectedUntil: Instant?
    }

    private let service: ServiceName
    private var members: [String: Member] = [:]

    public init(of service: ServiceName) {
        self.service = service
    }

    /// A presence has arrived. Returns whether an instance came (back) to life: it was not alive in this incarnation.
    @discardableResult
    public mutating func heard(_ presence: Presence, isRetained: Bool, now: Instant) -> Bool {
        guard presence.service == service.rawValue else { return false }
        let known = members[presence.instance]
        switch presence.state {
        case .stopped, .lost:
            // The will of an earlier incarnation may arrive after the first word of the next one.
            guard known == nil || known?.incarnation == presence.incarnation || known?.heardAt == nil else {
                return false
            }
            members[presence.instance] = nil
            return false
        case .running:
            if isRetained {
                guard known == nil else { return false }
                members[presence.instance] = Member(
                    incarnation: presence.incarnation, heardAt: nil, epochs: [:],
                    expectedUntil: now + Membership.settlingTime)
                return false
            }
            let wasAlive = known.map { $0.incarnation == presence.incarnation && isAlive($0, now) } ?? false
            members[presence.instance] = Member(
                incarnation: presence.incarnation, heardAt: now, epochs: Membership.epochs(presence), expectedUntil: nil
            )
            return !wasAlive
        }
    }

    /// Presences could not be heard until now: whoever lived before is expected to be heard again before it counts as gone.
    public mutating func connected(now: Instant) {
        for instance in members.keys { members[instance]?.expectedUntil = now + Membership.settlingTime }
    }

    /// Whether somebody who should be there has not been heard yet: nothing is to be taken from anybody meanwhile.
    public func isSettling(now: Instant) -> Bool {
        members.values.contains { member in member.expectedUntil.map { now < $0 } ?? false }
    }

    /// Who was heard lately, by instance.
    public func live(now: Instant) -> [String: Member] {
        members.filter { isAlive($0.value, now) }
    }

    public func isAnyLive(now: Instant) -> Bool {
        members.values.contains { isAlive($0, now) }
    }

    private func isAlive(_ member: Member, _ now: Instant) -> Bool {
        guard let heardAt = member.heardAt else { return false }
        return now.milliseconds(since: heardAt) < Membership.lifetime.milliseconds
    }

    private static func epochs(_ presence: Presence) -> [Int: Int] {
        var epochs: [Int: Int] = [:]
        for (number, epoch) in presence.partitions ?? [:] {
            if let number = Int(number) { epochs[number] = epoch }
        }
        return epochs
    }
}
