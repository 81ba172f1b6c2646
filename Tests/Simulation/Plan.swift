/// What a seed decides before anything happens.
struct Plan {
    enum Fault: CaseIterable {
        case crashStore, crashReconciler, crashIngest, crashProvisioner, crashBroker
        case dropConnection, pauseStore, pauseReconciler, pauseIngest, pauseProvisioner
        case cutConnection, stallBroker
        case stepWallClock, failCommits, crashGateway, changeAgent
    }

    /// How the network fails. `honest`: as TCP and a broker that lives do, in order and nothing lost but with a connection.
    /// Otherwise messages between services are lost, repeated, reordered and delayed one by one.
    let isHonest: Bool
    let faults: [Fault]
    /// Microseconds between faults, on average.
    let faultEvery: Int64
    let commandEvery: Int64
    let chaosFor: Int64
    let lossPercent: Int64
    let repeatPercent: Int64
    let latePercent: Int64
    let lateMax: Int64
    let partitionCount: Int
    let agentsPerGateway: Int
    let reconcilers: Int
    let ingests: Int
    let provisioners: Int

    init(seed: UInt64, _ random: inout SeededRandom) {
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
        latePercent = isHonest ? 0 : random.pick([0, 2, 10])
        lateMax = random.pick([200_000, 2_000_000, 25_000_000])
        partitionCount = Int(random.int(1...3))
        agentsPerGateway = Int(random.int(1...3))
        reconcilers = Int(random.int(1...2))
        ingests = Int(random.int(1...2))
        provisioners = Int(random.int(1...2))
    }
}
