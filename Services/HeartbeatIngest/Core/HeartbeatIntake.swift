public import API
public import Model
public import Wire

/// Everything that heartbeat-ingest knows: messages in, batches for the partitions out.
///
/// It judges form alone and holds no table of agents, tokens or policies that could be stale. The owner judges standing.
public struct HeartbeatIntake: Sendable {
    /// What was received since the start.
    public struct Counters: Sendable {
        /// Messages, of agents and of gateways.
        public var messages: Int64 = 0
        /// Heartbeats, those inside gateway messages included.
        public var received: Int64 = 0
        /// Those of them that came inside gateway messages.
        public var names: Int64 = 0
        public var plain: Int64 = 0
        public var rejected: Int64 = 0
        public var batches: Int64 = 0
        /// Of those received: for whom control-api waits.
        public var overHTTP: Int64 = 0
        /// Heartbeats in a batch.
        public var batchSizes = Histogram(bounds: Histogram.sizeBounds)
    }

    /// Something that was rejected and names no agent to count it on: to be logged.
    public struct Dismissal: Hashable, Sendable {
        public let reason: RejectionReason
        /// What is wrong with it, or with the first of them.
        public let detail: String
        /// The gateway that sent it; `nil` when the topic itself is wrong.
        public let gateway: String?
        public let topic: String
        /// How many heartbeats; 1 for a message that is broken as a whole.
        public let count: Int
    }

    public let partitionCount: Int
    public private(set) var counters = Counters()
    public private(set) var overdrafts = Overdrafts()
    private let topics: HeartbeatTopics
    private var collector: BatchCollector
    /// Bad entries of this second, by gateway.
    private var badEntries: [String: Int] = [:]

    public init(topics: Topics, partitionCount: Int) {
        self.topics = HeartbeatTopics(topics)
        self.partitionCount = partitionCount
        collector = BatchCollector(partitionCount: partitionCount)
    }

    /// Whether heartbeats wait for their batch to be full or old enough.
    public var isEmpty: Bool { collector.isEmpty }

    /// Takes one message.
    ///
    /// - Parameters:
    ///   - tokenDigest: of the user property `x-agent-token`, when there is one; it is of every agent the message names.
    ///   - asker: who waits to be told what becomes of it; of one agent's heartbeat alone.
    ///   - wallTime: the wall clock at reception.
    /// - Returns: what there is nobody to count on.
    public mutating func receive(
        topic: String, payload: [UInt8], tokenDigest: String?, asker: HeartbeatAsker? = nil, at wallTime: Timestamp,
        now: Instant
    ) -> Dismissal? {
        counters.messages += 1
        switch topics.source(of: topic) {
        case .agent(let address, let gateway):
            counters.received += 1
            if asker != nil { counters.overHTTP += 1 }
            receive(payload, of: address, gateway: gateway, tokenDigest, asker, at: wallTime, now: now)
            return nil
        case .gateway(let gateway):
            return receive(
                payload, fromGateway: gateway, topic: topic, tokenDigest: tokenDigest, at: wallTime, now: now)
        case .broker:
            receive(refusals: payload, at: wallTime, now: now)
            return nil
        case nil:
            counters.rejected += 1
            return Dismissal(
                reason: .malformed, detail: "the topic holds no ids", gateway: nil, topic: topic, count: 1)
        }
    }

    /// What was counted within a second begins anew.
    public mutating func beginSecond() {
        badEntries = [:]
    }

    /// Takes one agent's heartbeat that was read already.
    public mutating func receive(_ detail: HeartbeatDetail, at wallTime: Timestamp, now: Instant) {
        counters.messages += 1
        counters.received += 1
        let partition = Partition.of(gateway: detail.agent.gateway, count: partitionCount)
        if detail == HeartbeatDetail(agent: detail.agent) {
            counters.plain += 1
            collector.add(detail.agent.description, gateway: nil, partition: partition, at: wallTime, received: now)
        } else {
            collector.add(detail, partition: partition, at: wallTime, received: now)
        }
    }

    /// The batches to send now.
    public mutating func takeBatches(now: Instant, all: Bool = false) -> [BatchCollector.Closed] {
        let closed = collector.take(now: now, all: all)
        counters.batches += Int64(closed.count)
        for batch in closed { counters.batchSizes.add(Double(batch.batch.count)) }
        return closed
    }

    private mutating func receive(
        _ payload: [UInt8], of address: String, gateway: String, _ tokenDigest: String?, _ asker: HeartbeatAsker?,
        at wallTime: Timestamp, now: Instant
    ) {
        let partition = Partition.of(gateway: gateway, count: partitionCount)
        let form = HeartbeatForm(payload)
        if tokenDigest == nil, asker == nil, form == .plain {
            counters.plain += 1
            collector.add(address, gateway: nil, partition: partition, at: wallTime, received: now)
            return
        }
        // The topic was checked: this is an address.
        guard let agent = AgentAddress(address) else { return }
        var detail = detail(form, agent, tokenDigest)
        detail.asker = asker
        collector.add(detail, partition: partition, at: wallTime, received: now)
    }

    private mutating func receive(
        _ payload: [UInt8], fromGateway gateway: String, topic: String, tokenDigest: String?, at wallTime: Timestamp,
        now: Instant
    ) -> Dismissal? {
        let message: GatewayHeartbeats
        do {
            let used = badEntries[gateway] ?? 0
            message = try GatewayHeartbeats(payload, badEntriesMax: Limits.badEntriesMax - used)
            if message.badEntries > 0 { badEntries[gateway] = used + message.badEntries }
        } catch {
            if error.reason == .rateLimited { badEntries[gateway] = Limits.badEntriesMax }
            counters.rejected += 1
            return Dismissal(reason: error.reason, detail: error.detail, gateway: gateway, topic: topic, count: 1)
        }
        let partition = Partition.of(gateway: gateway, count: partitionCount)
        let count = message.names.count + message.entries.count
        counters.received += Int64(count)
        counters.names += Int64(count)
        if tokenDigest == nil, !message.names.isEmpty {
            counters.plain += Int64(count)
            collector.add(message.names, gateway: gateway, partition: partition, at: wallTime, received: now)
            return nil
        }
        var nameless: (count: Int, first: String)?
        for entry in message.names.strings.map(GatewayHeartbeats.Entry.plain) + message.entries {
            let (name, form): (String, HeartbeatForm)
            switch entry {
            case .formed(let agent, let its): (name, form) = (agent, its)
            case .nameless(let detail):
                nameless = ((nameless?.count ?? 0) + 1, nameless?.first ?? detail)
                continue
            }
            if tokenDigest == nil, form == .plain {
                counters.plain += 1
                collector.add(name, gateway: gateway, partition: partition, at: wallTime, received: now)
            } else if let agent = AgentAddress(gateway: gateway, agent: name) {
                collector.add(detail(form, agent, tokenDigest), partition: partition, at: wallTime, received: now)
            }
        }
        guard let nameless else { return nil }
        counters.rejected += Int64(nameless.count)
        return Dismissal(
            reason: .malformed, detail: nameless.first, gateway: gateway, topic: topic, count: nameless.count)
    }

    /// The broker has refused what these agents did, one a subscription with the reason: a connection for its secret, or more than it
    /// takes of one client.
    private mutating func receive(refusals payload: [UInt8], at wallTime: Timestamp, now: Instant) {
        for subscription in String(decoding: payload, as: UTF8.self).split(separator: "\n") {
            let words = subscription.split(separator: " ")
            if words.count > 2, words[1] == RejectionReason.rateLimited.rawValue {
                overdrafts.note(String(words[0]), Int(words[2]) ?? 1, now: now)
            }
            guard words.count > 1, let agent = AgentAddress(String(words[0])),
                let reason = RejectionReason(rawValue: String(words[1]))
            else { continue }
            counters.rejected += 1
            var detail = HeartbeatDetail(agent: agent)
            detail.rejected = reason
            detail.rejectionDetail =
                reason == .rateLimited
                ? "the broker refused \(words.count > 2 ? words[2] : "some") of its messages, more came than it takes"
                : "password: is not this agent's token, the broker refused the connection"
            let partition = Partition.of(gateway: agent.gateway, count: partitionCount)
            collector.add(detail, partition: partition, at: wallTime, received: now)
        }
    }

    private mutating func detail(_ form: HeartbeatForm, _ agent: AgentAddress, _ tokenDigest: String?)
        -> HeartbeatDetail
    {
        switch form {
        case .plain:
            counters.plain += 1
            return HeartbeatMembers().detail(of: agent, tokenDigest: tokenDigest)
        case .detailed(let members): return members.detail(of: agent, tokenDigest: tokenDigest)
        case .rejected(let reason, let fault):
            counters.rejected += 1
            var detail = HeartbeatDetail(agent: agent)
            detail.rejected = reason
            detail.rejectionDetail = fault
            return detail
        }
    }
}
