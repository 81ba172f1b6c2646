import API
import Lifecycle
import Model
import StatusStoreCore
import Testing
import Wire

/// A partition's snapshot goes over in chunks, each read when it can go out.
@Suite struct GrantChunksTests {
    private struct DiskError: Error {}

    private let states = (0..<1_000).map { number in
        AgentState(
            record: AgentRecord(
                address: AgentAddress(gateway: "gw", agent: "a\(number)")!, board: nil, role: .main, status: .offline,
                policy: Policy(), createdAt: Timestamp(millisecondsSince1970: 0)))
    }
    private let requests = (0..<250).map { number in
        RememberedRequest(
            id: "q\(number)", digest: "d", until: Timestamp(millisecondsSince1970: 0), mintedFor: nil)
    }

    private func read(_ page: GrantChunks.Page) -> [GrantChunks.Item] {
        switch page {
        case .requests(let places): places.map { .request(requests[Int($0)]) }
        case .agents(let places): places.map { .agent(Carried(encoded: JSON.bytes(states[Int($0)]))) }
        }
    }

    private func whole() -> GrantChunks {
        GrantChunks(
            partition: 3, epoch: 2, incarnation: "i",
            first: [
                .gateway(GatewayState(gateway: "gw")), .boardPause(BoardPause(board: "b", until: nil)),
                .tombstone(Tombstone(agent: AgentAddress("gw/gone")!, generation: 3, revision: 9)),
            ], requests: requests.indices.map { Int64($0) }, agents: states.indices.map { Int64($0) })
    }

    private func decode(_ chunk: GrantChunk) throws -> GrantChunk? {
        let frame = StreamFrame<ReconcilerMessage>(
            id: StreamID(service: "s", instance: "i", incarnation: "n", stream: "x"), seq: 4, lowWaterMark: 2, age: 7,
            body: .grant(chunk))
        let bytes = WireFormat.bytes(frame)
        #expect(bytes.count < 500_000)
        let raw = try WireFormat.decode(StreamFrame<ReconcilerMessage>.self, from: bytes)
        #expect([raw.seq, raw.lowWaterMark, Int(raw.age)] == [4, 2, 7])
        guard case .grant(let chunk) = raw.body else { return nil }
        return chunk
    }

    @Test func comesTogetherAgain() throws {
        var chunks = whole()
        var found: [GrantChunk] = []
        var isLast = false
        while !isLast {
            let next = chunks.next(read)
            isLast = next.isLast
            found.append(try #require(try decode(next)))
        }
        #expect(found.count > 2)
        #expect(found.map(\.index) == Array(found.indices))
        #expect(found.map(\.isLast) == found.indices.map { $0 == found.count - 1 })
        #expect(found.allSatisfy { $0.epoch == 2 && $0.partition == 3 && $0.incarnation == "i" })
        #expect(found[0].gateways.count == 1, "before its agents")
        #expect(found.flatMap(\.tombstones).count == 1)
        #expect(found.flatMap(\.boardPauses).count == 1)
        #expect(found.flatMap(\.requests) == requests)
        #expect(found.flatMap(\.agents) == states)
    }

    @Test func readsNoMoreThanAChunkAndAPage() {
        var chunks = whole()
        var count = 0
        _ = chunks.next { page in
            if case .agents(let places) = page { count += places.count }
            return read(page)
        }
        #expect((1...600).contains(count))
    }

    @Test func losesNothingWhenAPageCannotBeRead() throws {
        var chunks = whole()
        var reads = 0
        #expect(throws: DiskError.self) {
            _ = try chunks.next { page throws(DiskError) in
                reads += 1
                if reads == 4 { throw DiskError() }
                return read(page)
            }
        }
        var agents: [AgentState] = []
        var isLast = false
        while !isLast {
            let next = chunks.next(read)
            isLast = next.isLast
            agents += try decode(next)?.agents ?? []
        }
        #expect(agents == states)
    }

    @Test func nothingIsOneChunk() throws {
        var chunks = GrantChunks(partition: 0, epoch: 1, incarnation: "i", first: [])
        let next = chunks.next(read)
        #expect(next.isLast)
        #expect(try decode(next)?.isLast == true)
    }
}
