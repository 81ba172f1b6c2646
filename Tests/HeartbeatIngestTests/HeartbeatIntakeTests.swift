import API
import HeartbeatIngestCore
import Model
import Testing
import Wire

/// Messages in, batches out.
@Suite struct HeartbeatIntakeTests {
    private var intake = HeartbeatIntake(topics: Topics(), partitionCount: 1)

    private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
    private func wallTime(_ milliseconds: Int64) -> Timestamp { Timestamp(millisecondsSince1970: 1_000 + milliseconds) }

    private mutating func receive(
        _ topic: String, _ payload: String = "", token: String? = nil, time: Int64 = 0
    ) -> HeartbeatIntake.Dismissal? {
        intake.receive(
            topic: "rollcall/v1/" + topic, payload: Array(payload.utf8), tokenDigest: token, at: wallTime(time),
            now: at(time))
    }

    private mutating func segments(_ time: Int64) -> [String] {
        intake.takeBatches(now: at(time)).flatMap(\.batch.segments).map { segment in
            let who = segment.detail.map { "\($0.agent) \($0.rejected?.rawValue ?? $0.status?.rawValue ?? "-")" }
            return
                "\(segment.at) \(segment.age) \(segment.gateway ?? "-") \(who ?? segment.names.strings.joined(separator: ","))"
        }
    }

    @Test mutating func heartbeatsOfOneMillisecondShareASegment() {
        #expect(receive("agents/gw/a/heartbeat", time: 0) == nil)
        #expect(receive("agents/hw/b/heartbeat", time: 0) == nil)
        #expect(receive("agents/gw/c/heartbeat", time: 1) == nil)
        #expect(segments(19) == [])
        #expect(segments(20) == ["1000 20 - gw/a,hw/b", "1001 19 - gw/c"])
        #expect(intake.isEmpty)
    }

    /// A process that stands still between the batch that filled up and the end of its turn makes nothing younger.
    @Test mutating func aGatewayHasSoManyBadEntriesASecond() throws {
        let bad = Array(repeating: "1", count: 600).joined(separator: ",")
        #expect(try #require(receive("gateways/gw/heartbeats", "{\"agents\":[\(bad)]}")).count == 600)
        let refused = try #require(receive("gateways/gw/heartbeats", "{\"agents\":[\(bad),\"a\"]}"))
        #expect(refused.reason == .rateLimited && refused.count == 1)
        #expect(try #require(receive("gateways/gw/heartbeats", #"{"agents":[1]}"#)).reason == .rateLimited)
        #expect(receive("gateways/gw/heartbeats", #"{"agents":["b"]}"#) == nil, "what is right is taken")
        #expect(try #require(receive("gateways/other/heartbeats", #"{"agents":[1]}"#)).reason == .malformed)
        intake.beginSecond()
        #expect(try #require(receive("gateways/gw/heartbeats", #"{"agents":[1]}"#)).reason == .malformed)
        #expect(segments(20) == ["1000 20 gw b"])
    }

    @Test mutating func aFullBatchAgesUntilItIsTaken() {
        let names = (0..<BatchCollector.namesMax).map { "\"a\($0)\"" }.joined(separator: ",")
        #expect(receive("gateways/gw/heartbeats", "{\"agents\":[\(names)]}", time: 0) == nil)
        #expect(receive("agents/gw/b/heartbeat", time: 5) == nil)
        let ages = intake.takeBatches(now: at(5_000), all: true).map { $0.batch.segments.map(\.age) }
        #expect(ages == [[5_000], [4_995]])
    }

    @Test mutating func theOrderOfReceptionIsKept() {
        #expect(receive("gateways/gw/heartbeats", #"{"agents":["a",{"agent":"b","status":"degraded"},"c"]}"#) == nil)
        #expect(receive("agents/gw/d/heartbeat", #"{"status":"stopping"}"#) == nil)
        #expect(receive("agents/gw/a/heartbeat") == nil)
        #expect(
            segments(25) == [
                "1000 25 gw a", "1000 25 - gw/b degraded", "1000 25 gw c", "1000 25 - gw/d stopping", "1000 25 - gw/a",
            ])
    }

    @Test mutating func aTokenMakesAHeartbeatMoreThanPlain() {
        #expect(receive("agents/gw/a/heartbeat", token: "t") == nil)
        #expect(receive("gateways/gw/heartbeats", #"{"agents":["a","b"]}"#, token: "u") == nil)
        let details = intake.takeBatches(now: at(0), all: true).flatMap(\.batch.segments).compactMap(\.detail)
        #expect(details.map { "\($0.agent) \($0.tokenDigest ?? "")" } == ["gw/a t", "gw/a u", "gw/b u"])
    }

    @Test mutating func aBadHeartbeatIsCountedOnItsAgent() {
        #expect(receive("agents/gw/a/heartbeat", "nonsense", token: "t") == nil)
        #expect(receive("agents/gw/a/heartbeat", String(repeating: "x", count: 4_097)) == nil)
        #expect(receive("gateways/gw/heartbeats", #"{"agents":[{"agent":"b","seq":"x"}]}"#) == nil)
        #expect(segments(20) == ["1000 20 - gw/a malformed", "1000 20 - gw/a too_large", "1000 20 - gw/b malformed"])
        #expect(intake.counters.rejected == 3)
    }

    @Test mutating func aRefusalOfTheBrokerIsCountedOnItsAgent() {
        #expect(
            receive("internal/refusals", "gw/a bad_token\nhw/b rate_limited 7\ngw bad_token\n\nx y/z\ngw/c\n") == nil)
        #expect(segments(20) == ["1000 20 - gw/a bad_token", "1000 20 - hw/b rate_limited"])
        _ = receive("internal/refusals", "gw rate_limited 9\nop:ann rate_limited 1")
        #expect(segments(40) == [], "of agents alone something is kept")
        #expect(intake.overdrafts.warning("w", now: at(0))?.detail == "w: gw ×9, hw/b ×7, op:ann ×1")
        #expect(intake.counters.rejected == 2)
    }

    @Test mutating func whatNamesNobodyIsDismissed() throws {
        let topic = try #require(receive("agents/gw/-/heartbeat"))
        #expect(
            topic.reason == .malformed && topic.gateway == nil && topic.topic == "rollcall/v1/agents/gw/-/heartbeat")
        let broken = try #require(receive("gateways/gw/heartbeats", "x"))
        #expect(broken.reason == .malformed && broken.gateway == "gw" && broken.count == 1)
        let large = try #require(receive("gateways/gw/heartbeats", String(repeating: " ", count: 262_145)))
        #expect(large.reason == .tooLarge && large.gateway == "gw")
        let entries = try #require(receive("gateways/gw/heartbeats", #"{"agents":[1,"a",{}]}"#))
        #expect(entries.count == 2)
        #expect(segments(20) == ["1000 20 gw a"])
        #expect(intake.counters.rejected == 5)
    }

    @Test mutating func aFullBatchDoesNotWait() {
        for time in 0..<Int64(BatchCollector.segmentsMax) { _ = receive("agents/gw/a/heartbeat", time: time) }
        let batches = intake.takeBatches(now: at(0))
        #expect(batches.map(\.batch.segments.count) == [BatchCollector.segmentsMax])
        #expect(intake.isEmpty)
    }

    @Test mutating func aLargeMessageBecomesSeveralFramesBelowHalfTheLimit() {
        let name = String(repeating: "n", count: 40)
        let names = Array(repeating: "\"\(name)\"", count: 6_000).joined(separator: ",")
        #expect(receive("gateways/gw/heartbeats", #"{"agents":[\#(names)]}"#) == nil)
        for index in 0..<600 {
            let digest = String(repeating: "\u{1}", count: 200)
            _ = receive("agents/gw/a\(index)/heartbeat", JSON.text(["templates_digest": digest]))
        }
        let batches = intake.takeBatches(now: at(20))
        #expect(batches.reduce(0) { $0 + $1.batch.count } == 6_600)
        #expect(batches.allSatisfy { JSON.bytes($0.batch).count < Limits.messageBytesMax / 2 })
        #expect(batches.allSatisfy { $0.batch.count <= BatchCollector.namesMax })
    }

    @Test func aGatewaysAgentsGoToItsPartition() {
        var intake = HeartbeatIntake(topics: Topics(), partitionCount: 16)
        for gateway in ["gw-1", "gw-2", "gw-3"] {
            _ = intake.receive(
                topic: "rollcall/v1/agents/\(gateway)/a/heartbeat", payload: [], tokenDigest: nil, at: wallTime(0),
                now: at(0))
            _ = intake.receive(
                topic: "rollcall/v1/gateways/\(gateway)/heartbeats", payload: Array(#"{"agents":["b"]}"#.utf8),
                tokenDigest: nil, at: wallTime(0), now: at(0))
        }
        let batches = intake.takeBatches(now: at(0), all: true)
        #expect(
            Set(batches.map(\.partition)) == Set(["gw-1", "gw-2", "gw-3"].map { Partition.of(gateway: $0, count: 16) }))
        #expect(intake.counters.received == 6 && intake.counters.names == 3 && intake.counters.messages == 6)
        #expect(intake.counters.plain == 6 && intake.counters.batches == Int64(batches.count))
    }
}
