import Dispatch
import Foundation

/// `rollcall-simulate`: runs seeds, or replays one.
public enum SimulateCommand {
    private static let usage = """
        Usage: rollcall-simulate [--seed N] [--seeds COUNT] [--focus RULE] [--broken RULE|each] [--trace]

        Runs COUNT (default 1) seeds from N (default 1) on and prints what was violated. A seed is a run: the same seed
        does the same again. --focus makes the faults frequent that would show that the rule were missing, and keeps it.
        --trace prints every step of one. --broken looks for a seed that shows that a rule is
        switched off; `each` does so for all of them; with --trace it prints one seed without that rule. Exit: 0 nothing was violated (all were found), 1 otherwise.
        """

    private final class Tally: @unchecked Sendable {
        // Guarded by the lock.
        private let lock = NSLock()
        private(set) var failed: [Simulation.Outcome] = []
        private(set) var steps = 0
        private(set) var slowest: Int64 = 0
        private(set) var digest: UInt64 = 0

        func add(_ outcome: Simulation.Outcome) {
            lock.withLock {
                steps += outcome.steps
                digest ^= outcome.digest &* (outcome.seed | 1)
                slowest = max(slowest, outcome.convergedAfter)
                if outcome.violation != nil { failed.append(outcome) }
            }
        }
    }

    private final class Findings: @unchecked Sendable {
        // Guarded by the lock.
        private let lock = NSLock()
        private(set) var missed = 0

        func add(_ rule: Rule, _ found: Simulation.Outcome?) {
            lock.withLock {
                missed += found == nil ? 1 : 0
                print("\(rule.rawValue): \(found.map { "seed \($0.seed): \($0.violation ?? "")" } ?? "not found")")
            }
        }
    }

    public static func run(_ arguments: [String]) -> Never {
        var seed: UInt64 = 1
        var count = 1
        var broken: String?
        var focus: Rule?
        var isTraced = false
        var rest = arguments[...]
        while let name = rest.popFirst() {
            switch name {
            case "--seed": seed = need(rest.popFirst().flatMap { UInt64($0) })
            case "--seeds": count = need(rest.popFirst().flatMap { Int($0) })
            case "--focus": focus = need(rest.popFirst().flatMap { Rule(rawValue: $0) })
            case "--broken": broken = need(rest.popFirst())
            case "--trace": isTraced = true
            default: fail()
            }
        }
        if isTraced { replay(seed, without: broken.map { need(Rule(rawValue: $0)) }, focus: focus) }
        if let broken { search(broken, from: seed, count: count) }
        let tally = Tally()
        let start = Date()
        let (first, looked) = (seed, focus)
        DispatchQueue.concurrentPerform(iterations: count) { index in
            tally.add(Simulation.run(seed: first + UInt64(index), focus: looked))
        }
        let seconds = Date().timeIntervalSince(start)
        for outcome in tally.failed.sorted(by: { $0.seed < $1.seed }).prefix(20) {
            print("seed \(outcome.seed): \(outcome.violation ?? "")")
        }
        print(
            """
            \(count) seeds, \(tally.failed.count) failed, \(tally.steps) steps in \(Int(seconds)) s \
            (\(Int(Double(count) / max(seconds, 0.001))) seeds/s), slowest convergence \(tally.slowest) ms, \
            digest \(String(tally.digest, radix: 16))
            """)
        exit(tally.failed.isEmpty ? 0 : 1)
    }

    private static func replay(_ seed: UInt64, without rule: Rule?, focus: Rule?) -> Never {
        let outcome = Simulation.run(seed: seed, broken: rule, focus: rule ?? focus) { print($0) }
        print(outcome.violation ?? "nothing was violated")
        exit(outcome.violation == nil ? 0 : 1)
    }

    private static func search(_ name: String, from seed: UInt64, count: Int) -> Never {
        let rules = name == "each" ? Rule.allCases : [need(Rule(rawValue: name))]
        let findings = Findings()
        DispatchQueue.concurrentPerform(iterations: rules.count) { index in
            findings.add(rules[index], Simulation.firstSeed(without: rules[index], from: seed, count: count))
        }
        print("\(rules.count) rules, \(findings.missed) not found in \(count) seeds")
        exit(findings.missed == 0 ? 0 : 1)
    }

    private static func need<Value>(_ value: Value?) -> Value {
        guard let value else { fail() }
        return value
    }

    private static func fail() -> Never {
        print(usage)
        exit(2)
    }
}

extension Simulation {
    /// The first seed that shows that a rule does not hold: the same run with the rule in force is as it should be.
    public static func firstSeed(without rule: Rule, from seed: UInt64 = 1, count: Int) -> Outcome? {
        for number in seed..<seed + UInt64(count) {
            let outcome = run(seed: number, broken: rule, focus: rule)
            if outcome.violation != nil, run(seed: number, focus: rule).violation == nil { return outcome }
        }
        return nil
    }
}
