import API
import HeartbeatIngestCore
import Model
import StatusStoreCore
import Wire

/// Where a message goes, in the simulated broker.
enum SimTopic: Hashable {
    case partition(Int)
    case store
    case reconciler(String)
    case acknowledgements(service: String, instance: String)
    case presence
    case gatewayStatus
    case cursor
    case answers(String)
    case barriers(service: String, instance: String)
    case canary(String)
    case claims
    case subscriptions
    case endings
    case replies
    case wake(AgentAddress)
    case lifecycle
    case status
    /// What the broker's plugin is told.
    case access
    // Shared among the instances of a service.
    case orders
    case commands
    case heartbeats

    var isShared: Bool {
        switch self {
        case .orders, .commands, .heartbeats: true
        case .partition, .store, .reconciler, .acknowledgements, .presence, .gatewayStatus, .cursor, .answers,
            .barriers,
            .canary, .subscriptions, .endings, .claims, .replies, .wake, .lifecycle, .status, .access:
            false
        }
    }
}

/// An event or a status on its way to operators.
struct PublishedFact {
    let agent: AgentAddress
    let revision: Int
    let event: LifecycleEvent?
    let id: String?
    /// Of a status: there is none any more.
    var isCleared = false
}

enum SimBody {
    case partition(StreamFrame<PartitionMessage>)
    case store(StreamFrame<StoreFrame>)
    case reconciler(StreamFrame<ReconcilerMessage>)
    case acknowledgement(StreamAcknowledgement)
    case presence(Presence)
    case gatewayStatus(String, GatewayStatusMessage)
    case cursor(CursorMessage)
    case order(OrderMessage)
    case answer(ProvisionerMessage)
    case claim(KeyClaim)
    case command(SimCommand)
    case question(BarrierQuestion)
    case barrierAnswer(BarrierAnswer)
    case canary(IngestCanary)
    case subscriptionEnded(HeartbeatSubscriptionEnded)
    case endings(CrashLoopBackoff)
    case reply(key: String, isProblem: Bool, payload: [UInt8])
    case heartbeat(HeartbeatDetail)
    case wake(WakeMessage, publication: Int, digest: String?)
    case fact(PublishedFact)
    case credentials([CredentialChange])
    /// The broker's acknowledgement of a publication.
    case acknowledged(ticket: Int, isHeard: Bool)

    /// What a service with one canary sends to itself.
    static var onlyCanary: SimBody { .canary(.last) }
}

/// An operator's command with the key it is repeated under.
struct SimCommand {
    let key: String
    let verb: Verb
    let payload: String
    var agent: AgentAddress?
    /// The key was another command's.
    var isOtherUse = false
    /// Tells the answer to one use of the key from that to another: the correlation data.
    var tag = ""
    var askedAt: Int64 = 0
}

struct SimMessage {
    let topic: SimTopic
    var body: SimBody
    /// Names the retained message it replaces.
    var retainedKey: String?
    /// How long it may lie at the broker, in microseconds.
    var expiry: Int64?
    var ticket: Int?
    /// When it was handed to the network, in microseconds of the world.
    var sentAt: Int64 = 0
    /// When it reached an ingest that takes heartbeats.
    var deliveredAt: Int64 = 0
    var isRetained = false
}
