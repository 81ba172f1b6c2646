public import API
public import Model
public import Streams
public import Wire

// What the core of a provisioner is told, and what it wants done.

/// A request of an operator, an agent or a gateway, as it came.
public struct ProvisionerRequest: Sendable {
    public let topic: String
    public let payload: [UInt8]
    public let isRetained: Bool
    public let responseTopic: String?
    public let correlation: [UInt8]?
    public let idempotencyKey: String?
    public let traceparent: String?
    public let fresh: FreshSecrets
    /// Revisions with commas.
    public let ifMatch: String?

    public init(
        topic: String, payload: [UInt8], isRetained: Bool, responseTopic: String?, correlation: [UInt8]?,
        idempotencyKey: String?, traceparent: String?, fresh: FreshSecrets, ifMatch: String? = nil
    ) {
        self.topic = topic
        self.payload = payload
        self.isRetained = isRetained
        self.responseTopic = responseTopic
        self.correlation = correlation
        self.idempotencyKey = idempotencyKey
        self.traceparent = traceparent
        self.fresh = fresh
        self.ifMatch = ifMatch
    }
}

public enum ProvisionerInput: Sendable {
    /// A new session: nothing is subscribed yet.
    case connected
    case disconnected
    case acknowledgementReceived(StreamAcknowledgement)
    /// The presence of any service, this one's included.
    case presenceReceived(Presence)
    /// The store answers what was forwarded, claimed or asked.
    case answerReceived(ProvisionerMessage)
    case orderReceived(OrderMessage)
    case requestReceived(ProvisionerRequest)
    /// The connection has taken a wake, and will name this ticket when the broker acknowledges it; `nil`: there is none.
    case wakeHandedOver(WakeHandler.Key, ticket: Int?)
    /// The broker acknowledged what had this ticket, a wake's or any other.
    case acknowledged(ticket: Int, reason: UInt8)
    /// The connection has taken an answer, and will name this ticket when the broker acknowledges it.
    case answerHandedOver(Reply, ticket: Int)
    /// An answer cannot be published on this connection.
    case answerRefused(Reply, reason: String)
    /// What this provisioner has sent to itself is back.
    case canaryReceived
    /// The templates as they are now.
    case templatesRead(TemplateSet)
    /// There is something wrong with them; the text names the place.
    case templatesUnreadable(String)
    /// Five times a second.
    case ticked
    /// All that had arrived was handed in.
    case turnEnded
    /// Answer, report and end. `drained` follows, unless the host ends it before.
    case stopRequested
}

/// What a provisioner subscribes to.
public enum ProvisionerSubscription: Hashable, Sendable {
    /// Acknowledgements, answers, presences, the canary.
    case own
    /// Commands, and what agents and gateways ask for: each is given to one of all provisioners.
    case requests
    /// Wake orders, given to one of all provisioners.
    case orders
}

public enum ProvisionerAction: Sendable {
    case subscribe([ProvisionerSubscription])
    case unsubscribe([ProvisionerSubscription])
    case send(StreamSenders<PartitionMessage>.Outgoing)
    /// Asks the store to keep a key. Lost with the connection: it is claimed again.
    case claim(KeyClaim)
    /// Asks the store for a record. Lost with the connection: who asked is told after a while.
    case ask(RecordQuestion)
    /// `answerHandedOver` follows or, when it cannot be published, `answerRefused`.
    case answer(Reply)
    /// `wakeHandedOver` follows.
    case publishWake(WakeHandler.Key, WakeMessage, expirySeconds: UInt32, traceparent: String?)
    case publishTemplates(TemplatesMessage)
    /// `templatesRead` or `templatesUnreadable` follows.
    case readTemplates
    /// To itself, to know that everything the broker had for it before has been read.
    case sendCanary
    case log(ProvisionerLog)
    case fail(String)
    case drained
}

/// What a provisioner has to tell its operators.
public enum ProvisionerLog: Hashable, Sendable {
    /// The response topic is not one of who asks: nothing is answered there.
    case replyRefused(responseTopic: String)
    case unanswered(reason: String)
    case staleTemplates(AgentAddress, ordered: String, rendered: String)
}
