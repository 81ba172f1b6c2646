import Model
import Testing

/// Every short life, and many long ones, against the invariants of the contract.
@Suite struct EnumerationTests {
    /// As long as all sequences of that length run within seconds. What a lapse leads to is no matter of long sequences.
    static func length(_ onLapse: OnLapse) -> Int { onLapse == .wake ? 5 : 4 }

    /// Where the sequences begin: from a new agent alone the later steps of a cycle would be out of reach.
    enum Beginning: CaseIterable, Sendable {
        case new, awaitingCheckin, online, lastDeadline, orderGivenUp, pausedWithAnOrder

        var path: [LifeInput] {
            switch self {
            case .new: []
            case .awaitingCheckin: [.provision, .permitGranted, .wokenCurrent]
            case .online: [.provision, .permitGranted, .wokenCurrent, .ok]
            case .lastDeadline: [.provision, .permitGranted, .wokenCurrent, .timeToDue, .permitGranted, .wokenCurrent]
            case .orderGivenUp: [.provision, .permitGranted, .wake, .permitGranted]
            case .pausedWithAnOrder: [.provision, .permitGranted, .pause]
            }
        }
    }

    @Test(arguments: Beginning.allCases, OnLapse.allCases)
    func everyShortLife(beginning: Beginning, onLapse: OnLapse) throws {
        var start = Witness([.onLapse: onLapse.rawValue, .maxWakeAttempts: "2", .heartbeatRate: "0"])
        for input in beginning.path { #expect(try start.apply(input)) }
        var explorer = Explorer()
        explorer.explore(start, EnumerationTests.length(onLapse))
        #expect(explorer.steps > 5_000)
        #expect(explorer.outlines.count > 50)
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func longLives(seed: UInt64) {
        for life in 0..<300 as Range<UInt64> {
            var random = SeededRandom(seed: seed &* 1_000_003 &+ life)
            let start = Witness([
                .onLapse: life % 2 == 0 ? "wake" : "offline", .maxWakeAttempts: "\(1 + life % 3)", .heartbeatRate: "0",
            ])
            var path: [LifeInput] = []
            while path.count < 200 {
                // A deletion ends a life: most are to be long.
                let input = LifeInput.allCases[Int.random(in: 0..<LifeInput.allCases.count, using: &random)]
                if input == .delete, Int.random(in: 0..<10, using: &random) > 0 { continue }
                path.append(input)
            }
            if let violation = start.live(path) {
                let (least, rule) = shrink(path, violation, start)
                Issue.record("\(rule): \(least.map { "\($0)" }), from life \(life) of seed \(seed)")
                return
            }
        }
    }

    /// Leaves out what is not needed for a violation.
    private func shrink(_ path: [LifeInput], _ violation: Violation, _ start: Witness) -> ([LifeInput], Violation) {
        var least = path
        var rule = violation
        for index in path.indices.reversed() {
            var shorter = least
            shorter.remove(at: index)
            if let other = start.live(shorter) {
                least = shorter
                rule = other
            }
        }
        return (least, rule)
    }
}

extension Witness {
    /// The first rule that a life breaks.
    fileprivate func live(_ path: [LifeInput]) -> Violation? {
        var witness = self
        do {
            for (index, input) in path.enumerated() where !witness.isGone {
                _ = try witness.apply(input)
                if index % 10 == 9 || index == path.count - 1, !witness.isGone { try witness.checkProgress() }
            }
            return nil
        } catch {
            return error
        }
    }
}

/// Walks the tree of all sequences. What changes nothing is not followed: the sequence without it is.
private struct Explorer {
    private(set) var steps = 0
    private(set) var outlines: Set<String> = []
    private var path: [LifeInput] = []
    private var hasFailed = false

    mutating func explore(_ witness: Witness, _ length: Int) {
        guard length > 0, !hasFailed else { return }
        for input in LifeInput.allCases {
            var next = witness
            path.append(input)
            defer { path.removeLast() }
            do {
                guard try next.apply(input) else { continue }
                steps += 1
                if !next.isGone, outlines.insert(next.outline).inserted || length > 3 { try next.checkProgress() }
            } catch {
                hasFailed = true
                Issue.record("\(error): \(path.map { "\($0)" })")
                return
            }
            explore(next, length - 1)
            if hasFailed { return }
        }
    }
}
