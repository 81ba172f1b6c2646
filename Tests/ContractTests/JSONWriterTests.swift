import FoundationEssentials
import Lifecycle
import Model
import Testing

@testable import API
@testable import Wire

/// What services write and read most: the same bytes that a general encoder makes, and the same values.
@Suite struct JSONWriterTests {
    private struct Odd: Codable {
        enum Kind: Codable {
            case none
            case one(Int)
            case two(left: String, right: [Double]?)
        }

        var numbers: [String: Int] = ["b": 1, "a": 2, "B": 3, "a10": 4, "a2": 5, "ü": 6, "aa\"": 7, "": 8]
        var kinds: [Kind] = [.none, .one(-1), .two(left: "\u{1}\u{1f}\u{7f}\"\\/\n\t\r\u{8}\u{c} 🦊", right: nil)]
        var nested: [[Int]] = [[], [1], [2, .max, .min]]
        var doubles = [0, 0.1, -3, 1e300, 1e-7, 5e15]
        var single: Float = 1.5
        var byte: UInt8 = 255
        var empty: [String: String] = [:]
        var missing: Int?
        var isTrue = true
    }

    /// One that asks for its container twice, and nests.
    private struct Twice: Encodable {
        enum CodingKeys: CodingKey { case a, b, c, d }

        func encode(to encoder: any Encoder) throws {
            var first = encoder.container(keyedBy: CodingKeys.self)
            try first.encode(1, forKey: .d)
            var second = encoder.container(keyedBy: CodingKeys.self)
            var nested = second.nestedUnkeyedContainer(forKey: .c)
            try nested.encode(Nothing())
            try nested.encodeNil()
            var inner = nested.nestedContainer(keyedBy: CodingKeys.self)
            try inner.encode([1], forKey: .b)
            try second.encode(Int?.none, forKey: .a)
        }
    }

    private struct Nothing: Encodable {}

    private func expected(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    @Test func writesWhatAnEncoderWrites() throws {
        #expect(JSON.text(Odd()) == (try expected(Odd())))
        #expect(JSON.text(Twice()) == (try expected(Twice())))
        #expect(JSON.text(Nothing()) == "{}")
        #expect(JSON.text("a\"") == #""a\"""#)
        #expect(JSON.text(Int?.none) == "null")
        #expect(JSON.text([1: "one"]) == #"{"1":"one"}"#)
        #expect(JSON.text(MessageTests.fullRecord) == (try expected(MessageTests.fullRecord)))
    }

    @Test func whatIsNoNumberIsRefused() {
        #expect(throws: EncodingError.self) { try JSONWriter.bytes(of: Double.nan) }
    }

    // MARK: Frequent messages

    private static let id = StreamID(service: "reconciler", instance: "1", incarnation: "i", stream: "events/3/7")
    private static let agent = AgentAddress("gw-1/a")!

    private func frame<Body>(_ body: Body?) -> StreamFrame<Body> {
        StreamFrame(id: JSONWriterTests.id, seq: 7, lowWaterMark: 3, age: 12, body: body)
    }

    /// Read at once, and the same as a decoder reads, by what both are written as.
    private func isFrequent<Message: FrequentMessage & Codable>(_ message: Message) throws -> Bool {
        let bytes = JSON.bytes(message)
        #expect(String(decoding: bytes, as: UTF8.self) == (try expected(message)))
        let decoded = try JSONDecoder().decode(Message.self, from: Data(bytes))
        #expect(JSON.bytes(decoded) == bytes)
        guard let read = Message.read(bytes) else { return false }
        #expect(JSON.bytes(read) == bytes)
        return true
    }

    @Test func batchesAreFrequent() throws {
        var detail = HeartbeatDetail(agent: JSONWriterTests.agent)
        (detail.status, detail.note) = (.degraded, "ü \"\n")
        let batch = HeartbeatBatch(segments: [
            .init(at: 5, age: 0, gateway: "gw-1", names: NameRun(["a", "b"]), detail: nil),
            .init(at: 6, age: 3, gateway: nil, names: NameRun(["gw-1/a"]), detail: nil),
            .init(at: 6, age: 3, gateway: nil, names: NameRun(), detail: detail),
        ])
        #expect(try isFrequent(frame(PartitionMessage.batch(batch))))
        #expect(try !isFrequent(frame(PartitionMessage.introduction(subscription: 3))))
        #expect(try isFrequent(StreamAcknowledgement(id: JSONWriterTests.id, upTo: 4, resendFrom: nil)))
        #expect(try isFrequent(StreamAcknowledgement(id: JSONWriterTests.id, upTo: 4, resendFrom: 5)))
    }

    @Test func verdictsAreFrequent() throws {
        var state = AgentState(record: MessageTests.fullRecord)
        state.record.variables = ["quote\"": "back\\slash \u{1} ü [}"]
        let event = AgentEventEntry(
            id: "gw-1/a#3", event: .lapsed, agent: JSONWriterTests.agent, reason: "silent", time: MessageTests.wallTime,
            source: "rollcall/reconciler/1", traceparent: nil)
        var agents = SeenAgents()
        (agents.agents, agents.at) = (["gw-1/a", "gw-1/b"], [1, 2])
        let gone = StoreEntry(
            .removal(
                Carried(state), event, Tombstone(agent: JSONWriterTests.agent, generation: 1, revision: 2)),
            .credential(CredentialChange(username: "gw-1/a", change: .remove)))
        let frame = frame(
            StoreFrame(
                partition: 3, epoch: 7,
                entries: [
                    StoreEntry(.agent(Carried(state), event)), StoreEntry(.settledOrder(JSONWriterTests.agent)),
                    StoreEntry(.seen(agents)), gone,
                ]))
        #expect(try isFrequent(frame))
        let read = StreamFrame<StoreFrame>.read(JSON.bytes(frame))?.body?.entries.first?.changes.first
        guard case .agent(let carried, .some) = read else {
            Issue.record("\(String(describing: read))")
            return
        }
        #expect(carried.bytes == JSON.bytes(state))
        #expect(try !isFrequent(StoreEntry(.resumedBoard("b"))))
    }

    @Test(arguments: [
        "", "{", "[]", "{}", #"{"body":{},"age":0}"#, #"{"age":0,"id":{},"lowWaterMark":1,"seq":1}"#,
        #"{"body":{"entries":[{"state":{"a":"b]}],"epoch":1,"partition":1}}"#,
        #"{"body":{"entries":[{"event":{"event":"unheard of"}}],"epoch":1,"partition":1}}"#,
    ])
    func whatIsBrokenIsLeftToADecoder(text: String) {
        #expect(StreamFrame<StoreFrame>.read(Array(text.utf8)) == nil)
    }

    // MARK: Runs of names

    @Test func aRunHoldsItsNames() {
        var names = NameRun(["a", "b-1", "c"])
        names.append("d")
        #expect(names.count == 4 && names.strings == ["a", "b-1", "c", "d"])
        var seen: [Int] = []
        names.forEachName { seen.append($0.count) }
        #expect(seen == [1, 3, 1, 1])
        #expect(names.parts(of: 3).map(\.strings) == [["a", "b-1", "c"], ["d"]])
        #expect(names.parts(of: 4) == [names] && NameRun().parts(of: 1) == [NameRun()])
        #expect(JSON.text(names) == #""a b-1 c d ""#)
    }
}
