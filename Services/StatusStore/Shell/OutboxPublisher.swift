internal import Bus
internal import Contract
internal import Lifecycle
internal import ServiceKit
internal import StatusStoreCore
internal import Storage

/// Publishes the outbox in its order and remembers what the broker has acknowledged.
final class OutboxPublisher {
    private static let retryAfter = TimeSpan.seconds(1)
    private static let logAgainAfter = TimeSpan.seconds(60)

    private let runtime: ServiceRuntime
    private let database: any StatusDatabase
    private var window: OutboxWindow
    private var mayHaveMore = true
    private var retryAt: Instant?
    private var refusalLoggedAt: Instant?
    private(set) var publishedEntries: Int64 = 0

    init(_ runtime: ServiceRuntime, _ database: any StatusDatabase) throws(StorageError) {
        self.runtime = runtime
        self.database = database
        // Whatever is gone from the outbox was acknowledged.
        let lowest = try database.outbox(after: 0, limit: 1).first?.sequence
        let last = try database.lastSequence()
        window = OutboxWindow(published: lowest.map { $0 - 1 } ?? last)
    }

    /// Everything up to here was acknowledged by the broker.
    var published: Int64 { window.published }
    /// Whether all that is known of is acknowledged.
    var isEmpty: Bool { !mayHaveMore && window.sent == window.published }

    /// Something was committed.
    func committed() {
        mayHaveMore = true
    }

    func disconnected() {
        window.startAgain()
        mayHaveMore = true
        retryAt = nil
    }

    /// Publishes what there is room for.
    func pump(on connection: Connection, now: Instant) throws(StorageError) {
        guard mayHaveMore, connection.isConnected, retryAt.map({ $0 <= now }) ?? true else { return }
        retryAt = nil
        while window.room > 0 {
            let limit = window.room
            let entries = try database.outbox(after: window.sent, limit: limit)
            let published = publish(entries, on: connection)
            guard connection.isConnected else { return }
            if published < entries.count { return }  // they wait for a credential
            if entries.count < limit {
                mayHaveMore = false
                return
            }
        }
    }

    /// An acknowledgement of the broker; whether it was for one of ours.
    func acknowledged(_ ticket: Int, reason: UInt8, now: Instant) -> Bool {
        guard window.has(ticket: ticket) else { return false }
        let isCredential = window.isOfCredentials(ticket)
        // A credential counts only when the plugin has taken it; without the plugin nobody is subscribed.
        guard reason < ReasonCode.failure, !isCredential || reason == ReasonCode.success else {
            refuse(isCredential: isCredential, reason, now)
            return true
        }
        window.acknowledged(ticket)
        mayHaveMore = true
        return true
    }

    // MARK: Inside

    /// Publishes a page as far as its credentials are in force; how many of it.
    private func publish(_ entries: [OutboxEntry], on connection: Connection) -> Int {
        publishCredentials(of: entries, on: connection)
        for (index, entry) in entries.enumerated() {
            if case .credential = entry.content {
                guard window.isInForce(entry.sequence) else { return index }
                window.published(entry.sequence, tickets: [])
            } else {
                publish(entry, on: connection)
            }
        }
        return entries.count
    }

    /// All of them at once, in their order: what is behind one waits for the broker to know it.
    private func publishCredentials(of entries: [OutboxEntry], on connection: Connection) {
        guard window.mayPublishCredentials, let last = entries.last else { return }
        var lines = ""
        for entry in entries where !window.isInForce(entry.sequence) {
            if case .credential(let change) = entry.content { lines += AccessControl.line(change) }
        }
        guard !lines.isEmpty else { return }
        let publication = Publication(topic: Topics.accessControl, payload: Array(lines.utf8))
        guard let ticket = send([publication], on: connection).first else { return }
        window.publishedCredentials(upTo: last.sequence, ticket: ticket)
    }

    private func publish(_ entry: OutboxEntry, on connection: Connection) {
        let publications: [Publication]
        switch entry.content {
        case .event(let event): publications = OutboxMessages.event(event, runtime.topics)
        case .gatewayEvent(let event): publications = [OutboxMessages.gatewayEvent(event, runtime.topics)]
        case .answer(let provisioner, let message):
            publications = [
                Publication(topic: runtime.topics.answers(instance: provisioner), payload: message.bytes)
            ]
        case .cleared(let agent): publications = [OutboxMessages.status(agent, nil, runtime.topics)]
        case .gatewayCleared(let gateway): publications = [OutboxMessages.cleared(gateway, runtime.topics)]
        case .credential: preconditionFailure("credentials are published ahead")
        }
        publishedEntries += 1
        window.published(entry.sequence, tickets: send(publications, on: connection))
    }

    private func send(_ publications: [Publication], on connection: Connection) -> [Int] {
        publications.compactMap { publication in
            do throws(BusError) {
                return try connection.publish(publication)
            } catch {
                // With the connection lost everything starts again; what is too large never goes out.
                if connection.isConnected {
                    runtime.log.event("store.publish_failed", .error, ["error": LogValue(error)])
                }
                return nil
            }
        }
    }

    /// The broker does not take it: nothing is dropped, all that is unacknowledged goes out again after a while.
    private func refuse(isCredential: Bool, _ reason: UInt8, _ now: Instant) {
        window.startAgain()
        mayHaveMore = true
        retryAt = now + OutboxPublisher.retryAfter
        runtime.loop.after(OutboxPublisher.retryAfter) {}
        guard refusalLoggedAt.map({ now.milliseconds(since: $0) >= OutboxPublisher.logAgainAfter.milliseconds }) ?? true
        else { return }
        refusalLoggedAt = now
        runtime.log.event(
            isCredential ? "store.access_refused" : "store.publish_refused", .error, ["reason": LogValue(Int(reason))])
    }
}

/// The messages that follow from an entry of the outbox.
enum OutboxMessages {
    /// The lifecycle message, then the status that it leaves.
    static func event(_ event: PublishedEvent, _ topics: Topics) -> [Publication] {
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
        switch event.status {
        case .none: return [message]
        case .set: return [message, status(event.agent, event.record?.bytes, topics)]
        case .clear: return [message, status(event.agent, nil, topics)]
        }
    }

    /// The retained status; an empty one removes it from the broker (MQTT 5 §3.3.1.3).
    static func status(_ agent: AgentAddress, _ record: [UInt8]?, _ topics: Topics) -> Publication {
        var publication = Publication(topic: topics.status(agent), payload: record ?? [])
        publication.isRetained = true
        if record != nil { publication.contentType = jsonContentType }
        return publication
    }

    /// Removes from the broker what a gateway said last of its connection.
    static func cleared(_ gateway: String, _ topics: Topics) -> Publication {
        var publication = Publication(topic: topics.gatewayStatus(gateway), payload: [])
        publication.isRetained = true
        return publication
    }

    static func gatewayEvent(_ event: GatewayEventEntry, _ topics: Topics) -> Publication {
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
}
