import Bus
import Contract
import Lifecycle

/// The streams a process sends, as `StreamOutlet` keeps them, around the real `StreamSender`.
struct SimOutlet<Body: Codable & Sendable> {
    struct Lane {
        let topic: SimTopic
        let stream: String
        var sender: StreamSender<Body>
    }

    private let service: ServiceName
    private let instance: String
    private let incarnation: String
    /// Whether what has no receipt is sent again.
    private let repeats: Bool
    /// Whether a receipt of an earlier life counts for this one.
    private let takesAny: Bool
    private let wrap: (StreamFrame<Body>) -> SimBody
    private let windowMax: Int
    private(set) var lanes: [Lane] = []
    private var announcedAt = Instant(nanoseconds: 0)
    private var progressedAt = Instant(nanoseconds: 0)
    private var ready: [(SimTopic, SimBody)] = []

    /// - Parameter windowMax: small, so that frames wait for receipts.
    init(_ process: Process, windowMax: Int = 6, wrap: @escaping (StreamFrame<Body>) -> SimBody) {
        self.windowMax = windowMax
        service = process.service
        instance = process.instance
        incarnation = process.streamIncarnation
        repeats = !process.world.isBroken(.framesRepeat)
        takesAny = process.world.isBroken(.receiptsNameTheirLife)
        self.wrap = wrap
    }

    mutating func send(_ body: Body, to topic: SimTopic, stream: String, now: Instant) -> Int {
        let index = lane(topic, stream)
        if let frame = lanes[index].sender.send(body, now: now) { add([frame], index) }
        return lanes[index].sender.highestSeq
    }

    /// The stream that has gone on, and how far; `nil` when the receipt is for none of ours.
    mutating func receive(_ receipt: StreamReceipt, now: Instant) -> (stream: String, upTo: Int)? {
        guard takesAny || receipt.id.incarnation == incarnation,
            let index = lanes.firstIndex(where: { $0.stream == receipt.id.stream })
        else { return nil }
        let before = lanes[index].sender.receiptedSeq
        var receipt = receipt
        if takesAny {
            let id = lanes[index].sender.id
            receipt = StreamReceipt(id: id, upTo: receipt.upTo, resendFrom: receipt.resendFrom)
        }
        let frames = lanes[index].sender.receive(receipt, now: now)
        if lanes[index].sender.receiptedSeq > before { progressedAt = now }
        if repeats { add(frames, index) }
        return (lanes[index].stream, lanes[index].sender.receiptedSeq)
    }

    mutating func tick(now: Instant) {
        let announces = now.milliseconds(since: announcedAt) >= 1_000
        if announces { announcedAt = now }
        guard repeats else { return }
        for index in lanes.indices {
            let frames = lanes[index].sender.due(now: now)
            add(frames, index)
            if announces, frames.isEmpty, let announcement = lanes[index].sender.announcement() {
                add([announcement], index)
            }
        }
    }

    mutating func reconnected(now: Instant) {
        guard repeats else { return }
        for index in lanes.indices { add(lanes[index].sender.resendAll(now: now), index) }
    }

    mutating func end(stream: String) {
        lanes.removeAll { $0.stream == stream }
    }

    /// The id of one of our streams.
    func id(of stream: String) -> StreamID? { lanes.first { $0.stream == stream }?.sender.id }

    var keptCount: Int { lanes.reduce(0) { $0 + $1.sender.keptCount } }
    var oldestKept: Instant? { lanes.compactMap(\.sender.oldestKept).min() }
    var stuckSince: Instant? { oldestKept.map { max($0, progressedAt) } }

    /// What is to be published now.
    mutating func take() -> [(SimTopic, SimBody)] {
        defer { ready = [] }
        return ready
    }

    private mutating func lane(_ topic: SimTopic, _ stream: String) -> Int {
        if let index = lanes.firstIndex(where: { $0.stream == stream && $0.topic == topic }) { return index }
        let id = StreamID(service: service.rawValue, instance: instance, incarnation: incarnation, stream: stream)
        lanes.append(Lane(topic: topic, stream: stream, sender: StreamSender(id, windowMax: windowMax)))
        return lanes.count - 1
    }

    private mutating func add(_ frames: [StreamFrame<Body>], _ index: Int) {
        for frame in frames { ready.append((lanes[index].topic, wrap(frame))) }
    }
}

/// The streams a process receives, as `StreamInlet` keeps them, around the real `StreamReceiver`.
struct SimInlet {
    private let world: World
    private var receiver = StreamReceiver()
    private var asks: [StreamReceipt] = []

    init(_ world: World) {
        self.world = world
    }

    mutating func restore(_ id: StreamID, committed: Int, now: Instant) {
        receiver.restore(id, committed: committed, now: now)
    }

    /// Whether the frame is to be applied now.
    mutating func accepts<Body>(_ frame: StreamFrame<Body>, now: Instant) -> Bool {
        var lowest = frame.lowest
        if world.isBroken(.startsAtLowest) { lowest = 1 }
        if world.isBroken(.gapsWait), frame.body != nil { lowest = frame.seq }
        let verdict = receiver.judge(
            frame.id, seq: frame.seq, lowest: lowest, hasBody: frame.body != nil, now: now)
        switch verdict {
        case .apply: return true
        case .duplicate: return false
        case .gap(let from):
            if let from { asks.append(receiver.ask(frame.id, from: from)) }
            return false
        }
    }

    func hasGiven(_ id: StreamID, upTo seq: Int) -> Bool { receiver.hasApplied(id, upTo: seq) }

    mutating func committed(_ id: StreamID, upTo seq: Int) {
        receiver.committed(id, upTo: seq)
    }

    mutating func forget(_ id: StreamID) {
        receiver.forget(id)
    }

    /// The receipts that are owed and the requests to repeat, in an order of their own: sets have none.
    mutating func takeReceipts() -> [StreamReceipt] {
        defer { asks = [] }
        return receiver.takeReceipts().sorted { key($0.id) < key($1.id) } + asks
    }

    mutating func dropAsks() { asks = [] }

    private func key(_ id: StreamID) -> String { "\(id.service)/\(id.instance)/\(id.incarnation)/\(id.stream)" }
}

extension Process {
    func publish(_ receipts: [StreamReceipt]) {
        for receipt in receipts {
            publish(.receipts(service: receipt.id.service, instance: receipt.id.instance), .receipt(receipt))
        }
    }

    func publish(_ frames: [(SimTopic, SimBody)]) {
        for (topic, body) in frames { publish(topic, body) }
    }
}
