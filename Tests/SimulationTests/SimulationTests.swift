import Simulation
import Testing

/// A few seeds of the simulation, and of the simulation itself. `rollcall-simulate` runs thousands.
@Suite struct SimulationTests {
    @Test(arguments: 1...24)
    func whateverFailsThePromisesHold(seed: UInt64) {
        let outcome = Simulation.run(seed: seed)
        #expect(outcome.violation == nil, "rollcall-simulate --seed \(seed) --trace")
    }

    @Test(arguments: [3, 17, 101])
    func aSeedIsARun(seed: UInt64) {
        var lines: [String] = []
        let first = Simulation.run(seed: seed) { lines.append($0) }
        var again: [String] = []
        let second = Simulation.run(seed: seed) { again.append($0) }
        #expect(first.digest == second.digest && first.steps == second.steps)
        #expect(lines == again && lines.count > 100)
        #expect(Simulation.run(seed: seed + 1).digest != first.digest)
    }

    /// Those that few seeds show; `rollcall-simulate --broken each` finds all of them.
    @Test(arguments: [
        Rule.publishAfterCommit, .storeAcknowledgesAfterCommit, .epochIsChecked, .requestsAreRemembered,
        .incarnationsDiffer,
        .gapsWait, .ownerAcknowledgesAfterCommit, .verdictsAwaitBarrier, .heartbeatsHaveAges, .repeatsAreFrozen,
    ])
    func aRuleThatIsSwitchedOffIsFound(rule: Rule) {
        #expect(Simulation.firstSeed(without: rule, count: 40) != nil)
    }
}
