public import API
public import Lifecycle
public import Model
public import Streams
public import Wire

// What the core of a reconciler is told, and what it wants done.

/// The body of a frame that cannot be read as what it should be.
public struct UnreadFrame: Sendable {
    public let frame: StreamFrame<UnreadBody>
    /// The partition to whose topic it was sent.
    public let partition: Int
    /// What is wrong, in words.
    public let error: String

    public init(_ frame: StreamFrame<UnreadBody>, partition: Int, error: String) {
        self.frame = frame
        self.partition = partition
        self.error = error
    }
}

public enum ReconcilerInput: Sendable {
    /// A new session: nothing is subscribed yet.
    case connected
    /// The subscriptions of this session stand.
    case subscribed
    case disconnected
    /// A frame to a partition.
    case frameReceived(StreamFrame<PartitionMessage>, partition: Int)
    case unreadFrameReceived(UnreadFrame)
    case grantReceived(StreamFrame<ReconcilerMessage>)
    case acknowledgementReceived(StreamAcknowledgement)
    /// The presence of any service.
    case presenceReceived(Presence, isRetained: Bool)
    case subscriptionEnded(HeartbeatSubscriptionEnded, isRetained: Bool)
    case answerReceived(BarrierAnswer)
    /// `nil`: what was retained of the gateway was cleared.
    case gatewayStatusReceived(gateway: String, GatewayStatusMessage?)
    /// Ten times a second.
    case ticked
    /// All that had arrived was handed in.
    case turnEnded
    /// There is time for a slice of the work: given again and again while `hasWork`.
    case sliceBegan
    /// Take and decide nothing more, and hand over what is decided.
    case stopRequested
}

public enum ReconcilerAction: Sendable {
    /// All that a reconciler listens to, and the streams to these partitions.
    case subscribe(partitions: [Int])
    case subscribePartition(Int)
    case unsubscribePartition(Int)
    case send(StreamSenders<StoreFrame>.Outgoing)
    case acknowledgement(StreamAcknowledgement)
    case ask(BarrierQuestion, ingest: String)
    /// To the control-api that handed the heartbeat in. Lost with the connection: its client is told to come again.
    case answer(HeartbeatAnswer)
    /// Publishes presence now: what it says has changed.
    case announce
    case log(ReconcilerLog)
}

/// What a reconciler has to tell its operators.
public enum ReconcilerLog: Sendable {
    case lifecycle(LifecycleLog, agent: AgentAddress, generation: Int)
    /// An input names an agent that is not there.
    case missingAgent(AgentAddress)
    /// A stream goes on without a message that cannot be read.
    case messageDropped(UnreadFrame)
    case takenOver(partition: Int, epoch: Int, agents: Int)
    case dropped(partition: Int, epoch: Int)
    case suspended(reason: String)
    case observable(suspensions: Int64, length: TimeSpan, deferredDeadlines: Int64)
}
