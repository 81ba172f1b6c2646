public import Model

/// The life of an agent on a page: every state, every event, what it leads to and what is told of it.
///
/// `infra/docs/lifecycle.md` is this table as text; a test holds both equal, and another drives `AgentMachine` through every
/// row. What has no row changes nothing but, for an accepted heartbeat, `last_seen_at`.
public enum LifecycleTable {
    /// Where an agent is: its status and what its owner waits for.
    public struct Place: Hashable, Sendable {
        /// One of these; an empty list is an agent that is gone.
        public let statuses: [AgentStatus]
        public let phase: Phase
    }

    /// The cases of `AgentPhase`.
    public enum Phase: String, CaseIterable, Sendable {
        case resting
        case wakeQueued = "wake queued"
        case wakeOrdered = "wake ordered"
        case awaitingCheckin = "awaiting check-in"
        case online, lost, paused, leaving
        case gone

        public var meaning: String {
            switch self {
            case .resting: "nothing is awaited, or the time of the next recovery"
            case .wakeQueued: "a permit, to order a wake"
            case .wakeOrdered: "the report of the order's publication"
            case .awaitingCheckin: "a check-in, until the deadline"
            case .online: "the next heartbeat, until the agent lapses"
            case .lost: "word of it after its Last Will or its host's return, until the grace is over"
            case .paused: "a resume: the agent is paused"
            case .leaving: "the reports of the wakes that may still be published"
            case .gone: "nobody: a tombstone keeps its numbers"
            }
        }
    }

    /// What happens.
    public enum Input: String, CaseIterable, Sendable {
        case provision = "`provision`"
        case update = "`update`"
        case wake = "`wake`"
        case provisionWithoutWake = "`provision` without a wake"
        case updateWithoutWake = "`update` without a wake"
        case permitGranted = "its permit was granted"
        case woken = "the wake was published"
        case failed = "the wake could not be rendered or published"
        case expired = "the order was too old to be published"
        case ok = "heartbeat `ok` or `degraded`"
        case starting = "heartbeat `starting`"
        case stopping = "heartbeat `stopping`"
        case crashed = "heartbeat `stopping` with an `exit_status` other than 0"
        case lost = "heartbeat `lost` (Last Will)"
        case waiting = "heartbeat `waiting`"
        case rejected = "a heartbeat that is not accepted"
        case due = "the deadline passed"
        case hostReturned = "its gateway returned"
        case pause = "`pause`"
        case resume = "`resume`, or the pause ended"
        case delete = "`delete`"
        case rotateToken = "`rotate-token`"
        case syncTemplates = "`sync-templates`"
        case observabilityRestored = "suspension ended, or another owner took over"
    }

    /// What must hold besides.
    public enum Condition: String, CaseIterable, Sendable {
        case beforeFirstOrder = "received before the cycle's first wake was ordered"
        case afterFirstOrder = "received after the first wake was ordered: another attempt is wanted"
        case ofOlderGeneration = "it echoes an older generation, and more than a recovery is asked for"
        case ofOlderGenerationInRecovery = "it echoes an older generation, and a recovery is asked for"
        case attemptsLeft = "attempts are left"
        case lastAttempt = "it was the last attempt's"
        case onLapseWake = "`on_lapse` is `wake`"
        case onLapseOffline = "`on_lapse` is `offline`"
        case reportsNothingNew = "it says nothing new"
        case reportsNews = "it says something new of itself"
        case asksForMoreTime = "it asks for more time, within the cap"
        case ofOtherBoot = "its `boot_id` is not the current one"
        case withinASecond = "another was published within the last second"
        case isWanted = "it is wanted"
        case recoveredJustBefore = "it was recovered just before"
        case recoveryWaits = "a recovery waits for its time"
        case hostReturnedMeanwhile = "its host has returned meanwhile"
        case lostMeanwhile = "its Last Will has come meanwhile"
        case noOrderUnderWay = "no wake can be published any more"
        case orderUnderWay = "a wake may still be published"
        case otherCauseLeft = "another cause is left"
        case allReported = "it was the last that was awaited"
    }

    /// What is told of it, besides events.
    public enum Directive: String, CaseIterable, Sendable {
        case askForPermit = "ask for a permit"
        case order = "order the wake"
        case settle = "void the order"
        case noteLastSeen = "note `last_seen_at`"
        case erase = "erase, keep the numbers"
    }

    public struct Row: Hashable, Sendable {
        public let before: Place
        public let input: Input
        public let condition: Condition?
        /// `nil` where the status stays as it is.
        public let status: AgentStatus?
        public let phase: Phase
        public let events: [LifecycleEvent]
        public let directives: [Directive]
    }

    // MARK: As text

    /// The table as Markdown, with the states as a Mermaid diagram.
    public static var markdown: String {
        var lines = [
            "# The life of an agent", "",
            "Made from `Shared/Lifecycle/LifecycleTable.swift`; a test drives the machine through every row. To write this file anew",
            "after a change of the table: `ROLLCALL_UPDATE_GOLDEN=1 swift test --filter LifecycleTableTests`.", "",
            "What has no row changes nothing, but an accepted heartbeat always sets `last_seen_at`.", "", "## States",
            "",
            "```mermaid", "stateDiagram-v2", "    [*] --> offline: created",
        ]
        lines += transitions.map { "    \($0.from.rawValue) --> \($0.to?.rawValue ?? "[*]"): \($0.label)" }
        lines += [
            "```", "", "While it is in a state, its owner waits for one thing:", "", "| phase | what is awaited |",
            "|---|---|",
        ]
        lines += Phase.allCases.map { "| \($0.rawValue) | \($0.meaning) |" }
        for input in Input.allCases {
            lines += [
                "", "## \(sentence(input.rawValue))", "",
                "| status | phase | when | status after | phase after | events | also |",
            ]
            lines.append("|---|---|---|---|---|---|---|")
            lines += rows.filter { $0.input == input }.map(text)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Every change of status that the rows have, each once, with the events that tell of it.
    private static var transitions: [(from: AgentStatus, to: AgentStatus?, label: String)] {
        var result: [(from: AgentStatus, to: AgentStatus?, label: String)] = []
        for from in AgentStatus.allCases {
            for to in AgentStatus.allCases.map(Optional.some) + [nil] {
                var events: [String] = []
                for row in rows where row.before.statuses.contains(from) {
                    let after = row.phase == .gone ? nil : row.status ?? from
                    // A deletion that has nothing to wait for passes through `deleting`.
                    let isThere = after == to || (row.phase == .gone && to == .deleting && from != .deleting)
                    guard isThere, from != to, row.phase != .gone || from == .deleting || to == .deleting else {
                        continue
                    }
                    let told = row.events.last { $0 != .deleted } ?? row.events.last
                    if let event = told?.rawValue, !events.contains(event) { events.append(event) }
                }
                if !events.isEmpty { result.append((from, to, events.joined(separator: ", "))) }
            }
        }
        return result
    }

    private static func text(_ row: Row) -> String {
        let cells = [
            row.before.statuses.map { "`\($0.rawValue)`" }.joined(separator: ", "), row.before.phase.rawValue,
            row.condition?.rawValue ?? "", row.status.map { "`\($0.rawValue)`" } ?? "",
            row.phase == row.before.phase ? "" : row.phase.rawValue,
            row.events.map { "`\($0.rawValue)`" }.joined(separator: ", "),
            row.directives.map(\.rawValue).joined(separator: ", "),
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private static func sentence(_ text: String) -> String {
        text.hasPrefix("`") ? text : text.prefix(1).uppercased() + text.dropFirst()
    }
}
