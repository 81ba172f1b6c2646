import HeartbeatIngestCore
import Testing

@Suite struct BacklogTests {
    @Test func anOwnerThatHangsStopsNobody() {
        var backlog = Backlog(partitionCount: 64)
        // Eight partitions of one owner, a full batch of one gateway's agents each 20 ms, for a minute; the others go on.
        for seq in 1...(50 * 60) {
            for partition in 0..<64 {
                backlog.sent(seq, to: partition, bytes: 1_500)
                if partition >= 8 { backlog.acknowledged(partition, upTo: seq) }
            }
        }
        #expect(backlog.count == 8 * 50 * 60)
        #expect(!backlog.isFull)
        for partition in 0..<8 { backlog.acknowledged(partition, upTo: 50 * 60) }
        #expect(backlog.count == 0 && backlog.bytes == 0)
    }

    @Test func memoryIsBoundedAndReadingBeginsAgainWellBelow() {
        var backlog = Backlog(partitionCount: 2)
        var seq = 0
        while !backlog.isFull {
            seq += 1
            backlog.sent(seq, to: seq % 2, bytes: 100_000)
        }
        #expect(backlog.bytes > Backlog.bytesMax && backlog.bytes < Backlog.bytesMax + 100_400)
        backlog.acknowledged(0, upTo: 10)
        #expect(backlog.isFull, "a little room is none")
        backlog.acknowledged(0, upTo: seq)
        backlog.acknowledged(1, upTo: seq / 10)
        #expect(!backlog.isFull)
        #expect(backlog.bytes < Backlog.bytesMax / 2)
    }

    @Test func aAcknowledgementCountsForItsPartitionAndOnce() {
        var backlog = Backlog(partitionCount: 2)
        backlog.sent(2, to: 0, bytes: 10)
        backlog.sent(3, to: 0, bytes: 10)
        backlog.sent(2, to: 1, bytes: 10)
        backlog.acknowledged(0, upTo: 1)
        #expect(backlog.count == 3, "an introduction before them")
        backlog.acknowledged(0, upTo: 2)
        backlog.acknowledged(0, upTo: 2)
        #expect(backlog.count == 2)
    }
}
