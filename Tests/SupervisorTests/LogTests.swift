import Glibc
import Model
import Testing

@testable import ServiceHost

/// A pipe whose write end is a descriptor as a shell would give it.
private final class Pipe {
    private var ends: [Int32] = [-1, -1]
    var input: Int32 { ends[1] }

    init() {
        #expect(pipe(&ends) == 0)
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    }

    func take() -> String {
        var bytes = [UInt8](repeating: 0, count: 1_048_576)
        let count = read(ends[0], &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    deinit { for end in ends { close(end) } }
}

struct LogOutputTests {
    private let line = [UInt8](repeating: UInt8(ascii: "x"), count: 99) + Array("\n".utf8)

    @Test func whatIsReadLosesNothing() {
        let pipe = Pipe()
        var output = LogOutput(pipe.input)
        for number in 0..<2_000 {
            output.write(Array("\(number)\n".utf8))
            if number % 100 == 99 { #expect(pipe.take().hasSuffix("\(number)\n")) }
        }
        #expect(output.takeDropped() == 0)
    }

    @Test func nobodyReadsAndItGoesOn() {
        let pipe = Pipe()
        // What the test shares with others keeps its flags.
        var output = LogOutput(pipe.input, pendingBytesMax: 10_000)
        #expect(fcntl(pipe.input, F_GETFL) & O_NONBLOCK == 0)
        for _ in 0..<2_000 { output.write(line) }
        #expect(output.takeDropped() == 0, "not before it flows again")

        var read = ""
        for _ in 0..<10 {
            read += pipe.take()
            output.flush()
        }
        let dropped = output.takeDropped()
        #expect(dropped > 1_000)
        #expect(read.split(separator: "\n").count + dropped == 2_000)
        #expect(read.split(separator: "\n").allSatisfy { $0.count == 99 }, "lines stay whole")
        #expect(output.takeDropped() == 0, "told once")
    }

    @Test func aReaderThatWentAwayStopsNothing() {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        var output = LogOutput(ends[1])
        close(ends[0])
        output.write(line)
        output.write(line)
        #expect(output.takeDropped() == 2)
        close(ends[1])
    }

    @Test func aSocketIsNotWaitedForEither() {
        var ends: [Int32] = [-1, -1]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        var output = LogOutput(ends[1], pendingBytesMax: 1_000)
        for _ in 0..<50_000 { output.write(line) }
        #expect(output.takeDropped() == 0)
        for end in ends { close(end) }
    }
}

struct LogThrottleTests {
    private var throttle = LogThrottle()
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func at(_ milliseconds: Int64) -> Instant { start + TimeSpan(milliseconds: milliseconds) }

    @Test mutating func aFloodBecomesOneLineASecond() {
        var written: [Int] = []
        // 10,000 lines a second for ten seconds.
        for tenth in 0..<100_000 {
            if let leftOut = throttle.admit("kind", now: at(Int64(tenth) / 10)) { written.append(leftOut) }
        }
        let burst = Int(LogThrottle.burst)
        #expect((burst...burst + 15).contains(written.count))
        let told = written.reduce(0, +)
        let untold = throttle.takeUntold(now: at(12_000)).first
        #expect(untold?.name == "kind")
        #expect(written.count + told + (untold?.count ?? 0) == 100_000)
        #expect(throttle.takeUntold(now: at(20_000)).isEmpty)
    }

    @Test mutating func otherKindsAreNotLeftOut() {
        for _ in 0..<1_000 { _ = throttle.admit("flood", now: start) }
        #expect(throttle.admit("other", now: start) == 0)
    }

    @Test mutating func aSteadyStreamIsWrittenWhole() {
        for number in 0..<1_000 { #expect(throttle.admit("kind", now: at(Int64(number) * 50)) == 0) }
    }

    @Test mutating func afterAPauseAllIsWrittenAgain() {
        for _ in 0..<1_000 { _ = throttle.admit("kind", now: start) }
        #expect(throttle.takeUntold(now: at(3_000)).map(\.count) == [599])
        for _ in 0..<50 { #expect(throttle.admit("kind", now: at(10_000)) == 0) }
    }
}
