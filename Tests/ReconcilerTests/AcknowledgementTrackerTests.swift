import Testing
import Wire

@testable import ReconcilerCore

/// Which input is acknowledged when.
@Suite struct AcknowledgementTrackerTests {
    private var ledger = AcknowledgementTracker()
    private var sent = 0
    private var step = 0

    private func stream(_ ingest: String) -> StreamID {
        StreamID(service: "heartbeat-ingest", instance: ingest, incarnation: "i", stream: "0")
    }

    /// An input that causes so many entries, and depends on those of `other`, a step, besides.
    @discardableResult
    private mutating func take(_ ingest: String, _ seq: Int, causing count: Int, after other: Int = 0) -> Int {
        work(causing: count)
        ledger.handled(stream(ingest), seq, dependingOn: count > 0 ? step : other)
        return step
    }

    /// The time, a barrier or a slice causes so many.
    private mutating func work(causing count: Int) {
        step += 1
        for _ in 0..<count { ledger.add(StoreEntry()) }
        ledger.endStep(step)
    }

    private mutating func flush() -> [String] {
        var number = sent
        let free = ledger.flush { _ in
            number += 1
            return number
        }
        sent = number
        return names(free)
    }

    private func names(_ inputs: [AcknowledgementTracker.Input]) -> [String] {
        inputs.map { "\($0.id.instance) \($0.seq)" }
    }

    @Test mutating func waitsForWhatItCaused() {
        take("a", 1, causing: 1)
        #expect(flush().isEmpty)
        #expect(names(ledger.committed(upTo: 1)) == ["a 1"])
    }

    @Test mutating func waitsForNothingElse() {
        work(causing: 3)
        take("a", 1, causing: 0)
        work(causing: 3)
        #expect(flush() == ["a 1"])
        take("a", 2, causing: 0)
        #expect(flush() == ["a 2"])
    }

    /// An acknowledgement says that all before it is committed as well.
    @Test mutating func waitsForWhatCameBeforeOnItsStream() {
        take("a", 1, causing: 1)
        take("a", 2, causing: 0)
        take("b", 7, causing: 0)
        #expect(flush() == ["b 7"])
        take("a", 3, causing: 1)
        take("a", 4, causing: 0)
        #expect(flush().isEmpty)
        #expect(names(ledger.committed(upTo: 1)) == ["a 1", "a 2"])
        #expect(names(ledger.committed(upTo: 2)) == ["a 3", "a 4"])
    }

    @Test mutating func waitsForItsOwnFrameOfATurn() {
        take("a", 1, causing: 150)
        take("b", 1, causing: 150)
        work(causing: 150)
        #expect(flush().isEmpty)
        #expect(sent == 3)
        #expect(names(ledger.committed(upTo: 1)) == ["a 1"])
        #expect(names(ledger.committed(upTo: 2)) == ["b 1"])
    }

    /// Nor is one acknowledged whose agents have uncommitted entries of another input.
    @Test mutating func waitsForWhatItDependsOn() {
        let first = take("a", 1, causing: 1)
        work(causing: 1)
        #expect(flush().isEmpty)
        work(causing: 250)
        take("b", 1, causing: 0, after: first)
        take("c", 1, causing: 0, after: first + 1)
        #expect(flush().isEmpty)
        #expect(sent == 3)
        #expect(names(ledger.committed(upTo: 1)) == ["a 1", "b 1", "c 1"])
        take("b", 2, causing: 0, after: first)
        #expect(flush() == ["b 2"])
    }

    /// What is too much for one frame is committed with its last one.
    @Test mutating func waitsForItsLastFrame() {
        take("a", 1, causing: 450)
        #expect(flush().isEmpty)
        #expect(sent == 3)
        #expect(ledger.committed(upTo: 2).isEmpty)
        #expect(names(ledger.committed(upTo: 3)) == ["a 1"])
    }
}
