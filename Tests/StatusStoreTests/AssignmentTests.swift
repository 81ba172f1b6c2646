import API
import Model
import Testing

@testable import StatusStoreCore

private let wallTime = Timestamp(millisecondsSince1970: 0)

func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9) + 1_000_000_000_000) }

func presence(
    _ instance: String, _ incarnation: String = "i1", _ state: Presence.State = .running, epochs: [Int: Int] = [:],
    service: ServiceName = .reconciler
) -> Presence {
    var presence = Presence(
        service: service, instance: instance, state: state, startedAt: wallTime, configDigest: "c",
        incarnation: incarnation)
    presence.partitions = Dictionary(uniqueKeysWithValues: epochs.map { (String($0.key), $0.value) })
    return presence
}

@Suite struct MembershipTests {
    @Test func aRetainedCopyProvesNothingButIsWaitedFor() {
        var members = Membership(of: .reconciler)
        #expect(members.heard(presence("r1"), isRetained: true, now: at(0)) == false)
        #expect(members.live(now: at(0)).isEmpty)
        #expect(members.isSettling(now: at(3)))
        #expect(!members.isSettling(now: at(5)))
        #expect(members.heard(presence("r1"), isRetained: false, now: at(1)) == true)
        #expect(!members.isSettling(now: at(1)))
        #expect(members.live(now: at(10)).keys.sorted() == ["r1"])
        #expect(members.live(now: at(12)).isEmpty)
    }

    @Test func aLastWillEndsItAtOnceUnlessItIsAnEarlierIncarnations() {
        var members = Membership(of: .reconciler)
        members.heard(presence("r1", "old"), isRetained: false, now: at(0))
        members.heard(presence("r1", "new"), isRetained: false, now: at(1))
        members.heard(presence("r1", "old", .lost), isRetained: false, now: at(1))
        #expect(members.live(now: at(1))["r1"]?.incarnation == "new")
        members.heard(presence("r1", "new", .lost), isRetained: false, now: at(2))
        #expect(members.live(now: at(2)).isEmpty)
        #expect(!members.isSettling(now: at(2)))
    }

    @Test func comingBackIsNoticedAndOtherServicesAreNot() {
        var members = Membership(of: .provisioner)
        #expect(members.heard(presence("r1"), isRetained: false, now: at(0)) == false)
        #expect(members.heard(presence("p1", service: .provisioner), isRetained: false, now: at(0)) == true)
        #expect(members.heard(presence("p1", service: .provisioner), isRetained: false, now: at(2)) == false)
        #expect(members.heard(presence("p1", "i2", service: .provisioner), isRetained: false, now: at(4)) == true)
        #expect(members.heard(presence("p1", "i2", service: .provisioner), isRetained: false, now: at(20)) == true)
    }

    @Test func afterDeafnessWhoeverLivedIsWaitedFor() {
        var members = Membership(of: .reconciler)
        members.heard(presence("r1"), isRetained: false, now: at(0))
        members.heard(presence("r2"), isRetained: false, now: at(0))
        members.connected(now: at(30))
        members.heard(presence("r1"), isRetained: false, now: at(31))
        #expect(members.isSettling(now: at(31)))
        members.heard(presence("r2"), isRetained: false, now: at(32))
        #expect(!members.isSettling(now: at(32)))
        #expect(members.live(now: at(32)).count == 2)
    }
}

@Suite struct AssignmentTests {
    private func grants(_ directives: [PartitionAssignment.Directive]) -> [Int: String] {
        var result: [Int: String] = [:]
        for case .grant(let partition, let instance, _) in directives { result[partition] = instance }
        return result
    }

    /// Carries out what was decided, at epoch `epoch`, and acknowledgements it.
    private func carryOut(
        _ directives: [PartitionAssignment.Directive], _ assignment: inout PartitionAssignment, epoch: Int, now: Instant
    ) {
        for case .grant(let partition, let instance, let incarnation) in directives {
            assignment.granted(partition, to: .init(epoch: epoch, instance: instance, incarnation: incarnation))
            assignment.acknowledged(partition, epoch: epoch, now: now)
        }
    }

    @Test func nobodyLivesNothingIsGranted() {
        let assignment = PartitionAssignment(partitionCount: 16, owners: [:], now: at(0))
        #expect(assignment.decide(Membership(of: .reconciler), now: at(0)).isEmpty)
    }

    @Test func theOnlyOneGetsAllAndNothingTwice() {
        var members = Membership(of: .reconciler)
        members.heard(presence("r1"), isRetained: false, now: at(0))
        var assignment = PartitionAssignment(partitionCount: 16, owners: [:], now: at(0))
        let directives = assignment.decide(members, now: at(0))
        #expect(grants(directives).count == 16)
        carryOut(directives, &assignment, epoch: 1, now: at(0))
        #expect(assignment.decide(members, now: at(0)).isEmpty)
    }

    @Test func oneMoreMovesOnlyItsShareAndTheOldOwnerIsToldFirst() throws {
        var members = Membership(of: .reconciler)
        members.heard(presence("r1"), isRetained: false, now: at(0))
        var assignment = PartitionAssignment(partitionCount: 64, owners: [:], now: at(0))
        carryOut(assignment.decide(members, now: at(0)), &assignment, epoch: 1, now: at(0))
        members.heard(presence("r2"), isRetained: false, now: at(1))
        let moved = assignment.decide(members, now: at(1))
        #expect(Set(grants(moved).values) == ["r2"])
        #expect((16...48).contains(grants(moved).count))
        #expect(moved.count == grants(moved).count * 2)
        let first = try #require(grants(moved).keys.min())
        #expect(moved[0] == .revoke(.init(partition: first, epoch: 1, instance: "r1", incarnation: "i1")))
        #expect(moved[1] == .grant(partition: first, instance: "r2", incarnation: "i1"))
    }

    @Test func aDeadOwnerIsReplacedAtOnceWithoutRevoke() {
        var members = Membership(of: .reconciler)
        members.heard(presence("r1"), isRetained: false, now: at(0))
        members.heard(presence("r2"), isRetained: false, now: at(0))
        var assignment = PartitionAssignment(partitionCount: 16, owners: [:], now: at(0))
        carryOut(assignment.decide(members, now: at(0)), &assignment, epoch: 1, now: at(0))
        members.heard(presence("r1", "i1", .lost), isRetained: false, now: at(1))
        let directives = assignment.decide(members, now: at(1))
        #expect(!directives.isEmpty)
        #expect(directives.count == grants(directives).count)
        #expect(Set(grants(directives).values) == ["r2"])
    }

    @Test func aRestartUnderTheSameNameIsGrantedAgain() {
        var members = Membership(of: .reconciler)
        let owners = [0: PartitionAssignment.Owner(epoch: 7, instance: "r1", incarnation: "i1")]
        let assignment = PartitionAssignment(partitionCount: 1, owners: owners, now: at(0))
        members.heard(presence("r1", "i2"), isRetained: false, now: at(0))
        #expect(assignment.decide(members, now: at(0)) == [.grant(partition: 0, instance: "r1", incarnation: "i2")])
    }

    @Test func aLostGrantIsGivenAgainAndEachTimeLater() {
        var members = Membership(of: .reconciler)
        let owners = [0: PartitionAssignment.Owner(epoch: 7, instance: "r1", incarnation: "i1")]
        var assignment = PartitionAssignment(partitionCount: 1, owners: owners, now: at(0))
        members.heard(presence("r1", epochs: [0: 7]), isRetained: false, now: at(5))
        #expect(assignment.decide(members, now: at(5)).isEmpty)
        members.heard(presence("r1", epochs: [0: 6]), isRetained: false, now: at(6))
        #expect(assignment.decide(members, now: at(6)) == [.grant(partition: 0, instance: "r1", incarnation: "i1")])
        assignment.granted(0, to: .init(epoch: 8, instance: "r1", incarnation: "i1"))
        members.heard(presence("r1", epochs: [0: 7]), isRetained: false, now: at(60))
        #expect(assignment.decide(members, now: at(60)).isEmpty, "the grant is still under way")
        assignment.acknowledged(0, epoch: 8, now: at(60))
        members.heard(presence("r1"), isRetained: false, now: at(64))
        #expect(assignment.decide(members, now: at(64)).isEmpty)
        members.heard(presence("r1"), isRetained: false, now: at(66))
        #expect(assignment.decide(members, now: at(66)).count == 1)
    }

    @Test func whoClaimsWhatAnotherHasGotIsToldUntilItSaysSoNoMore() {
        let (mine, other) = ("r1", "r2")
        let partition = (0..<64).first { PartitionAssignment.winner(of: $0, among: [mine, other]) == other } ?? 0
        // Another incarnation of the store gave it to r2 before r1 was heard.
        var assignment = PartitionAssignment(
            partitionCount: 64, owners: [partition: .init(epoch: 9, instance: other, incarnation: "i1")], now: at(0))
        for index in 0..<64 where index != partition {
            let winner = PartitionAssignment.winner(of: index, among: [mine, other]) ?? mine
            assignment.granted(index, to: .init(epoch: 3, instance: winner, incarnation: "i1"))
        }
        var members = Membership(of: .reconciler)
        members.heard(presence(other, epochs: [partition: 9]), isRetained: false, now: at(0))
        // A number that is no partition is nobody's.
        members.heard(presence(mine, epochs: [partition: 7, 64: 1]), isRetained: false, now: at(1))
        let claim = PartitionAssignment.Claim(partition: partition, epoch: 7, instance: mine, incarnation: "i1")
        #expect(assignment.decide(members, now: at(1)) == [.revoke(claim)])
        assignment.revoked(claim, now: at(1))
        #expect(assignment.decide(members, now: at(1.25)).isEmpty, "it has said nothing since")
        members.heard(presence(mine, epochs: [partition: 7]), isRetained: false, now: at(3))
        #expect(assignment.decide(members, now: at(3)) == [.revoke(claim)], "it says so still")
        assignment.revoked(claim, now: at(3))
        members.heard(presence(mine), isRetained: false, now: at(5))
        #expect(assignment.decide(members, now: at(5)).isEmpty)
    }

    @Test func anOlderEpochOfTheOwnersOwnIsNoStrangersClaim() {
        var members = Membership(of: .reconciler)
        var assignment = PartitionAssignment(partitionCount: 1, owners: [:], now: at(0))
        assignment.granted(0, to: .init(epoch: 8, instance: "r1", incarnation: "i1"))
        members.heard(presence("r1", epochs: [0: 7]), isRetained: false, now: at(1))
        #expect(assignment.decide(members, now: at(1)).isEmpty, "its grant is under way")
    }

    @Test func whatNobodyWasEverGivenIsDeniedToItsOwnerToo() {
        // The database is a copy from before the epochs that are claimed.
        let owners = [
            0: PartitionAssignment.Owner(epoch: 12, instance: "r1", incarnation: "i1"),
            1: PartitionAssignment.Owner(epoch: 12, instance: "r2", incarnation: "i1"),
        ]
        let assignment = PartitionAssignment(partitionCount: 2, owners: owners, now: at(0))
        var members = Membership(of: .reconciler)
        members.heard(presence("r1", epochs: [0: 40, 1: 40]), isRetained: false, now: at(1))
        let told = assignment.decide(members, now: at(1)).filter { if case .revoke = $0 { true } else { false } }
        #expect(
            told == [0, 1].map { .revoke(.init(partition: $0, epoch: 40, instance: "r1", incarnation: "i1")) })
    }

    @Test func whatWasClaimedIsKnown() {
        var assignment = PartitionAssignment(partitionCount: 2, owners: [:], now: at(0))
        var members = Membership(of: .reconciler)
        members.heard(presence("r1", epochs: [0: 13, 7: 99]), isRetained: false, now: at(1))
        assignment.heard("r1", among: members, now: at(1))
        members.heard(presence("r1", epochs: [0: 12]), isRetained: false, now: at(2))
        assignment.heard("r1", among: members, now: at(2))
        assignment.revoked(.init(partition: 1, epoch: 40, instance: "r1", incarnation: "i1"), now: at(2))
        #expect([0, 1, 7].map { assignment.highestClaim(of: $0) } == [13, 40, 0])
    }

    @Test func whoConfirmedIsWaitedForAsAtFirst() {
        var members = Membership(of: .reconciler)
        var assignment = PartitionAssignment(partitionCount: 1, owners: [:], now: at(0))
        let grant = [PartitionAssignment.Directive.grant(partition: 0, instance: "r1", incarnation: "i1")]
        for round in 1...6 {
            // Each time it owned the partition, and lost it.
            let now = at(Double(round) * 10)
            assignment.granted(0, to: .init(epoch: round, instance: "r1", incarnation: "i1"))
            assignment.acknowledged(0, epoch: round, now: now)
            members.heard(presence("r1", epochs: [0: round]), isRetained: false, now: now)
            assignment.heard("r1", among: members, now: now)
            members.heard(presence("r1"), isRetained: false, now: now + .seconds(3))
            #expect(assignment.decide(members, now: now + .seconds(3)) == grant, "round \(round)")
        }
    }

    @Test func whoSaysItOftenIsToldAtMostTwiceASecond() {
        var members = Membership(of: .reconciler)
        var assignment = PartitionAssignment(partitionCount: 1, owners: [:], now: at(0))
        let claim = PartitionAssignment.Claim(partition: 0, epoch: 7, instance: "r1", incarnation: "i1")
        let winner = PartitionAssignment.winner(of: 0, among: ["r1", "r2"])
        assignment.granted(0, to: .init(epoch: 9, instance: winner ?? "", incarnation: "i2"))
        members.heard(presence("r1", epochs: [0: 7]), isRetained: false, now: at(0))
        #expect(assignment.decide(members, now: at(0)).first == .revoke(claim))
        assignment.revoked(claim, now: at(0))
        members.heard(presence("r1", epochs: [0: 7]), isRetained: false, now: at(0.1))
        #expect(!assignment.decide(members, now: at(0.1)).contains(.revoke(claim)))
        #expect(assignment.decide(members, now: at(0.5)).contains(.revoke(claim)))
    }

    @Test func whoIsRefusedIsToldAtMostTwiceASecond() {
        var assignment = PartitionAssignment(partitionCount: 1, owners: [:], now: at(0))
        let claim = PartitionAssignment.Claim(partition: 0, epoch: 7, instance: "r1", incarnation: "i1")
        #expect(assignment.isToBeTold(claim, now: at(0)))
        assignment.revoked(claim, now: at(0))
        #expect(!assignment.isToBeTold(claim, now: at(0.4)))
        #expect(assignment.isToBeTold(claim, now: at(0.5)))
    }

    @Test func weightsSpreadOverNamesThatDifferLittle() {
        var shares: [String: Int] = [:]
        for partition in 0..<300 {
            shares[PartitionAssignment.winner(of: partition, among: ["r1", "r2", "r3"])!, default: 0] += 1
        }
        #expect(shares.count == 3)
        for share in shares.values { #expect((60...140).contains(share)) }
    }
}
