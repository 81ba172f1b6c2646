public import API
internal import Lifecycle
public import Model
public import Storage
public import Streams
public import Wire

// What the core of the status store is told, and what it wants done. Its database it calls itself, through `StatusDatabase`.

/// A frame of a reconciler, as its host read it.
public enum StoreFrameMessage: Sendable {
    /// As it came.
    case bytes([UInt8])
    /// Read already.
    case decoded(StreamFrame<StoreFrame>)
}

/// Where an answer goes (MQTT 5 §4.10).
public struct ReplyAddress: Sendable {
    public let topic: String
    public let correlationData: [UInt8]?

    public init(topic: String, correlationData: [UInt8]?) {
        self.topic = topic
        self.correlationData = correlationData
    }
}

/// An operator's lookup as it came.
public struct LookupRequest: Sendable {
    public let verb: Verb
    public let payload: [UInt8]
    public let replyTo: ReplyAddress
    /// The payload that a message to there holds.
    public let answerBytesMax: Int

    public init(verb: Verb, payload: [UInt8], replyTo: ReplyAddress, answerBytesMax: Int) {
        self.verb = verb
        self.payload = payload
        self.replyTo = replyTo
        self.answerBytesMax = answerBytesMax
    }
}

/// What the broker says of a message that it was given, by the reason code of its PUBACK (MQTT 5 §3.4.2.1).
public enum Acknowledgement: Hashable, Sendable {
    case heard
    /// It was taken, and nobody is subscribed.
    case unheard(reason: UInt8)
    case refused(reason: UInt8)

    var reason: UInt8 {
        switch self {
        case .heard: 0
        case .unheard(let reason), .refused(let reason): reason
        }
    }
}

/// The end of a turn, in the order of its steps. The process may die between any two of them.
public enum StoreStep: CaseIterable, Sendable {
    /// What was received is committed.
    case commit
    /// It is acknowledged, partitions are granted, and grants go out.
    case grant
    /// Orders, the outbox and what the broker is to know go out.
    case publish
    /// Lookups and claims are answered.
    case answer
}

/// Something for the core to handle.
public enum StoreInput: Sendable {
    /// A new session: nothing is subscribed yet.
    case connected
    case subscribed
    case disconnected
    case frameReceived(StoreFrameMessage)
    case acknowledgementReceived(StreamAcknowledgement)
    /// The presence of any service, this one's included.
    case presenceReceived(Presence, isRetained: Bool)
    case claimReceived(KeyClaim)
    /// New tokens were used, says the broker's plugin.
    case tokensUsed([UsedToken])
    /// The broker's plugin has answered this question.
    case accessAnswered(String)
    case lookupReceived(LookupRequest)
    case questionReceived(RecordQuestion)
    case eventsAsked(EventQuestion, replyTo: ReplyAddress)
    /// The retained note of what was published; `nil` when it cannot be read.
    case noteFound(CursorMessage?)
    /// The message with this ticket has reached the broker.
    case acknowledged(Int, Acknowledgement)
    /// The message with this ticket cannot be published, though there is a connection: it is too large, say.
    case publicationFailed(Int, error: String)
    /// Five times a second.
    case ticked
    /// Once a second.
    case secondPassed
    /// All that had arrived was handed in. The host hands in all steps one by one, and each again, with the time as it is then,
    /// while `isUnfinished`.
    case turnEnded(StoreStep)
    /// Take nothing new and hand over; asked again at the end of each turn until `drained`.
    case stopRequested
}

/// A message that the store publishes.
public enum StoreMessage: Sendable {
    case event(PublishedEvent)
    /// The retained status of an agent; `nil`: there is none any more.
    case status(AgentAddress, Carried<AgentRecord>?)
    case gatewayEvent(GatewayEventEntry)
    /// What a gateway said last of its connection is cleared.
    case gatewayCleared(String)
    case answer(Carried<ProvisionerMessage>, provisioner: String)
    /// To the broker's plugin, in their order.
    case credentials([CredentialChange])
    /// To the broker's plugin: a part of the table of all identities (`AccessControl`).
    case accessTable([UInt8])
    /// To the broker's plugin, which answers it (`accessAnswered`).
    case accessQuestion(String)
    /// Expires after `WakeOrder.lifetime`.
    case order(Carried<WakeOrder>)
    /// Retained.
    case note(CursorMessage)
    case reply(Result<[UInt8], Problem>, to: ReplyAddress)
}

/// Something for the host to do.
public enum StoreAction: Sendable {
    /// All that the store listens to.
    case subscribe
    case send(StreamSenders<ReconcilerMessage>.Outgoing)
    case acknowledgement(StreamAcknowledgement)
    /// - ticket: `acknowledged` is to name it; without one nobody waits for that.
    case publish(StoreMessage, ticket: Int?)
    /// Publishes presence now: what it says has changed.
    case announce
    case log(StoreLog)
    /// The database is damaged: a person has to look at it.
    case fail(StorageError)
    case drained
}

/// What the store has to tell its operators.
public enum StoreLog: Hashable, Sendable {
    case frameUnreadable(String)
    case frameRefused(PartitionAssignment.Claim)
    case commitFailed(StorageError, frames: Int)
    /// After so long.
    case commitsAgain(TimeSpan)
    case deadLetter(StreamID, seq: Int, StorageError, partitions: [Int])
    case partitionGranted(partition: Int, epoch: Int, reconciler: String, agents: Int)
    case grantReceived(partition: Int)
    case grantUnreadable(partition: Int, reconciler: String, StorageError)
    case publishRefused(reason: UInt8)
    case publishFailed(String)
    case accessRefused(reason: UInt8)
    /// The broker takes the table of identities, and no plugin answers for it.
    case accessMissing
    case accessAnswers
    /// More was published than is stored.
    case databaseWentBack(published: Int64, stored: Int64)
    case republishingStatuses(after: Int64, upTo: Int64)
    case statusesRepublished
    case readFailed(StorageError)
    case tidyFailed(StorageError)
    case databaseFailed(StorageError)
}

/// What gathers while an input is handled.
struct StoreOutput {
    private(set) var actions: [StoreAction] = []
    private var lastTicket = 0

    mutating func act(_ action: StoreAction) { actions.append(action) }

    mutating func log(_ log: StoreLog) { actions.append(.log(log)) }

    /// Publishes a message whose loss heals itself.
    mutating func publish(_ message: StoreMessage) { actions.append(.publish(message, ticket: nil)) }

    /// Publishes a message whose acknowledgement is waited for; its ticket.
    mutating func publishTicketed(_ message: StoreMessage) -> Int {
        lastTicket += 1
        actions.append(.publish(message, ticket: lastTicket))
        return lastTicket
    }

    mutating func take() -> [StoreAction] {
        guard !actions.isEmpty else { return [] }
        defer { actions = [] }
        return actions
    }
}
