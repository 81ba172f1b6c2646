/// What a seed decides before anything happens.
struct Plan {
    enum Fault: CaseIterable {
        case crashStore, crashReconciler, crashIngest, crashProvisioner, crashBroker
        case dropConnection, dropHeartbeats, pauseStore, pauseReconciler, pauseIngest, pauseProvisioner
        case cutConnection, stallBroker
        case stepWallClock, failCommits, crashGateway, changeAgent
        case stopStore, stopReconciler, stopIngest, stopProvisioner, saveBroker
    }

    /// How the network fails. `honest`: as TCP and a broker that lives do, in order and nothing lost but with a connection.
    /// Otherwise messages between services are lost, repeated, reordered and delayed one by one.
    private(set) var isHonest: Bool
    private(set) var faults: [Fault]
    /// Microseconds between faults, on average.
    private(set) var faultEvery: Int64
    private(set) var commandEvery: Int64
    let chaosFor: Int64
    /// Whether all processes share one monotonic clock, and know it.
    var isOneMachine: Bool { chaosFor.isMultiple(of: 2) }
    private(set) var lossPercent: Int64
    let repeatPercent: Int64
    private(set) var latePercent: Int64
    private(set) var lateMax: Int64
    /// How much of what the second ingest says of itself is lost.
    private(set) var secondIngestSilence: Int64 = 0
    /// Milliseconds that a long pause or a long trouble of the disk takes at most.
    private(set) var longMax: Int64
    /// A gateway's wakes in a second.
    let wakeRate: Int
    /// What agents are like more often than not.
    private(set) var favourite: GatewayClient.Mode?
    /// How many in a hundred agents say which start they speak for, and have a Last Will.
    private(set) var bootsPercent: Int64 = 30
    private(set) var attemptsMax: Int64 = 3
    let partitionCount: Int
    private(set) var agentsPerGateway: Int
    private(set) var reconcilers: Int
    private(set) var ingests: Int
    let provisioners: Int

    /// - Parameter focus: a rule whose absence is looked for: where only rare faults show it, there are more of them.
    init(_ random: inout SeededRandom, focus: Rule?) {
        isHonest = random.chance(60)
        let kinds = Fault.allCases
        // Few kinds at a time show what many together hide.
        let share = random.pick([25, 50, 100] as [Int64])
        var chosen = kinds.filter { _ in random.chance(share) }
        if chosen.isEmpty { chosen = [random.pick(kinds)] }
        faults = chosen
        faultEvery = random.pick([400_000, 1_000_000, 3_000_000, 6_000_000])
        commandEvery = random.pick([300_000, 1_000_000, 2_500_000])
        chaosFor = random.int(8_000_000...30_000_000)
        lossPercent = isHonest ? 0 : random.int(0...15)
        repeatPercent = isHonest ? 0 : random.int(0...10)
        latePercent = isHonest ? 0 : random.pick([0, 2, 10, 30])
        lateMax = random.pick([200_000, 2_000_000, 25_000_000])
        longMax = random.pick([3_000_000, 8_000_000, 16_000_000])
        wakeRate = random.pick([2, 20, 20])
        partitionCount = Int(random.int(1...3))
        agentsPerGateway = Int(random.int(1...3))
        reconcilers = Int(random.int(1...3))
        ingests = Int(random.int(1...3))
        provisioners = Int(random.int(1...2))
        if let focus { look(for: focus) }
    }

    /// Makes what shows the rule's absence happen often.
    private mutating func look(for rule: Rule) {
        switch rule {
        case .lostSubscriptionsBlind:
            isHonest = true
            (faults, faultEvery) = ([.dropHeartbeats, .changeAgent], 400_000)
            lookForLostAnswers()
        case .uncleanEndsBlind:
            isHonest = true
            (faults, faultEvery, ingests) = ([.crashIngest, .changeAgent], 400_000, 3)
            lookForLostAnswers()
        case .ingestsAreKnownFirst:
            isHonest = false
            (faults, faultEvery, commandEvery) = ([.changeAgent], 3_000_000, 1_000_000)
            (lossPercent, latePercent, lateMax) = (15, 30, 400_000)
            (secondIngestSilence, ingests, agentsPerGateway, favourite) = (95, 2, 3, .slow)
        case .failuresArm: (faults, faultEvery) = ([.crashProvisioner, .changeAgent], 1_000_000)
        case .oldOrdersExpire:
            isHonest = false
            (faults, faultEvery) = ([.changeAgent], 3_000_000)
            (lossPercent, latePercent, lateMax) = (0, 30, 25_000_000)
        case .ordersRepeat, .questionsRepeat:
            isHonest = false
            lossPercent = max(lossPercent, 10)
        case .blindnessStopsJudging, .blindnessRepeatsWakes:
            faults = [.crashIngest, .dropHeartbeats, .cutConnection, .crashBroker, .changeAgent]
            lookForLostAnswers()
        case .ingestsDrain:
            (faults, faultEvery) = ([.stopIngest, .changeAgent], 400_000)
        case .lapsesAreExtended:
            (faults, faultEvery) = (
                [.crashIngest, .crashBroker, .cutConnection, .crashGateway, .changeAgent], 1_000_000
            )
            favourite = .well
        case .graceRunsAnew:
            (faults, faultEvery, ingests) = ([.crashIngest, .crashGateway], 400_000, 1)
            (favourite, bootsPercent) = (.well, 100)
        case .refusedOwnersReload:
            (faults, faultEvery, longMax) = ([.pauseReconciler, .stopReconciler], 1_000_000, 16_000_000)
            reconcilers = 3
        case .grantsFollowPresence: faults = [.crashReconciler, .changeAgent]
        case .cyclesKeepTheirPolicy:
            (faults, faultEvery, reconcilers) = ([.crashReconciler], 1_000_000, 2)
            (favourite, commandEvery) = (.silent, 300_000)
        case .oldNotesCount: (faults, faultEvery) = ([.saveBroker, .crashBroker, .changeAgent], 1_000_000)
        case .undertakingsSurvive: (faults, faultEvery) = ([.crashReconciler, .changeAgent], 1_000_000)
        case .stopsAreHonest:
            (faults, faultEvery) = (
                [.stopIngest, .failCommits, .pauseStore, .pauseReconciler, .changeAgent], 1_000_000
            )
            (isHonest, lossPercent, longMax) = (false, 15, 8_000_000)
        case .stalledReadNothing: faults = [.pauseReconciler, .pauseIngest, .pauseProvisioner, .changeAgent]
        case .lateCommitsAreAwaited:
            (faults, faultEvery, longMax) = ([.failCommits, .changeAgent], 3_000_000, 16_000_000)
            (isHonest, lossPercent, latePercent, lateMax) = (false, 0, 30, 6_000_000)
            (favourite, commandEvery) = (.silent, 300_000)
        case .restoredTimesAreClamped:
            (faults, faultEvery, reconcilers) = ([.stepWallClock, .crashReconciler], 400_000, 3)
            (favourite, commandEvery) = (.shy, 300_000)
        case .gatewayWordsWait: faults = [.crashIngest, .crashReconciler, .crashBroker, .crashGateway]
        case .publishAfterCommit, .storeReceiptsAfterCommit, .epochIsChecked, .outboxRepeats, .statusesAreRepublished,
            .tombstonesAreKept, .requestsAreRemembered, .framesApplyOnce, .credentialsComeFirst, .incarnationsDiffer,
            .framesRepeat,
            .gapsWait, .startsAtLowest, .ownerReceiptsAfterCommit, .verdictsAwaitBarrier, .verdictsAwaitBatches,
            .heartbeatsHaveAges, .repeatsArm, .lateReportsArmNothing, .quietIsAwaited, .repeatsAreFrozen,
            .checkinsCountOnceOrdered, .olderEchoesSettleNothing, .otherBootsSayNothing,
            .resumesRepeat, .wakesArePaced, .answersNameTheirUse, .keysAreClaimed:
            break
        }
    }

    /// Many agents that answer once, each wake the last one.
    private mutating func lookForLostAnswers() {
        (favourite, commandEvery, attemptsMax) = (.shy, 300_000, 1)
    }
}
