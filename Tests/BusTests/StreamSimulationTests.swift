import Bus
import Model
import Streams
import Testing
import Wire

/// A stream over a channel that loses, repeats and reorders, whose ends crash: by seed, so that a failure comes again.
@Suite struct StreamSimulationTests {
    @Test(arguments: 1...60)
    func everythingIsAppliedOnceAndInOrder(seed: UInt64) throws {
        var world = World(seed: seed)
        for _ in 0..<1_000 { world.step() }
        #expect(world.violations == [])
        // The channel heals and nobody crashes any more: everything arrives within some seconds.
        world.isHealthy = true
        var steps = 0
        while world.sender.unacknowledgedCount > 0, steps < 5_000 {
            world.step()
            steps += 1
        }
        #expect(world.violations == [])
        #expect(world.sender.unacknowledgedCount == 0)
        #expect(world.durable[world.sender.id]?.bodies == world.sent[world.sender.id])
        for (id, log) in world.durable {
            #expect(
                log.bodies == Array((world.sent[id] ?? []).prefix(log.bodies.count)),
                "an incarnation's log is what it sent, in order")
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// One sender, one receiver with a store, and what is under way between them.
private struct World {
    struct Log {
        var bodies: [Int] = []
        /// The high-water mark seq committed: it is stored together with what the frames caused.
        var committed = 0
    }

    var random: SeededGenerator
    var now = Instant(nanoseconds: 1_000_000_000)
    var isHealthy = false
    var incarnation = 1
    var sender: StreamSender<Int>
    var receiver = StreamReceiver()
    /// Applied and not yet committed.
    var pending: [(id: StreamID, seq: Int, body: Int)] = []
    var durable: [StreamID: Log] = [:]
    var sent: [StreamID: [Int]] = [:]
    var frames: [StreamFrame<Int>] = []
    var acknowledgements: [StreamAcknowledgement] = []
    var violations: [String] = []
    var nextBody = 1
    let loss: Int
    let repeats: Int
    let reorders: Bool
    let windowMax: Int

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        windowMax = Int.random(in: 1...100, using: &random)
        sender = StreamSender(World.id(1), windowMax: windowMax)
        loss = Int.random(in: 0...50, using: &random)
        repeats = Int.random(in: 0...30, using: &random)
        reorders = Bool.random(using: &random)
    }

    static func id(_ incarnation: Int) -> StreamID {
        StreamID(service: "s", instance: "1", incarnation: "\(incarnation)", stream: "x")
    }

    mutating func step() {
        now = now + TimeSpan(milliseconds: Int64.random(in: 0...50, using: &random))
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<25 where !isHealthy && !sender.isFull:
            if let frame = sender.send(nextBody, now: now) { frames.append(frame) }
            sent[sender.id, default: []].append(nextBody)
            nextBody += 1
        case 25..<30:
            frames += sender.due(now: now)
            if let advertisement = sender.advertisement() { frames.append(advertisement) }
        case 30 where !isHealthy: frames += sender.resendAll(now: now)
        case 32..<70: for _ in 0..<Int.random(in: 1...50, using: &random) { deliverFrame() }
        case 70..<85: for _ in 0..<Int.random(in: 1...5, using: &random) { deliverAcknowledgement() }
        case 85..<97: commit()
        case 97 where !isHealthy:
            // A receiver's crash: what was not committed is gone.
            pending = []
            receiver = StreamReceiver()
            for (id, log) in durable { receiver.restore(id, committed: log.committed, now: now) }
        case 98 where !isHealthy && Int.random(in: 0..<20, using: &random) == 0:
            // A sender's crash: what it kept is gone.
            incarnation += 1
            sender = StreamSender(World.id(incarnation), windowMax: windowMax)
        case 99 where !isHealthy:
            // The broker's crash: what was under way is gone.
            frames = []
            acknowledgements = []
        default: break
        }
    }

    private mutating func take<Message>(_ channel: WritableKeyPath<World, [Message]>) -> Message? {
        guard !self[keyPath: channel].isEmpty else { return nil }
        let index = reorders ? Int.random(in: 0..<self[keyPath: channel].count, using: &random) : 0
        let message = self[keyPath: channel].remove(at: index)
        if !isHealthy, Int.random(in: 0..<100, using: &random) < repeats { self[keyPath: channel].append(message) }
        if !isHealthy, Int.random(in: 0..<100, using: &random) < loss { return nil }
        return message
    }

    private mutating func deliverFrame() {
        guard let frame = take(\.frames) else { return }
        switch receiver.judge(
            frame.id, seq: frame.seq, lowWaterMark: frame.lowWaterMark, hasBody: frame.body != nil, now: now)
        {
        case .apply:
            if let body = frame.body { pending.append((frame.id, frame.seq, body)) }
        case .duplicate, .gap(nil): break
        case .gap(let from?): acknowledgements.append(receiver.ask(frame.id, from: from))
        }
    }

    private mutating func commit() {
        for item in pending {
            if durable[item.id, default: Log()].committed >= item.seq { violations.append("\(item.seq) applied twice") }
            durable[item.id, default: Log()].bodies.append(item.body)
            durable[item.id, default: Log()].committed = item.seq
            receiver.committed(item.id, upTo: item.seq)
        }
        pending = []
        let owed = receiver.takeAcknowledgements()
        for acknowledgement in owed where acknowledgement.upTo > durable[acknowledgement.id]?.committed ?? 0 {
            violations.append("acknowledge \(acknowledgement.upTo) before its commit")
        }
        acknowledgements += owed
    }

    private mutating func deliverAcknowledgement() {
        guard let acknowledgement = take(\.acknowledgements) else { return }
        if acknowledgement.upTo > durable[acknowledgement.id]?.committed ?? 0 {
            violations.append("acknowledge \(acknowledgement.upTo) before its commit")
        }
        let answer = sender.receive(acknowledgement, now: now)
        frames += answer
        if acknowledgement.id == sender.id, sender.acknowledgedSeq > durable[sender.id]?.committed ?? 0 {
            violations.append("\(sender.acknowledgedSeq) forgotten before its commit")
        }
    }
}
