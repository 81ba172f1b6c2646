import API

/// What a seed decides before anything happens.
struct Plan {
    enum Fault: CaseIterable {
        case crashStore, crashReconciler, crashIngest, crashProvisioner, crashBroker
        case dropConnection, dropHeartbeats, pauseStore, pauseReconciler, pauseIngest, pauseProvisioner
        case cutConnection, interruptConnection, interruptHeartbeats, stallBroker
        case stepWallClock, failCommits, crashGateway, changeAgent
        case stopStore, stopReconciler, stopIngest, stopProvisioner, saveBroker
        case muteConnection
        /// For what is looked for.
        case cutHeartbeats, muteIngest

        static let usual = allCases.filter { $0 != .cutHeartbeats && $0 != .muteIngest }
    }

    /// Messages that a plan may single out.
    enum Kind {
        case batches, lastBatches, requests, reports, orders, answers, claims
    }

    /// What becomes of them, in a hundred.
    struct Trouble {
        var lost: Int64 = 0
        var late: Int64 = 0
        var lateMax: Int64 = 0
    }

    /// How the network fails. `honest`: as TCP and a broker that lives do, in order and nothing lost but with a connection.
    /// Otherwise messages between services are lost, repeated, reordered and delayed one by one.
    var isHonest: Bool
    var faults: [Fault]
    /// Microseconds between faults, on average.
    var faultEvery: Int64
    var commandEvery: Int64
    var chaosFor: Int64
    /// Whether all processes share one monotonic clock, and know it.
    var isOneMachine: Bool { chaosFor.isMultiple(of: 2) }
    var lossPercent: Int64
    var repeatPercent: Int64
    var latePercent: Int64
    var lateMax: Int64
    var troubles: [Kind: Trouble] = [:]
    /// How much of what the second ingest says of itself is lost on its way to those who hear it.
    var secondIngestSilence: Int64 = 0
    /// The second ingest never lives for long, even when all other faults have stopped.
    var hasFlappingIngest = false
    /// Milliseconds that a long pause or a long trouble of the disk takes at most.
    var longMax: Int64
    /// And at least.
    var longMin: Int64 = 1_000_000
    var commitsFailMin: Int64 = 200_000
    var brokenTemplatesPercent: Int64 = 12
    /// How many in a hundred commands, beyond the usual, use an old key for something else.
    var otherUsePercent: Int64 = 0
    /// What operators ask for most of the time; anything, when empty.
    var wishes: [Verb] = []
    /// How many faults in a hundred come shortly after another one.
    var pairsPercent: Int64 = 0
    /// A gateway's wakes in a second.
    let wakeRate: Int
    /// What agents are like more often than not.
    var favourite: GatewayClient.Mode?
    /// How many in a hundred agents say which start they speak for, and have a Last Will.
    var bootsPercent: Int64 = 30
    /// How many name a generation in every beat, and how many of the others in none.
    var echoesPercent: Int64 = 40
    var plainPercent: Int64 = 40
    var attemptsMax: Int64 = 3
    let partitionCount: Int
    var agentsPerGateway: Int
    /// How long a gateway takes to come back at most, in microseconds.
    var gatewayReturnMax: Int64
    var reconcilers: Int
    var ingests: Int
    var provisioners: Int
    /// Once all is as it should be every process is stopped and started.
    var endsWithRestarts: Bool

    /// - Parameter focus: a rule whose absence is looked for: where only rare faults show it, there are more of them.
    init(_ random: inout SeededRandom, focus: Rule?) {
        isHonest = random.chance(60)
        let kinds = Fault.usual
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
        gatewayReturnMax = random.pick([120_000, 120_000, 1_500_000])
        reconcilers = Int(random.int(1...3))
        ingests = Int(random.int(1...3))
        provisioners = Int(random.int(1...2))
        endsWithRestarts = random.chance(20)
        if let focus { Plan.look(for: focus, &self) }
    }
}
