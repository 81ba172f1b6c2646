/// A rule of the protocol that the simulator can switch off, to show that it would be found missing.
public enum Rule: String, CaseIterable, Sendable {
    // The store.
    case publishAfterCommit, storeAcknowledgesAfterCommit, epochIsChecked, outboxRepeats, ordersRepeat
    case statusesAreRepublished, oldNotesCount, tombstonesAreKept, requestsAreRemembered, intentRecordsSurvive
    case framesApplyOnce, credentialsComeFirst, grantsFollowPresence, refusedOwnersReload
    case staleClaimsEnd, epochsAreNew, tombstonesAreRepublished, storesDrain
    // Streams.
    case incarnationsDiffer, framesRepeat, gapsWait, startsAtLowWaterMark, acknowledgementsNameTheirIncarnation
    // The owner.
    case ownerAcknowledgesAfterCommit, repeatsAwaitTheFirst, suspensionStopsJudging, suspensionRepeatsWakes
    case lapsesAreExtended, graceRunsAnew, uncleanEndsSuspend, lostSubscriptionsSuspend, gatewayWordsWait
    case absentIngestsSuspend, silentIngestsSuspend, lateCommitsSuspend, willsWhileSuspendedAreForgotten
    case workWaitsForRoom, reconcilersDrain
    case verdictsAwaitBarrier, verdictsAwaitBatches, verdictsAreOfTheirQuestion, questionsRepeat
    case heartbeatsHaveAges, checkinsCountOnceOrdered, olderEchoesSettleNothing, otherBootsSayNothing
    case unheardWakesRepeat
    case failuresArm, repeatsArm, lateReportsArmNothing, resumesRepeat, cyclesKeepTheirPolicy, wakesArePaced
    case drainIsAwaited, lateCommitsAreAwaited, restoredTimesAreClamped, reportsHaveAges, deadlinesIgnoreWallClocks
    // The ingest.
    case ingestsDrain, stoppingIngestsSaySo, ingestsAreKnownFirst, canariesProveTheSubscription, flappingIngestsWait
    case answersFollowHeartbeats, fullIngestsPause, longPausesEnd, unheardIngestsEnd
    // The provisioner.
    case repeatsAreFrozen, oldOrdersExpire, answersNameTheirUse, keysAreClaimed, provisionersDrain
    case fullProvisionersRefuse
    // Agents.
    case runtimesIgnoreOldWakes
    // Every service.
    case stopsAreHonest, stopsEnd, stoppersTakeNothing, stalledReadNothing
}
