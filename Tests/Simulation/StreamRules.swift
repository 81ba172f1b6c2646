import Streams
import Wire

/// The rules of streams that are switched off: what a process says and hears is changed on its way.
struct StreamRules {
    private let world: World
    /// The newest frame of each stream that went out.
    private var published: [StreamID: Int] = [:]

    init(_ world: World) {
        self.world = world
    }

    /// What goes out of these frames.
    mutating func outgoing<Body>(
        _ frames: [StreamSenders<Body>.Outgoing], instance: String
    ) -> [StreamSenders<Body>.Outgoing] {
        if world.isBroken(.incarnationsDiffer) {
            return frames.map { outgoing in
                let frame = outgoing.frame
                let id = named(frame.id, instance)
                return StreamSenders<Body>.Outgoing(
                    destination: outgoing.destination,
                    frame: StreamFrame(
                        id: id, seq: frame.seq, lowWaterMark: frame.lowWaterMark, age: frame.age, body: frame.body))
            }
        }
        guard world.isBroken(.framesRepeat) else { return frames }
        return frames.filter { outgoing in
            let frame = outgoing.frame
            guard frame.body != nil, frame.seq > published[frame.id] ?? 0 else { return false }
            published[frame.id] = frame.seq
            return true
        }
    }

    /// A frame as its receiver reads it.
    func incoming<Body>(_ frame: StreamFrame<Body>) -> StreamFrame<Body> {
        var lowWaterMark = frame.lowWaterMark
        if world.isBroken(.startsAtLowWaterMark) { lowWaterMark = 1 }
        if world.isBroken(.gapsWait), frame.body != nil { lowWaterMark = frame.seq }
        return StreamFrame(id: frame.id, seq: frame.seq, lowWaterMark: lowWaterMark, age: frame.age, body: frame.body)
    }

    /// An acknowledgement as the sender of this incarnation reads it.
    func incoming(_ acknowledgement: StreamAcknowledgement, incarnation: String) -> StreamAcknowledgement {
        guard world.isBroken(.acknowledgementsNameTheirIncarnation) || world.isBroken(.incarnationsDiffer) else {
            return acknowledgement
        }
        return StreamAcknowledgement(
            id: named(acknowledgement.id, incarnation), upTo: acknowledgement.upTo,
            resendFrom: acknowledgement.resendFrom)
    }

    private func named(_ id: StreamID, _ incarnation: String) -> StreamID {
        StreamID(service: id.service, instance: id.instance, incarnation: incarnation, stream: id.stream)
    }
}
