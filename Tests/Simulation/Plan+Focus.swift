import API

// What makes the absence of a rule show often. A rule that is not mentioned shows whatever the faults are.
extension Plan {
    static func look(for rule: Rule, _ plan: inout Plan) {
        (suspension[rule] ?? memory[rule] ?? messages[rule])?(&plan)
    }

    /// By what heartbeats are lost, and agents seem to be.
    private static let suspension: [Rule: @Sendable (inout Plan) -> Void] = [
        .lostSubscriptionsSuspend: {
            $0.beHonest([.dropHeartbeats, .changeAgent], every: 400_000)
            $0.lookForLostAnswers()
        },
        .uncleanEndsSuspend: {
            $0.beHonest([.crashIngest, .changeAgent], every: 2_000_000)
            ($0.ingests, $0.troubles) = (3, [.batches: Trouble(lost: 50)])
            $0.lookForLostAnswers()
        },
        .canariesProveTheSubscription: {
            $0.beHonest([.cutHeartbeats, .changeAgent], every: 1_000_000)
            $0.ingests = 2
            $0.lookForLostAnswers()
        },
        .absentIngestsSuspend: {
            $0.beHonest([.stopIngest], every: 2_000_000)
            $0.ingests = 1
            $0.lookForLostAnswers()
        },
        .silentIngestsSuspend: {
            $0.beHonest([.stallBroker, .changeAgent], every: 2_000_000)
            $0.lookForLostAnswers()
        },
        .lateCommitsSuspend: {
            $0.beHonest([.stallBroker, .failCommits, .changeAgent], every: 2_000_000)
            $0.lookForLostAnswers()
        },
        .unheardWakesRepeat: {
            $0.beHonest([.crashBroker, .changeAgent], every: 2_000_000)
            $0.lookForLostAnswers()
            ($0.gatewayReturnMax, $0.wishes, $0.agentsPerGateway) = (2_500_000, [.wake], 3)
        },
        .suspensionStopsJudging: { $0.lookForOutages() },
        .suspensionRepeatsWakes: { $0.lookForOutages() },
        .ingestsAreKnownFirst: {
            $0.lookForSlowAnswers()
            // An owner that begins later finds it by its presence.
            ($0.secondIngestSilence, $0.reconcilers) = (95, 1)
        },
        .verdictsAwaitBarrier: { $0.lookForSlowAnswers() },
        .verdictsAwaitBatches: { $0.lookForSlowAnswers() },
        .verdictsAreOfTheirQuestion: { $0.lookForSlowAnswers() },
        .answersFollowHeartbeats: { $0.lookForSlowAnswers() },
        .flappingIngestsWait: {
            $0.beHonest([.changeAgent], every: 1_000_000)
            ($0.ingests, $0.hasFlappingIngest, $0.endsWithRestarts) = (2, true, false)
        },
        .ingestsDrain: {
            $0.beHonest([.stopIngest, .changeAgent], every: 1_000_000)
            ($0.ingests, $0.troubles) = (3, [.batches: Trouble(lost: 50), .lastBatches: Trouble(lost: 50)])
            $0.lookForLostAnswers()
        },
        .fullIngestsPause: { $0.lookForHangingOwners() },
        .longPausesEnd: { $0.lookForHangingOwners() },
        .unheardIngestsEnd: {
            $0.beHonest([.muteIngest], every: 4_000_000)
            ($0.ingests, $0.agentsPerGateway, $0.favourite, $0.chaosFor) = (1, 1, .well, 30_000_000)
        },
        .stoppingIngestsSaySo: {
            $0.beHonest([.stopIngest], every: 4_000_000)
            $0.lookForLostAnswers()
            $0.troubles = [.batches: Trouble(lost: 60), .lastBatches: Trouble(lost: 100)]
            ($0.ingests, $0.agentsPerGateway) = (1, 3)
        },
        .stopsAreHonest: {
            $0.beHonest([.stopIngest], every: 2_000_000)
            $0.troubles = [.batches: Trouble(lost: 60), .lastBatches: Trouble(lost: 100)]
            $0.lookForLostAnswers()
            ($0.ingests, $0.agentsPerGateway, $0.commandEvery) = (2, 3, 600_000)
            $0.wishes = [.wake]
        },
        .lapsesAreExtended: {
            $0.faults = [.crashIngest, .crashBroker, .cutConnection, .crashGateway, .changeAgent]
            ($0.faultEvery, $0.favourite) = (1_000_000, .well)
        },
        .graceRunsAnew: { $0.lookForLastWills() },
        .willsWhileSuspendedAreForgotten: {
            $0.lookForLastWills()
            ($0.faults, $0.commitsFailMin, $0.longMax) = ([.failCommits, .crashGateway], 3_000_000, 5_000_000)
        },
        .gatewayWordsWait: { $0.faults = [.crashIngest, .crashReconciler, .crashBroker, .crashGateway] },
    ]

    /// By what processes forget or lag behind.
    private static let memory: [Rule: @Sendable (inout Plan) -> Void] = [
        .refusedOwnersReload: {
            ($0.faults, $0.faultEvery, $0.reconcilers) = ([.pauseReconciler], 3_000_000, 2)
            ($0.longMin, $0.longMax, $0.chaosFor) = (11_000_000, 16_000_000, 30_000_000)
        },
        .staleClaimsEnd: {
            ($0.faults, $0.faultEvery) = ([.crashStore, .crashReconciler, .pauseReconciler], 1_000_000)
            // Nobody speaks in it: what it sends would be refused.
            ($0.favourite, $0.commandEvery, $0.reconcilers) = (.silent, 8_000_000, 2)
        },
        .grantsFollowPresence: { $0.faults = [.crashReconciler, .changeAgent] },
        .intentRecordsSurvive: { ($0.faults, $0.faultEvery) = ([.crashReconciler, .changeAgent], 1_000_000) },
        .epochsAreNew: {
            ($0.faults, $0.faultEvery) = ([.crashStore, .pauseReconciler, .crashReconciler], 1_000_000)
        },
        .cyclesKeepTheirPolicy: {
            ($0.faults, $0.faultEvery, $0.reconcilers) = ([.crashReconciler], 1_000_000, 2)
            ($0.favourite, $0.commandEvery) = (.silent, 300_000)
        },
        .oldNotesCount: { $0.lookForForgetfulBrokers() },
        .statusesAreRepublished: { $0.lookForForgetfulBrokers() },
        .tombstonesAreRepublished: { $0.lookForForgetfulBrokers() },
        .outboxRepeats: {
            ($0.faults, $0.faultEvery, $0.commandEvery) = ([.crashBroker, .cutConnection], 600_000, 300_000)
        },
        .tombstonesAreKept: { $0.commandEvery = 300_000 },
        .drainIsAwaited: { $0.commandEvery = 300_000 },
        .failuresArm: {
            ($0.faults, $0.faultEvery) = ([.crashProvisioner, .changeAgent], 1_000_000)
            ($0.provisioners, $0.brokenTemplatesPercent) = (1, 50)
        },
        .restoredTimesAreClamped: {
            ($0.faults, $0.faultEvery, $0.reconcilers) = ([.stepWallClock, .crashReconciler], 1_000_000, 3)
            // On one machine it is known what came when, so that it shows.
            $0.chaosFor -= $0.chaosFor % 2
            ($0.echoesPercent, $0.plainPercent) = (0, 100)
            $0.lookForLostAnswers()
        },
        .deadlinesIgnoreWallClocks: { ($0.faults, $0.faultEvery) = ([.stepWallClock, .changeAgent], 1_000_000) },
        .stalledReadNothing: {
            ($0.faults, $0.faultEvery, $0.commandEvery) = ([.pauseProvisioner], 2_000_000, 300_000)
            ($0.longMin, $0.longMax, $0.provisioners) = (8_500_000, 14_000_000, 2)
        },
        .provisionersDrain: {
            $0.beHonest([.stopProvisioner], every: 1_000_000)
            $0.commandEvery = 300_000
        },
        .stoppersTakeNothing: {
            $0.beHonest([.stopProvisioner, .stopIngest], every: 600_000)
            ($0.ingests, $0.agentsPerGateway, $0.favourite, $0.commandEvery) = (1, 3, .well, 150_000)
        },
        .fullProvisionersRefuse: {
            $0.lookForHangingOwners()
            ($0.commandEvery, $0.provisioners) = (80_000, 1)
        },
        .storesDrain: {
            ($0.faults, $0.faultEvery, $0.commandEvery) = ([.stopStore, .changeAgent], 1_000_000, 300_000)
        },
        .reconcilersDrain: {
            ($0.faults, $0.faultEvery, $0.commandEvery) = ([.stopReconciler, .changeAgent], 1_000_000, 300_000)
        },
        .workWaitsForRoom: {
            $0.beHonest([.failCommits, .changeAgent], every: 1_000_000)
            ($0.agentsPerGateway, $0.commandEvery) = (3, 300_000)
        },
        .stopsEnd: { $0.endsWithRestarts = true },
        .runtimesIgnoreOldWakes: {
            $0.beHonest([.changeAgent], every: 3_000_000)
            $0.troubles = [.orders: Trouble(late: 40, lateMax: 1_500_000)]
            $0.lookForLostAnswers()
            ($0.wishes, $0.agentsPerGateway) = ([.wake], 1)
        },
    ]

    /// By what becomes of messages between services.
    private static let messages: [Rule: @Sendable (inout Plan) -> Void] = [
        .oldOrdersExpire: {
            ($0.isHonest, $0.faults, $0.faultEvery) = (false, [.changeAgent], 3_000_000)
            ($0.lossPercent, $0.latePercent, $0.lateMax, $0.commandEvery) = (0, 30, 25_000_000, 300_000)
        },
        .ordersRepeat: { $0.troubles = [.orders: Trouble(lost: 60)] },
        .questionsRepeat: { ($0.isHonest, $0.lossPercent) = (false, max($0.lossPercent, 10)) },
        .acknowledgementsNameTheirIncarnation: {
            ($0.isHonest, $0.lossPercent, $0.latePercent, $0.lateMax) = (false, 0, 30, 2_000_000)
            ($0.faults, $0.faultEvery, $0.commandEvery) = ([.crashProvisioner, .crashIngest], 600_000, 300_000)
        },
        .lateCommitsAreAwaited: {
            $0.beHonest([.failCommits], every: 8_000_000)
            ($0.commitsFailMin, $0.longMax, $0.chaosFor) = (9_000_000, 12_000_000, 30_000_000)
            ($0.commandEvery, $0.wishes, $0.agentsPerGateway) = (300_000, [.provision, .wake, .delete, .pause], 3)
            $0.troubles = [
                .orders: Trouble(lost: 50, late: 100, lateMax: 4_900_000),
                // Without commits no key is claimed: only what is on its way is decided then.
                .requests: Trouble(late: 100, lateMax: 4_000_000),
            ]
        },
        .checkinsCountOnceOrdered: {
            $0.lookForLostAnswers()
            $0.troubles = [.reports: Trouble(lost: 60)]
        },
        .reportsHaveAges: { $0.troubles = [.reports: Trouble(lost: 60)] },
        .answersNameTheirUse: {
            ($0.isHonest, $0.lossPercent, $0.repeatPercent, $0.latePercent) = (false, 0, 60, 0)
            ($0.faults, $0.commandEvery, $0.otherUsePercent) = ([.changeAgent], 300_000, 40)
            $0.troubles = [
                .answers: Trouble(late: 70, lateMax: 5_000_000), .claims: Trouble(late: 70, lateMax: 2_000_000),
            ]
        },
    ]

    // MARK: What they have in common

    /// Nothing that a living connection would not do, but for what is singled out.
    private mutating func beHonest(_ faults: [Fault], every interval: Int64) {
        (isHonest, lossPercent, latePercent) = (true, 0, 0)
        (self.faults, faultEvery) = (faults, interval)
    }

    /// Many agents that answer once, each wake the last one.
    private mutating func lookForLostAnswers() {
        (favourite, commandEvery, attemptsMax) = (.shy, 300_000, 1)
    }

    /// Answers that are on their way when their deadline ends.
    private mutating func lookForSlowAnswers() {
        beHonest([.changeAgent], every: 3_000_000)
        (ingests, agentsPerGateway, troubles) = (2, 3, [.batches: Trouble(lost: 40)])
        lookForLostAnswers()
        favourite = .slow
    }

    /// One owner that stands still for long, and agents that beat meanwhile.
    private mutating func lookForHangingOwners() {
        beHonest([.pauseReconciler], every: 1_000_000)
        (reconcilers, ingests, agentsPerGateway, favourite) = (1, 1, 3, .well)
        (longMin, longMax, chaosFor) = (14_000_000, 20_000_000, 30_000_000)
    }

    private mutating func lookForOutages() {
        faults = [.crashIngest, .dropHeartbeats, .cutConnection, .crashBroker, .changeAgent]
        lookForLostAnswers()
    }

    private mutating func lookForLastWills() {
        beHonest([.crashIngest, .crashGateway], every: 3_000_000)
        (ingests, favourite, bootsPercent, pairsPercent) = (1, .well, 100, 60)
    }

    private mutating func lookForForgetfulBrokers() {
        (faults, faultEvery) = ([.saveBroker, .crashBroker, .changeAgent], 1_000_000)
    }
}
