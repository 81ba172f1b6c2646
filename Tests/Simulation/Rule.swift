/// A rule of the protocol that the simulator can switch off, to show that it would be found missing.
public enum Rule: String, CaseIterable, Sendable {
    // The store.
    /// What follows from a frame is published once the frame is committed.
    case publishAfterCommit
    /// A frame is receipted once it is committed.
    case storeReceiptsAfterCommit
    /// A frame under another epoch is refused.
    case epochIsChecked
    /// What was not acknowledged by the broker is published again on the next connection.
    case outboxRepeats
    /// An order is published again until it is settled.
    case ordersRepeat
    /// A broker that forgot is told the statuses again.
    case statusesAreRepublished
    /// A deleted agent's numbers are kept.
    case tombstonesAreKept
    /// Executed requests come with the snapshot.
    case requestsAreRemembered
    /// A frame is applied once.
    case framesApplyOnce

    // Streams.
    /// A new life numbers its frames in streams of its own.
    case incarnationsDiffer
    /// What has no receipt is sent again.
    case framesRepeat
    /// A frame behind a gap waits.
    case gapsWait
    /// A receiver without state starts at the lowest frame that is kept.
    case startsAtLowest

    // The owner.
    /// An input is receipted once all that it caused is committed.
    case ownerReceiptsAfterCommit
    /// While blind nothing is judged, and afterwards the wake is repeated.
    case blindnessStopsJudging
    /// A verdict waits until the ingests have answered for the way by which heartbeats come.
    case verdictsAwaitBarrier
    /// And until the batches are in which they name.
    case verdictsAwaitBatches
    /// An ingest whose subscription was lost meanwhile has missed something.
    case lostSubscriptionsBlind
    /// An ingest subscribes once the owners have acknowledged it.
    case ingestsAreKnownFirst
    /// A heartbeat that was received before the cycle's first order is no check-in.
    case heartbeatsHaveAges
    /// The report of a failure arms the deadline.
    case failuresArm
    /// The report of a repeat arms the deadline.
    case repeatsArm
    /// Only the report of the newest issue arms the deadline.
    case lateReportsArmNothing
    /// `deleted` and the answer to `pause` wait for orders that were given up.
    case quietIsAwaited

    // The provisioner.
    /// A repeat of a wake says what the first one said.
    case repeatsAreFrozen
    /// An order that is too old is not published.
    case oldOrdersExpire
}
