internal import API
internal import Lifecycle
internal import Model

/// What services say to each other most often: read member by member, in a tenth of the time that a decoder takes.
///
/// It holds no more than the common form. Of whatever else there is a decoder says what it means, or what is wrong with it.
protocol FrequentMessage {
    /// - Throws: for a value that is not of the common form.
    init(_ reader: inout JSONReader) throws(JSONFault)
}

extension FrequentMessage {
    /// `nil`: a decoder is to read it.
    static func read(_ bytes: [UInt8]) -> Self? {
        do throws(JSONFault) {
            var reader = try JSONReader(bytes)
            let value = try Self(&reader)
            try reader.end()
            return value
        } catch {
            return nil
        }
    }
}

extension JSONReader {
    /// The next value, when it is there; `nil` for `null`.
    fileprivate mutating func optionalString() throws(JSONFault) -> String? {
        if next() == UInt8(ascii: "n") {
            _ = try value()
            return nil
        }
        return try string()
    }

    fileprivate mutating func address() throws(JSONFault) -> AgentAddress {
        try AgentAddress(string()).orUncommon()
    }

    /// The bytes of an object.
    fileprivate mutating func writtenObject() throws(JSONFault) -> [UInt8] {
        guard next() == UInt8(ascii: "{") else { throw JSONFault("is uncommon") }
        return try writtenValue()
    }

    fileprivate mutating func int() throws(JSONFault) -> Int { try Int(exactly: integer()).orUncommon() }

    /// A value of a type that comes seldom.
    fileprivate mutating func decode<Value: Decodable>(_ type: Value.Type) throws(JSONFault) -> Value {
        let bytes = try writtenValue()
        // Why not is told by the decoder of the whole.
        return try (try? JSON.decode(type, from: bytes)).orUncommon()
    }

    fileprivate mutating func elements<Element>(
        _ read: (inout JSONReader) throws(JSONFault) -> Element
    ) throws(JSONFault) -> [Element] {
        var elements: [Element] = []
        try forEachElement { (reader) throws(JSONFault) in elements.append(try read(&reader)) }
        return elements
    }
}

extension Optional {
    fileprivate func orUncommon() throws(JSONFault) -> Wrapped {
        guard let self else { throw JSONFault("is uncommon") }
        return self
    }
}

// MARK: Streams

extension StreamID: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (service, instance, incarnation, stream): (String?, String?, String?, String?)
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            let text = try reader.string()
            switch name {
            case "service": service = text
            case "instance": instance = text
            case "incarnation": incarnation = text
            case "stream": stream = text
            default: break
            }
        }
        self.init(
            service: try service.orUncommon(), instance: try instance.orUncommon(),
            incarnation: try incarnation.orUncommon(), stream: try stream.orUncommon())
    }
}

extension StreamAcknowledgement: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (id, upTo, resendFrom): (StreamID?, Int?, Int?)
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "id": id = try StreamID(&reader)
            case "upTo": upTo = try reader.int()
            case "resendFrom": resendFrom = try reader.int()
            default: _ = try reader.writtenValue()
            }
        }
        self.init(id: try id.orUncommon(), upTo: try upTo.orUncommon(), resendFrom: resendFrom)
    }
}

extension StreamFrame: FrequentMessage where Body: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (id, seq, lowWaterMark, age): (StreamID?, Int?, Int?, Int64?)
        var body: Body?
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "id": id = try StreamID(&reader)
            case "seq": seq = try reader.int()
            case "lowWaterMark": lowWaterMark = try reader.int()
            case "age": age = try reader.integer()
            case "body": body = try Body(&reader)
            default: _ = try reader.writtenValue()
            }
        }
        self.init(
            id: try id.orUncommon(), seq: try seq.orUncommon(), lowWaterMark: try lowWaterMark.orUncommon(),
            age: try age.orUncommon(), body: body)
    }
}

// MARK: Heartbeats

/// Of all that is said to an owner, batches alone.
extension PartitionMessage: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var batch: HeartbeatBatch?
        try reader.forEachMember { (reader, kind) throws(JSONFault) in
            guard kind == "batch" else { throw JSONFault("is uncommon") }
            try reader.forEachMember { (reader, _) throws(JSONFault) in batch = try HeartbeatBatch(&reader) }
        }
        self = .batch(try batch.orUncommon())
    }
}

extension HeartbeatBatch: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var segments: [Segment]?
        try reader.forEachMember { (reader, _) throws(JSONFault) in
            segments = try reader.elements { (reader) throws(JSONFault) in try Segment(&reader) }
        }
        self.init(segments: try segments.orUncommon())
    }
}

extension HeartbeatBatch.Segment: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (at, age, gateway): (Int64?, Int64?, String?)
        var (names, detail): (NameRun?, HeartbeatDetail?)
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "at": at = try reader.integer()
            case "age": age = try reader.integer()
            case "gateway": gateway = try reader.optionalString()
            case "names": names = NameRun(text: try reader.string())
            case "detail": detail = try reader.decode(HeartbeatDetail.self)
            default: _ = try reader.writtenValue()
            }
        }
        self.init(
            at: try at.orUncommon(), age: try age.orUncommon(), gateway: gateway, names: try names.orUncommon(),
            detail: detail)
    }
}

// MARK: To the store

extension StoreFrame: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (partition, epoch): (Int?, Int?)
        var entries: [StoreEntry]?
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "partition": partition = try reader.int()
            case "epoch": epoch = try reader.int()
            case "entries": entries = try reader.elements { (reader) throws(JSONFault) in try StoreEntry(&reader) }
            default: _ = try reader.writtenValue()
            }
        }
        self.init(
            partition: try partition.orUncommon(), epoch: try epoch.orUncommon(), entries: try entries.orUncommon())
    }
}

extension StoreEntry: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (state, event, tombstone): (Carried<AgentState>?, AgentEventEntry?, Tombstone?)
        var (seen, order, settledOrder): (SeenAgents?, Carried<WakeOrder>?, AgentAddress?)
        var (credential, answer): (CredentialChange?, AnswerEntry?)
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "state": state = Carried(encoded: try reader.writtenObject())
            case "event": event = try AgentEventEntry(&reader)
            case "tombstone": tombstone = try reader.decode(Tombstone.self)
            case "seen": seen = try SeenAgents(&reader)
            case "order": order = Carried(encoded: try reader.writtenObject())
            case "settledOrder": settledOrder = try reader.address()
            case "credential": credential = try reader.decode(CredentialChange.self)
            case "answer": answer = try reader.decode(AnswerEntry.self)
            default: throw JSONFault("is uncommon")
            }
        }
        self.init()
        try addAgent(state: state, event: event, tombstone: tombstone)
        add(seen, StoreChange.seen)
        add(order, StoreChange.order)
        add(settledOrder, StoreChange.settledOrder)
        add(credential, StoreChange.credential)
        add(answer, StoreChange.answer)
    }
}

extension AgentEventEntry: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        var (id, event, agent, time): (String?, LifecycleEvent?, AgentAddress?, Timestamp?)
        var (reason, source, traceparent): (String?, String?, String?)
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "id": id = try reader.string()
            case "event": event = LifecycleEvent(rawValue: try reader.string())
            case "agent": agent = try reader.address()
            case "reason": reason = try reader.optionalString()
            case "time": time = Timestamp(try reader.string())
            case "source": source = try reader.string()
            case "traceparent": traceparent = try reader.optionalString()
            default: _ = try reader.writtenValue()
            }
        }
        self.init(
            id: try id.orUncommon(), event: try event.orUncommon(), agent: try agent.orUncommon(), reason: reason,
            time: try time.orUncommon(), source: try source.orUncommon(), traceparent: traceparent)
    }
}

extension SeenAgents: FrequentMessage {
    init(_ reader: inout JSONReader) throws(JSONFault) {
        self.init()
        try reader.forEachMember { (reader, name) throws(JSONFault) in
            switch name {
            case "agents": agents = try reader.elements { (reader) throws(JSONFault) in try reader.string() }
            case "at": at = try reader.elements { (reader) throws(JSONFault) in try reader.integer() }
            default: _ = try reader.writtenValue()
            }
        }
    }
}
