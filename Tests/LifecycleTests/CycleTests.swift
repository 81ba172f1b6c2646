import Lifecycle
import Model
import Testing

/// A cycle: its request, its wakes, their deadlines, and how it ends.
@Suite struct CycleTests {
    @Test func provisionWakesAndWaitsForTheCheckIn() {
        var subject = Subject()
        #expect(subject.provision() == ["provisioning (provision)", "permit?"])
        #expect(subject.record.status == .provisioning)
        #expect(subject.record.generation == 1)
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.record.provisionAction == .provision)
        #expect(subject.record.provisionRequestedAt == subject.wallTime)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.dueIn == nil, "a deadline runs from a wake, not from a wish")

        #expect(subject.grantPermit() == ["order 1.1#1 provision"])
        #expect(subject.record.revision == 1, "an order is no event")
        #expect(subject.dueIn == nil)

        subject.pass("2s")
        #expect(subject.woken(age: "500ms") == ["settle", "woken (provision)"])
        #expect(subject.logs == [.deadlineArmed(attempt: 1, delay: TimeSpan(milliseconds: 29_500))])
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.record.wakeDelivery == .accepted)
        #expect(subject.record.lastWakeSentAt == subject.wallTime - TimeSpan(milliseconds: 500))
        #expect(subject.record.checkinDeadlineAt == subject.wallTime + TimeSpan(milliseconds: 29_500))
        #expect(subject.dueIn == 29_500)

        subject.pass("1s")
        #expect(subject.heartbeat() == ["online (checked_in)"])
        #expect(subject.logs == [.checkedInBeforeDeadline(attempt: 1), .deadlineHandled(attempt: 1)])
        #expect(subject.record.status == .online)
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.record.lastProvisionError == nil)
        #expect(subject.record.lastSeenAt == subject.wallTime)
        #expect(subject.record.revision == 3)
        #expect(subject.dueIn == 600_000)
    }

    /// Command, event, action, wake reason: the contract's table.
    @Test func eachRequestHasItsEventItsActionAndItsReason() {
        var subject = Subject.online()
        #expect(subject.update() == ["updating (update)", "permit?"])
        #expect(subject.record.provisionAction == .update)
        #expect(subject.grantPermit() == ["order 2.1#2 update"])
        #expect(subject.wake() == ["settle", "updating (manual)", "permit?"])
        #expect(subject.record.provisionAction == .update)
        #expect(subject.grantPermit() == ["order 3.1#3 manual"])
        #expect(subject.provision() == ["settle", "provisioning (provision)", "permit?"])
        #expect(subject.record.provisionAction == .provision)
        #expect(subject.record.status == .provisioning)
        #expect(subject.grantPermit() == ["order 4.1#4 provision"])
        _ = subject.woken()
        _ = subject.heartbeat()
        #expect(subject.passToDue() == ["lapsed (silent)", "updating (recover)", "permit?"])
        #expect(subject.record.provisionAction == .recover)
        #expect(subject.record.status == .updating)
        #expect(subject.grantPermit() == ["order 5.1#5 recover"])
    }

    @Test func aMissedDeadlineAsksForAnotherWakeUntilTheLast() {
        var subject = Subject.awaitingCheckin()
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        #expect(subject.logs == [.deadlineHandled(attempt: 1), .retriggered(attempt: 2)])
        #expect(subject.record.status == .updating)
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.grantPermit() == ["order 1.2#2 retrigger"])
        #expect(subject.woken() == ["settle", "woken (retrigger)"])
        #expect(subject.record.wakeAttempts == 2)
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.passToDue() == ["offline (checkin_missed)"])
        #expect(
            subject.logs == [.deadlineHandled(attempt: 3), .attemptsExhausted(wakeAttempts: 3, maxAttempts: 3)])
        #expect(subject.record.status == .offline)
        #expect(subject.record.wakeAttempts == 3)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(
            subject.record.lastProvisionError == "Agent did not check in after wake; max wake attempts reached")
        #expect(subject.dueIn == nil)
        #expect(subject.grantPermit() == [])
    }

    @Test func beforeItsDeadlineNothingIsJudged() {
        var subject = Subject.awaitingCheckin()
        subject.pass(milliseconds: 29_999)
        #expect(subject.deadlinePassed() == [])
        subject.pass(milliseconds: 1)
        #expect(subject.deadlinePassed().first == "retriggered (checkin_missed)")
    }

    @Test func aCheckInThatIsHandedInLateCounts() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        subject.pass("40s")
        #expect(subject.heartbeat(age: "11s") == ["online (checked_in)"])
        #expect(subject.deadlinePassed() == [])
    }

    @Test func aCheckInAfterTheDeadlineCountsForTheWholeCycle() {
        var subject = Subject.awaitingCheckin()
        _ = subject.passToDue()
        #expect(subject.heartbeat(generation: 1) == ["online (checked_in)"])
        #expect(subject.grantPermit() == [], "the next wake is not needed any more")
        #expect(subject.record.wakeAttempts == 0)
    }

    @Test func anOrderCarriesTheWholeWake() throws {
        var subject = Subject([.heartbeatInterval: "20s", .checkinDeadline: "5s", .maxWakeAttempts: "2"])
        _ = subject.provision()
        _ = subject.grantPermit()
        let order = try #require(subject.orders.last)
        #expect(order.agent == Subject.address)
        #expect((order.generation, order.attempt, order.publication) == (1, 1, 1))
        #expect(order.maxAttempts == 2)
        #expect(order.checkinDeadline.description == "5s")
        #expect(order.heartbeatInterval.description == "20s")
        #expect(order.templatesDigest == "digest-1")
        #expect(order.role == .worker)
        #expect(order.board == "b1")
        #expect(!order.resetSession)
    }

    @Test func anExpiredOrderIsIssuedAgainUnchanged() throws {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        let first = try #require(subject.orders.last)
        _ = subject.apply { machine, _, _ in machine.change { $0.record.templatesDigest = "digest-2" } }
        #expect(subject.expired() == ["settle", "permit?"])
        #expect(subject.record.wakeAttempts == 0, "nobody was told of it")
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
        var expected = first
        expected.publication = 2
        #expect(subject.orders.last == expected)
    }

    @Test func aFailureCountsAsItsAttemptAndItsDeadlineRunsFromIt() {
        var subject = Subject([.maxWakeAttempts: "2"])
        _ = subject.provision()
        _ = subject.grantPermit()
        #expect(subject.failed(age: "2s") == ["settle", "provision_failed (the template is broken)"])
        #expect(
            subject.logs == [
                .wakeFailed(attempt: 1, error: "the template is broken"),
                .deadlineArmed(attempt: 1, delay: .seconds(28)),
            ])
        #expect(subject.record.status == .provisioning)
        #expect(subject.record.wakeAttempts == 1)
        #expect(subject.record.lastProvisionError == "the template is broken")
        #expect(subject.record.checkinDeadlineAt == subject.wallTime + .seconds(28))
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        _ = subject.grantPermit()
        _ = subject.woken()
        #expect(subject.heartbeat() == ["online (checked_in)"])
        #expect(subject.record.lastProvisionError == nil)
    }

    @Test func aReportOfAnEarlierPublicationArmsNothing() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.observabilityRestored()
        _ = subject.grantPermit()
        #expect(subject.woken(publication: 1) == [])
        #expect(subject.dueIn == nil)
        #expect(subject.woken(publication: 2) == ["settle", "woken (provision)"])
        #expect(subject.woken(publication: 2) == [], "a repeat changes nothing")
    }

    @Test func aReportOfAnEarlierGenerationIsLoggedAndSkipped() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.wake()
        #expect(subject.woken(publication: 1) == [])
        #expect(subject.logs == [.skippedStaleGeneration(attempt: 1)])
        #expect(subject.record.wakeAttempts == 0)
    }

    @Test func aNewRequestStartsFromNothing() {
        var subject = Subject([.maxWakeAttempts: "1"])
        _ = subject.provision()
        _ = subject.grantPermit()
        _ = subject.reject(.badToken)
        _ = subject.woken(delivery: .noSubscriber)
        _ = subject.passToDue()
        #expect(subject.record.lastRejection != nil)
        #expect(subject.wake() == ["updating (manual)", "permit?"])
        #expect(subject.record.generation == 2)
        #expect(subject.record.wakeAttempts == 0)
        #expect(subject.record.lastProvisionError == nil)
        #expect(subject.record.lastRejection == nil)
        #expect(subject.record.wakeDelivery == nil)
    }

    @Test func aCycleKeepsThePolicyItBeganWith() {
        var subject = Subject.awaitingCheckin()
        _ = subject.apply { machine, context, directives in
            machine.change {
                $0.record.policy.maxWakeAttempts = 1
                $0.record.policy.checkinDeadline = DurationText(1, .seconds)
            }
            machine.noteChange("updated", context, into: &directives)
        }
        #expect(subject.dueIn == 30_000)
        #expect(subject.passToDue() == ["retriggered (checkin_missed)", "permit?"])
        _ = subject.grantPermit()
        #expect(subject.orders.last?.checkinDeadline.description == "30s")
        #expect(subject.orders.last?.maxAttempts == 3)
        _ = subject.wake()
        _ = subject.grantPermit()
        #expect(subject.orders.last?.checkinDeadline.description == "1s")
    }

    @Test func provisionedWithoutAWakeItIsOfflineInTheSameGeneration() {
        var subject = Subject.awaitingCheckin()
        let lines = subject.apply { $0.provisionWithoutWake($1, into: &$2) }
        #expect(lines == ["changed (provisioned)"])
        #expect(subject.record.status == .offline)
        #expect(subject.record.generation == 1)
        #expect(subject.record.checkinDeadlineAt == nil)
        #expect(subject.dueIn == nil)
        #expect(subject.heartbeat() == ["online (heartbeat)"])
    }

    // MARK: The causes of a missed check-in

    enum Cause: Int, CaseIterable, Sendable {
        case gatewayLost, rejections, olderGeneration, exit, nobodySubscribed, staleTemplates

        var text: String {
            switch self {
            case .gatewayLost: "gateway gw-1 is lost"
            case .rejections: "heartbeats rejected: bad_token ×2: x-agent-token: is not this agent's token"
            case .olderGeneration: "it still runs generation 0"
            case .exit: "it exited with status 3"
            case .nobodySubscribed: "no gateway received the wake"
            case .staleTemplates: "templates are stale"
            }
        }
    }

    /// All sets of causes: the first that holds is named, and nothing when none does.
    @Test(arguments: 0..<64)
    func theErrorNamesTheFirstCauseThatHolds(mask: Int) {
        let causes = Cause.allCases.filter { mask & (1 << $0.rawValue) != 0 }
        var subject = Subject([.maxWakeAttempts: "1"])
        _ = subject.provision()
        _ = subject.grantPermit()
        if causes.contains(.rejections) {
            _ = subject.reject(.malformed)
            _ = subject.heartbeat(token: "wrong")
            _ = subject.heartbeat(token: "wrong")
        }
        if causes.contains(.exit) { _ = subject.heartbeat(.stopping, generation: 1, exitStatus: 3) }
        if causes.contains(.olderGeneration) { _ = subject.heartbeat(generation: 0) }
        if causes.contains(.staleTemplates) { _ = subject.heartbeat(.starting, digest: "digest-0") }
        _ = subject.woken(delivery: causes.contains(.nobodySubscribed) ? .noSubscriber : .accepted)
        subject.isGatewayLost = causes.contains(.gatewayLost)
        #expect(subject.passToDue() == ["offline (checkin_missed)"])
        let end = causes.first.map { ": " + $0.text } ?? ""
        #expect(
            subject.record.lastProvisionError
                == "Agent did not check in after wake; max wake attempts reached" + end)
    }
}
