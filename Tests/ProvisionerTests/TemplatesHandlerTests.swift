import API
import Model
import Testing

@testable import ProvisionerCore

/// Who is told of newer templates, and how often.
@Suite struct TemplatesHandlerTests {
    private var handler = TemplatesHandler()
    private let agent = AgentAddress("gw/a")!

    private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    private func message(_ agent: AgentAddress, reset: Bool = false) -> TemplatesMessage {
        TemplatesMessage(agent: agent, templatesDigest: "new", overwrite: false, resetSession: reset)
    }

    private func record(reported: String?, wanted: String = "new", status: AgentStatus = .online) -> AgentRecord {
        var record = testRecord(agent)
        record.templatesDigest = wanted
        record.templatesDigestReported = reported
        record.status = status
        return record
    }

    @Test mutating func itIsRepeatedLessAndLessOftenUntilItIsReported() {
        handler.add(message(agent), at(0))
        var sent: [Int64] = []
        for second in 0..<200 where !handler.take(at(Int64(second))).isEmpty {
            if handler.found(agent, record(reported: "old")) != nil { sent.append(Int64(second)) }
        }
        #expect(sent == [0, 5, 15, 35, 75, 135, 195])
        #expect(handler.take(at(255)) == [agent])
        #expect(handler.found(agent, record(reported: "new")) == nil)
        #expect(handler.take(at(1_000)) == [])
    }

    @Test mutating func whoHasThemIsNotToldUnlessItsSessionIsToBeReset() {
        handler.add(message(agent), at(0))
        #expect(handler.found(agent, record(reported: "new")) == nil)
        handler.add(message(agent, reset: true), at(0))
        #expect(handler.found(agent, record(reported: "new"))?.resetSession == true)
        #expect(handler.found(agent, record(reported: "new")) == nil, "once")
    }

    @Test mutating func whoIsGoneOrIsToRunOthersIsNotTold() {
        for record in [nil, record(reported: nil, wanted: "newer"), record(reported: nil, status: .deleting)] {
            handler.add(message(agent), at(0))
            #expect(handler.found(agent, record) == nil)
            #expect(handler.take(at(100)) == [])
        }
    }

    @Test mutating func whoIsOfflineIsToldOnce() {
        handler.add(message(agent), at(0))
        #expect(handler.found(agent, record(reported: nil, status: .offline)) != nil)
        #expect(handler.found(agent, record(reported: nil, status: .offline)) == nil)
    }

    @Test mutating func aTokenIsAskedForUntilTheRecordHasAnother() {
        var record = record(reported: "old")
        record.tokenID = "t1"
        handler.add(
            TemplatesMessage(
                agent: agent, templatesDigest: "new", overwrite: true, resetSession: true, rotateToken: "r1"),
            at(0))
        #expect(handler.found(agent, record)?.rotateToken == "r1")
        record.templatesDigestReported = "new"
        let repeated = handler.found(agent, record)
        #expect(repeated?.rotateToken == "r1")
        #expect(repeated?.overwrite == false && repeated?.resetSession == false, "that was done")
        record.tokenID = "t2"
        #expect(handler.found(agent, record) == nil)
    }

    @Test mutating func whoAsksForNoTokenIsLeftAlone() {
        var record = record(reported: "new")
        record.tokenID = "t1"
        handler.add(
            TemplatesMessage(
                agent: agent, templatesDigest: "new", overwrite: false, resetSession: false, rotateToken: "r1"), at(0))
        var sent = 0
        while handler.found(agent, record) != nil { sent += 1 }
        #expect(sent == TemplatesHandler.rotationsMax)
    }

    @Test mutating func theyArePaced() {
        for number in 0..<95 { handler.add(message(AgentAddress("gw/a\(number)")!), at(0)) }
        #expect((0..<4).map { _ in handler.take(at(0)).count } == [30, 30, 30, 5])
        #expect(handler.take(at(0)) == [])
    }
}
