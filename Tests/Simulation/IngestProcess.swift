import Bus
import Contract
import HeartbeatIngestCore
import Lifecycle

/// A heartbeat-ingest: the real collector, one connection for heartbeats and control.
final class IngestProcess: Process {
    private var outlet: SimOutlet<PartitionMessage>!
    private var collector: BatchCollector?
    private var partitionCount = 1

    override func begin() {
        outlet = SimOutlet(self) { .partition($0) }
        collector = nil
        every(200_000) { [unowned self] in outlet.tick(now: now) }
    }

    override func connected() {
        subscribe([.receipts(service: service.rawValue, instance: instance), .presence])
        if collector != nil { subscribe([.heartbeats]) }
        outlet.reconnected(now: now)
    }

    override func received(_ message: SimMessage) {
        switch message.body {
        case .receipt(let receipt): _ = outlet.receive(receipt, now: now)
        case .presence(let presence):
            check(presence)
            guard collector == nil, let count = presence.partitionCount else { return }
            partitionCount = count
            collector = BatchCollector(partitionCount: count)
            subscribe([.heartbeats])
        case .heartbeat(let detail): take(detail)
        case .partition, .store, .reconciler, .gatewayStatus, .cursor, .order, .answer, .command, .reply, .wake, .fact,
            .acknowledged:
            break
        }
    }

    override func turnEnded(step: Int) {
        for closed in collector?.take(now: now, all: false) ?? [] {
            _ = outlet.send(
                .batch(closed.batch), to: .partition(closed.partition), stream: "batches/\(closed.partition)", now: now)
        }
        publish(outlet.take())
        wakeAt = collector?.isEmpty ?? true ? nil : now + BatchCollector.waitMax
    }

    private func take(_ detail: HeartbeatDetail) {
        oracle.heartbeatReceived(detail, by: self)
        let partition = Partition.of(gateway: detail.agent.gateway, count: partitionCount)
        if detail == HeartbeatDetail(agent: detail.agent) {
            collector?.add(
                detail.agent.description, gateway: nil, partition: partition, at: stamp, received: now)
        } else {
            collector?.add(detail, partition: partition, at: stamp, received: now)
        }
    }
}
