/// A rule of the protocol that the simulator can switch off, to show that it would be found missing.
public enum Rule: String, CaseIterable, Sendable {
    // The store.
    case publishAfterCommit, storeReceiptsAfterCommit, epochIsChecked, outboxRepeats, ordersRepeat
    case statusesAreRepublished, oldNotesCount, tombstonesAreKept, requestsAreRemembered, undertakingsSurvive
    case framesApplyOnce, credentialsComeFirst, grantsFollowPresence, refusedOwnersReload
    // Streams.
    case incarnationsDiffer, framesRepeat, gapsWait, startsAtLowest
    // The owner.
    case ownerReceiptsAfterCommit, blindnessStopsJudging, blindnessRepeatsWakes, lapsesAreExtended
    case graceRunsAnew, uncleanEndsBlind, lostSubscriptionsBlind, gatewayWordsWait
    case verdictsAwaitBarrier, verdictsAwaitBatches, questionsRepeat
    case heartbeatsHaveAges, checkinsCountOnceOrdered, olderEchoesSettleNothing, otherBootsSayNothing
    case failuresArm, repeatsArm, lateReportsArmNothing, resumesRepeat, cyclesKeepTheirPolicy, wakesArePaced
    case quietIsAwaited, lateCommitsAreAwaited, restoredTimesAreClamped
    // The ingest.
    case ingestsDrain, ingestsAreKnownFirst
    // The provisioner.
    case repeatsAreFrozen, oldOrdersExpire, answersNameTheirUse, keysAreClaimed
    // Every service.
    case stopsAreHonest, stalledReadNothing
}
