import Lifecycle
import Model
import Testing

/// What is not accepted is never dropped silently: tokens, rate, and what is published of it.
@Suite struct RejectionTests {
    private static let badToken = "x-agent-token: is not this agent's token"

    @Test func aRejectionIsCountedKeptAndPublished() {
        var subject = Subject.online()
        let seen = subject.record.lastSeenAt
        subject.pass("1s")
        #expect(subject.heartbeat(token: "wrong") == ["heartbeat_rejected (bad_token)"])
        #expect(subject.logs == [.rejected(.badToken, detail: RejectionTests.badToken)])
        let rejection = Rejection(reason: .badToken, detail: RejectionTests.badToken, at: subject.wallTime, count: 1)
        #expect(subject.record.lastRejection == rejection)
        #expect(subject.record.lastSeenAt == seen)
    }

    @Test func atMostOneASecondIsPublished() {
        var subject = Subject.online()
        _ = subject.heartbeat(token: "wrong")
        let revision = subject.record.revision
        subject.pass(milliseconds: 999)
        #expect(subject.heartbeat(token: "wrong") == ["seen"])
        #expect(subject.logs == [.rejected(.badToken, detail: RejectionTests.badToken)], "each is logged")
        #expect(subject.record.revision == revision)
        #expect(subject.record.lastRejection?.count == 2)
        subject.pass(milliseconds: 1)
        #expect(subject.heartbeat(token: "wrong") == ["heartbeat_rejected (bad_token)"])
        #expect(subject.record.lastRejection?.count == 3)
    }

    @Test func aTokenIsCheckedWheneverItIsThere() {
        var subject = Subject.awaitingCheckin()
        #expect(subject.heartbeat(token: "wrong") == ["heartbeat_rejected (bad_token)"])
        #expect(subject.record.status == .provisioning)
        #expect(subject.heartbeat(token: "secret-1") == ["online (checked_in)"])
    }

    @Test func everyStatusOfADeletingAgentIsRejected() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.delete()
        for (index, status) in HeartbeatStatus.allCases.enumerated() {
            #expect(subject.heartbeat(status) == (index == 0 ? ["heartbeat_rejected (deleting)"] : ["seen"]))
        }
        #expect(subject.record.status == .deleting)
    }

    // MARK: Tokens

    func rotate(_ subject: inout Subject, to digest: String, keepsOld: Bool) -> [String] {
        subject.apply { $0.rotateToken(digest: digest, id: "t2", keepsOld: keepsOld, $1, into: &$2) }
    }

    @Test func theOldTokenCountsUntilTheNewOneIsUsed() {
        var subject = Subject.online()
        #expect(rotate(&subject, to: "secret-2", keepsOld: true) == ["token_rotated"])
        #expect(subject.record.tokenID == "t2")
        #expect(subject.heartbeat(token: "secret-1") == ["seen"])
        #expect(subject.heartbeat(token: "secret-2") == ["seen"])
        #expect(subject.heartbeat(token: "secret-1") == ["heartbeat_rejected (bad_token)"])
    }

    @Test func theOldTokenCountsForTenMinutesAtMost() {
        var subject = Subject.online()
        _ = rotate(&subject, to: "secret-2", keepsOld: true)
        subject.pass(milliseconds: 599_999)
        #expect(subject.heartbeat(token: "secret-1") == ["seen"])
        subject.pass(milliseconds: 1)
        #expect(subject.heartbeat(token: "secret-1") == ["heartbeat_rejected (bad_token)"])
    }

    @Test func eachReplacedTokenCountsWhileNoneOfItsSuccessorsIsUsed() {
        var subject = Subject.online()
        _ = rotate(&subject, to: "secret-2", keepsOld: true)
        subject.pass("5m")
        _ = rotate(&subject, to: "secret-3", keepsOld: true)
        #expect(subject.heartbeat(token: "secret-1") == ["seen"])
        #expect(subject.heartbeat(token: "secret-2") == ["seen"])
        subject.pass("5m")
        #expect(subject.heartbeat(token: "secret-1") == ["heartbeat_rejected (bad_token)"], "its ten minutes are over")
        #expect(subject.heartbeat(token: "secret-3") == ["seen"])
        subject.pass("1s")
        #expect(subject.heartbeat(token: "secret-2") == ["heartbeat_rejected (bad_token)"])
        for number in 4..<9 { _ = rotate(&subject, to: "secret-\(number)", keepsOld: true) }
        #expect(subject.machine.state.replacedTokens.map(\.digest) == (4..<8).map { "secret-\($0)" })
        _ = rotate(&subject, to: "secret-9", keepsOld: false)
        #expect(subject.machine.state.replacedTokens.isEmpty)
    }

    @Test func withNowTheOldTokenStopsAtOnce() {
        var subject = Subject.online()
        _ = rotate(&subject, to: "secret-2", keepsOld: false)
        #expect(subject.heartbeat(token: "secret-1") == ["heartbeat_rejected (bad_token)"])
    }

    // MARK: Rate

    @Test func aBurstOfTwentyIsAcceptedAndTenASecond() {
        var subject = Subject.online()
        subject.pass("10s")
        for _ in 0..<20 { #expect(subject.heartbeat() == ["seen"]) }
        #expect(subject.heartbeat() == ["heartbeat_rejected (rate_limited)"])
        #expect(subject.logs == [.rejected(.rateLimited, detail: "more than 10/s came")])
        #expect(subject.heartbeat() == ["seen"])
        #expect(subject.record.lastRejection?.count == 2)
        #expect(subject.logs == [], "a flood is logged as often as it is published")
        subject.pass(milliseconds: 100)
        #expect(subject.heartbeat() == ["seen"])
        #expect(subject.record.lastRejection?.count == 2)
    }

    @Test func withoutALimitAllAreAccepted() {
        var subject = Subject.online([.heartbeatRate: "0"])
        for _ in 0..<1_000 { #expect(subject.heartbeat() == ["seen"]) }
    }

    @Test func theRateIsThatOfTheirReceptionNotOfTheirDelivery() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.wake()
        _ = subject.grantPermit()
        // A minute of one heartbeat a second, handed in at once: the last of them answers the wake.
        for second in stride(from: 60, through: 1, by: -1) {
            #expect(subject.heartbeat(age: "\(second)s", generation: 1) == ["seen"])
        }
        #expect(subject.heartbeat(generation: 2) == ["settle", "online (checked_in)"])
        #expect(subject.record.lastRejection == nil)
    }

    @Test func anEarlierReceptionGainsNothing() {
        var subject = Subject.online()
        subject.pass("10s")
        var accepted = 0
        for _ in 0..<30 {
            for age in ["0s", "1s"] where subject.heartbeat(age: age) == ["seen"] {
                if subject.record.lastRejection == nil { accepted += 1 }
            }
        }
        #expect(accepted == 20)
    }

    @Test func aRateLimitedHeartbeatWasNotLostOnTheWay() {
        var subject = Subject.online(boot: "b-1")
        subject.pass("10s")
        for seq in 1...25 { _ = subject.heartbeat(boot: "b-1", seq: Int64(seq)) }
        subject.pass("10s")
        #expect(subject.heartbeat(boot: "b-1", seq: 26) == ["seen"])
    }
}
