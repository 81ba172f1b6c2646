internal import API
internal import Model
internal import Storage
internal import Wire

/// A row of history.
enum PastEvent {
    case agent(PublishedEvent)
    case gateway(GatewayEventEntry)

    var id: String {
        switch self {
        case .agent(let event): event.id
        case .gateway(let event): event.id
        }
    }

    var agent: AgentAddress? {
        switch self {
        case .agent(let event): event.agent
        case .gateway: nil
        }
    }

    var gateway: String {
        switch self {
        case .agent(let event): event.agent.gateway
        case .gateway(let event): event.message.gateway
        }
    }

    var time: Timestamp {
        switch self {
        case .agent(let event): event.time
        case .gateway(let event): event.time
        }
    }

    var bytes: Int64 {
        switch self {
        case .agent(let event): Int64(event.record?.bytes.count ?? 0)
        case .gateway(let event): Int64(JSON.bytes(event.message).count)
        }
    }

    func stored(_ sequence: Int64) -> StoredEvent {
        switch self {
        case .agent(let event):
            StoredEvent(
                sequence: sequence, agent: event.agent.description, kind: event.event.rawValue,
                event: Carried(
                    HistoryEvent(
                        id: event.id, event: event.event, time: event.time, source: event.source,
                        subject: event.agent, reason: event.reason, record: event.record?.value)))
        case .gateway(let event):
            StoredEvent(
                sequence: sequence, agent: event.message.gateway + "/", kind: event.message.event.rawValue,
                event: Carried(HistoryEvent(id: event.id, time: event.time, source: event.source, event.message)))
        }
    }
}
