public import API
public import Model
public import Streams
public import Wire

// What the core of an ingest is told, and what it wants done. It has two connections: one to the owners and all else, and the
// subscription on which heartbeats come, so that reading heartbeats can be stopped while acknowledgements and barriers go on.

/// A message with heartbeats, as its host read it.
public enum HeartbeatMessage: Sendable {
    /// As it came. `tokenDigest`: of the user property `x-agent-token`, when there is one. `asker`: who waits to be told what
    /// becomes of it.
    case bytes(topic: String, payload: [UInt8], tokenDigest: String?, asker: HeartbeatAsker? = nil)
    /// One agent's, read already.
    case decoded(HeartbeatDetail)
}

/// What an ingest sends to itself on its subscription, to know that everything the broker had for it before has been read.
public enum IngestCanary: Hashable, Sendable {
    /// Before the answer to a barrier.
    case barrier(Int)
    /// Behind the last heartbeat of a subscription that ends cleanly.
    case last
}

public enum IngestInput: Sendable {
    /// A new session on the connection to the owners.
    case connected
    case disconnected
    /// The process stood still, and its connections were given up.
    case stalled
    case acknowledgementReceived(StreamAcknowledgement)
    /// The presence of any service, this one's included.
    case presenceReceived(Presence)
    /// The broker has acknowledged the presence that was announced then.
    case presenceAcknowledged(announcedAt: Instant)
    /// The retained note of how earlier incarnations have ended; `nil` when it cannot be read.
    case noteFound(CrashLoopBackoff?)
    /// Our own question behind what is retained has come back: there is no other note.
    case notesEnded
    case questionReceived(BarrierQuestion)
    /// A session on the subscription: nothing is subscribed yet.
    case subscriptionConnected
    case subscriptionAnswered(refused: [String])
    case subscriptionLost
    case canaryReceived(IngestCanary)
    /// `at`: the reading of the clock that followed its reading from the socket. The process may have stood still since.
    case heartbeatsReceived(HeartbeatMessage, at: Instant)
    /// Five times a second.
    case ticked
    /// Once a second.
    case secondPassed
    /// All that had arrived was handed in.
    case turnEnded
    /// Hand over and end. `drained` follows, unless the host ends it before.
    case stopRequested
}

public enum IngestAction: Sendable {
    /// On the connection to the owners: acknowledgements, presences, barriers, the note.
    case subscribe
    case send(StreamSenders<PartitionMessage>.Outgoing)
    case answer(BarrierAnswer, to: String)
    /// Publishes presence now: what it says has changed.
    case announce
    /// Asks for the end of what is retained: what an earlier incarnation noted comes before it.
    case askForNotes
    case note(CrashLoopBackoff)
    /// Connects the subscription; its Last Will is `end`, retained.
    case openSubscription(end: HeartbeatSubscriptionEnded)
    /// Canaries first, so that one that comes back proves that heartbeats come, too.
    case subscribeToHeartbeats
    case unsubscribeFromHeartbeats
    case sendCanary(IngestCanary)
    /// Leaves what arrives on the subscription in its socket.
    case pauseSubscription(Bool)
    /// Ends it unread and without a word: its Last Will is published.
    case abandonSubscription(reason: String)
    /// Ends it with a goodbye.
    case closeSubscription
    case log(IngestLog)
    case fail(String)
    case drained
}

/// What an ingest has to tell its operators.
public enum IngestLog: Hashable, Sendable {
    case subscriptionDelayed(TimeSpan)
    case readingPaused(kept: Int)
    case readingResumed(kept: Int)
    case rejected(HeartbeatIntake.Dismissal)
    /// So many more were rejected in this second.
    case rejectedBesides(Int)
}
