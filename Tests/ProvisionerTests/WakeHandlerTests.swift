import API
import Lifecycle
import Model
import ProvisionerCore
import Testing
import Wire

/// Wake orders in, wakes and reports out.
@Suite struct WakeHandlerTests {
    private var handler = WakeHandler(topics: Topics(), files: testFiles())

    private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
    private func wallTime(_ milliseconds: Int64) -> Timestamp {
        Timestamp(millisecondsSince1970: 1_000_000 + milliseconds)
    }

    private func order(
        _ agent: String = "a1", publication: Int = 1, deadline: DurationText = DurationText(1_500, .milliseconds),
        owner: String? = "eve", digest: String? = nil
    ) throws -> WakeOrder {
        WakeOrder(
            agent: try #require(AgentAddress(gateway: "gw", agent: agent)), generation: 3, attempt: 2,
            publication: publication,
            maxAttempts: 3, reason: .retrigger, checkinDeadline: deadline,
            heartbeatInterval: DurationText(60, .seconds),
            resetSession: false, templatesDigest: digest ?? "gw/\(agent) eve", role: .worker, board: "b",
            variables: owner.map { ["owner": $0] } ?? [:], traceparent: "trace")
    }

    private mutating func handle(_ event: WakeHandler.Event, _ time: Int64 = 0) -> [WakeHandler.Directive] {
        var directives: [WakeHandler.Directive] = []
        handler.handle(event, now: at(time), wallTime: wallTime(time), into: &directives)
        return directives
    }

    private func keys(_ directives: [WakeHandler.Directive]) -> [WakeHandler.Key] {
        directives.compactMap { if case .publish(let key, _, _, _) = $0 { key } else { nil } }
    }

    private func reports(_ directives: [WakeHandler.Directive]) -> [WakeReport] {
        directives.compactMap { if case .report(let report) = $0 { report } else { nil } }
    }

    @Test mutating func anOrderBecomesAWakeAndThenAReport() throws {
        let order = try order()
        let directives = handle(.orderReceived(OrderMessage(order: order, age: 10)))
        guard case .publish(let key, let message, let expirySeconds, let traceparent) = try #require(directives.first)
        else { return #expect(Bool(false), "no wake was published") }
        #expect(directives.count == 1 && expirySeconds == 2 && traceparent == "trace")
        #expect(message == WakeMessage(order, deadlineAt: wallTime(1_500), topics: Topics()))
        let woken = WakeReport.Outcome.woken(sentAt: wallTime(0), deadlineAt: wallTime(1_500), delivery: .accepted)
        #expect(reports(handle(.acknowledged(key, reason: 0), 40)) == [WakeReport(order, outcome: woken, age: 40)])
        #expect(handle(.acknowledged(key, reason: 0), 41) == [])
        #expect(handler.count == 0)
    }

    @Test mutating func nobodySubscribedIsSaid() throws {
        let order = try order()
        let key = try #require(keys(handle(.orderReceived(OrderMessage(order: order, age: 0)))).first)
        let woken = WakeReport.Outcome.woken(sentAt: wallTime(0), deadlineAt: wallTime(1_500), delivery: .noSubscriber)
        #expect(reports(handle(.acknowledged(key, reason: 0x10), 1)) == [WakeReport(order, outcome: woken, age: 1)])
    }

    @Test mutating func aRefusedWakeHasFailed() throws {
        let order = try order()
        let key = try #require(keys(handle(.orderReceived(OrderMessage(order: order, age: 0)))).first)
        let failed = WakeReport.Outcome.failed(at: wallTime(7), error: "the broker refused the wake with reason 0x87")
        #expect(reports(handle(.acknowledged(key, reason: 0x87), 7)) == [WakeReport(order, outcome: failed, age: 0)])
    }

    @Test mutating func anOldOrderHasExpired() throws {
        let order = try order()
        let expired = WakeReport(order, outcome: .expired, age: 0)
        #expect(reports(handle(.orderReceived(OrderMessage(order: order, age: 5_001)))) == [expired])
        #expect(keys(handle(.orderReceived(OrderMessage(order: order, age: 5_000)))).count == 1)
    }

    @Test mutating func anOrderAgesWhileItWaits() throws {
        var under: [WakeHandler.Key] = []
        for number in 0..<WakeHandler.underWayMax {
            under += keys(handle(.orderReceived(OrderMessage(order: try order("n\(number)"), age: 0))))
        }
        #expect(under.count == WakeHandler.underWayMax)
        #expect(handle(.orderReceived(OrderMessage(order: try order("x"), age: 2_000))) == [])
        #expect(handle(.orderReceived(OrderMessage(order: try order("y"), age: 1_999))) == [])
        let directives = handle(.acknowledged(under[0], reason: 0), 3_001)
        #expect(reports(directives).map(\.agent.agent) == ["n0", "x"])
        #expect(reports(directives).last?.outcome == .expired)
        #expect(keys(directives).map(\.agent.agent) == ["y"])
    }

    @Test mutating func whatCannotBeRenderedHasFailed() throws {
        let order = try order(owner: nil)
        let failed = WakeReport.Outcome.failed(at: wallTime(0), error: "t/worker/X.md:1: unknown variable 'owner'")
        #expect(
            handle(.orderReceived(OrderMessage(order: order, age: 0))) == [
                .report(WakeReport(order, outcome: failed, age: 0))
            ])
        #expect(handler.count == 0)
    }

    @Test mutating func editedTemplatesAreMentionedOnceAMinute() throws {
        let warning = { (directives: [WakeHandler.Directive]) in
            directives.filter { if case .warnStaleTemplates = $0 { true } else { false } }
        }
        let first = handle(.orderReceived(OrderMessage(order: try order(publication: 1, digest: "old"), age: 0)))
        let agent = try order().agent
        #expect(warning(first) == [.warnStaleTemplates(agent, ordered: "old", rendered: "gw/a1 eve")])
        #expect(keys(first).count == 1)
        #expect(
            warning(
                handle(.orderReceived(OrderMessage(order: try order(publication: 2, digest: "old"), age: 0)), 59_999))
                == [])
        #expect(
            warning(
                handle(.orderReceived(OrderMessage(order: try order(publication: 3, digest: "old"), age: 0)), 60_000)
            )
            .count == 1)
    }

    @Test mutating func theSamePublicationIsMadeOnce() throws {
        let order = try order()
        #expect(keys(handle(.orderReceived(OrderMessage(order: order, age: 0)))).count == 1)
        #expect(handle(.orderReceived(OrderMessage(order: order, age: 0)), 1) == [])
        var again = order
        again.publication = 2
        #expect(keys(handle(.orderReceived(OrderMessage(order: again, age: 0)), 1)).count == 1)
    }

    @Test mutating func aLostSessionForgetsWhatWasUnderWay() throws {
        let order = try order()
        let key = try #require(keys(handle(.orderReceived(OrderMessage(order: order, age: 0)))).first)
        #expect(handle(.disconnected) == [])
        #expect(handle(.acknowledged(key, reason: 0)) == [])
        #expect(keys(handle(.orderReceived(OrderMessage(order: order, age: 0)))).count == 1)
    }
}
