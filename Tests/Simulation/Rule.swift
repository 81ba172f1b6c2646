/// A rule of the protocol that the simulator can switch off, to show that it would be found missing.
public enum Rule: String, CaseIterable, Sendable {
    // The store.
    case publishAfterCommit, storeReceiptsAfterCommit, epochIsChecked, outboxRepeats, ordersRepeat
    case statusesAreRepublished, oldNotesCount, tombstonesAreKept, requestsAreRemembered, undertakingsSurvive
    case framesApplyOnce, credentialsComeFirst, grantsFollowPresence, refusedOwnersReload
    case staleClaimsEnd, epochsAreNew, tombstonesAreRepublished
    // Streams.
    case incarnationsDiffer, framesRepeat, gapsWait, startsAtLowest, receiptsNameTheirLife
    // The owner.
    case ownerReceiptsAfterCommit, repeatsAwaitTheFirst, blindnessStopsJudging, blindnessRepeatsWakes
    case lapsesAreExtended, graceRunsAnew, uncleanEndsBlind, lostSubscriptionsBlind, gatewayWordsWait
    case absentIngestsBlind, silentIngestsBlind, lateCommitsBlind, willsWhileBlindAreForgotten
    case verdictsAwaitBarrier, verdictsAwaitBatches, verdictsAreOfTheirQuestion, questionsRepeat
    case heartbeatsHaveAges, checkinsCountOnceOrdered, olderEchoesSettleNothing, otherBootsSayNothing
    case unheardWakesRepeat
    case failuresArm, repeatsArm, lateReportsArmNothing, resumesRepeat, cyclesKeepTheirPolicy, wakesArePaced
    case quietIsAwaited, lateCommitsAreAwaited, restoredTimesAreClamped, reportsHaveAges, deadlinesIgnoreWallClocks
    // The ingest.
    case ingestsDrain, stoppingIngestsSaySo, ingestsAreKnownFirst, canariesProveTheLine, flappingIngestsWait
    case fullIngestsPause
    // The provisioner.
    case repeatsAreFrozen, oldOrdersExpire, answersNameTheirUse, keysAreClaimed, provisionersDrain
    // Agents.
    case runtimesIgnoreOldWakes
    // Every service.
    case stopsAreHonest, stalledReadNothing
}
