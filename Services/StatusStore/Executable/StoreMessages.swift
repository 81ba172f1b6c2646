internal import API
internal import Bus
internal import Lifecycle
import Model
internal import ServiceHost
internal import StatusStoreCore
internal import Storage
internal import Wire

/// The store's messages as they are on the bus.
struct StoreMessages {
    /// Seconds after which the broker drops an order that nobody has taken.
    private static let orderExpirySeconds = UInt32(WakeOrder.lifetime.milliseconds / 1_000)

    let topics: Topics

    func subscribe(_ connection: Connection?, as service: ServiceName, _ instance: String) {
        connection?.subscribe([topics.cursor], options: .noLocal)
        connection?.subscribe([
            topics.stream(to: .store), topics.allPresence, topics.lookups, topics.claims, topics.usedSecrets,
            topics.eventQuestions,
            topics.accessAnswers,
            topics.acknowledgements(service: service.rawValue, instance: instance),
        ])
        connection?.subscribe(
            Verb.allCases.filter(\.isLookup).map {
                topics.shared(topics.command($0.rawValue), by: service.rawValue)
            })
    }

    /// An operator's lookup, with how much an answer to it holds.
    func request(_ verb: Verb, _ delivery: Delivery) -> LookupRequest {
        let address = ReplyAddress(topic: delivery.responseTopic ?? "", correlationData: delivery.correlationData)
        return LookupRequest(
            verb: verb, payload: delivery.payload, replyTo: address,
            answerBytesMax: Connection.publicationBytesMax - emptyReply(address).overhead)
    }

    func publication(_ acknowledgement: StreamAcknowledgement) -> Publication {
        Publication(
            topic: topics.acknowledgements(service: acknowledgement.id.service, instance: acknowledgement.id.instance),
            payload: WireFormat.bytes(acknowledgement))
    }

    func publication(_ message: StoreMessage) -> Publication {
        switch message {
        case .event(let event): return publication(event)
        case .status(let agent, let record):
            // An empty one removes it from the broker (MQTT 5 §3.3.1.3).
            var publication = retained(topics.status(agent), record?.bytes ?? [])
            if record != nil { publication.contentType = jsonContentType }
            return publication
        case .gatewayEvent(let event): return publication(event)
        case .gatewayCleared(let gateway): return retained(topics.gatewayStatus(gateway), [])
        case .answer(let message, let provisioner):
            return Publication(topic: topics.answers(instance: provisioner), payload: message.bytes)
        case .credentials(let changes):
            return Publication(
                topic: Topics.accessControl, payload: Array(changes.map(AccessControl.line).joined().utf8))
        case .accessTable(let lines): return Publication(topic: Topics.accessControl, payload: lines)
        case .accessQuestion(let question):
            return Publication(topic: Topics.accessControl, payload: Array("answer \(question)\n".utf8))
        case .order(let order):
            var publication = Publication(
                topic: topics.orders, payload: Array("{\"age\":0,\"order\":".utf8) + order.bytes + Array("}".utf8))
            publication.expirySeconds = StoreMessages.orderExpirySeconds
            return publication
        case .note(let note):
            var publication = retained(topics.cursor, WireFormat.bytes(note))
            publication.contentType = jsonContentType
            return publication
        case .reply(let result, let address): return reply(result, to: address)
        }
    }

    // MARK: Inside

    private func retained(_ topic: String, _ payload: [UInt8]) -> Publication {
        var publication = Publication(topic: topic, payload: payload)
        publication.isRetained = true
        return publication
    }

    private func publication(_ event: PublishedEvent) -> Publication {
        let reason = event.reason.map { JSON.bytes($0) } ?? Array("null".utf8)
        var payload = Array("{\"event\":\"\(event.event.rawValue)\",\"reason\":".utf8) + reason
        payload += Array(",\"record\":".utf8) + (event.record?.bytes ?? Array("null".utf8)) + Array("}".utf8)
        var message = Publication(topic: topics.lifecycle(event.agent, event.event), payload: payload)
        message.contentType = jsonContentType
        message.userProperties =
            CloudEventAttributes(
                id: event.id, source: event.source, type: CloudEventAttributes.type(of: event.event),
                subject: event.agent.description, time: event.time, revision: event.revision,
                traceparent: event.traceparent
            ).userProperties
        return message
    }

    private func publication(_ event: GatewayEventEntry) -> Publication {
        let message = event.message
        var publication = Publication(
            topic: topics.gatewayLifecycle(message.gateway, message.event), payload: JSON.bytes(message))
        publication.contentType = jsonContentType
        publication.userProperties =
            CloudEventAttributes(
                id: event.id, source: event.source, type: CloudEventAttributes.type(of: message.event),
                subject: message.gateway, time: event.time, revision: nil, traceparent: nil
            ).userProperties
        return publication
    }

    private func reply(_ result: Result<[UInt8], Problem>, to address: ReplyAddress) -> Publication {
        var publication = emptyReply(address)
        switch result {
        case .success(let bytes):
            publication.payload = bytes
            publication.contentType = jsonContentType
        case .failure(let problem): publication.payload = JSON.bytes(problem)
        }
        return publication
    }

    /// A problem that says nothing yet: with what every answer has besides its payload, at most.
    private func emptyReply(_ address: ReplyAddress) -> Publication {
        var publication = Publication(topic: address.topic, payload: [])
        publication.contentType = Problem.contentType
        publication.correlationData = address.correlationData
        return publication
    }
}
