import API
import Lifecycle
import Model
import Testing
import Wire

@testable import ReconcilerCore

/// A frame that is larger than what may be published would never arrive, and hold up all that comes behind it.
@Suite struct FrameSizeTests {
    /// As much as an agent may have; control characters take six bytes of JSON.
    static let variables = Dictionary(
        uniqueKeysWithValues: (0..<8).map { ("variable-\($0)", String(repeating: "\u{1}", count: 8_170)) })

    private static func record(_ agent: String = "gw/a") -> AgentRecord {
        var record = AgentRecord(
            address: AgentAddress(agent)!, board: "b", role: .worker, status: .online, policy: Policy(),
            createdAt: Timestamp(millisecondsSince1970: 0))
        record.variables = variables
        return record
    }

    private static func answer(_ outcome: CommandOutcome) -> StoreChange {
        .answer(
            AnswerEntry(
                requestID: String(repeating: "f", count: 64), requestDigest: String(repeating: "f", count: 64),
                isKeyed: true, provisioner: String(repeating: "p", count: 63), outcome: outcome, isFinal: true,
                mintedToken: nil))
    }

    /// The bound that frames are divided by holds for the largest of each kind of entry.
    @Test(arguments: [false, true])
    func noEntryIsLargerThanItsBound(hasVariables: Bool) {
        for (name, entry) in FrameSizeTests.largest(hasVariables ? FrameSizeTests.variables : [:]) {
            let (size, bound) = (JSON.bytes(entry).count, AcknowledgementTracker.size(of: entry))
            #expect(size <= bound, "\(name)")
            #expect(size < 2 * Limits.messageBytesMax - 1_000, "\(name)")
        }
    }

    private static func largest(_ variables: [String: String]) -> [(String, StoreEntry)] {
        let id = String(repeating: "i", count: 63)
        let hex = String(repeating: "f", count: 64)
        let time = Timestamp(millisecondsSince1970: 1_769_850_307_042)
        let trace = "00-" + String(repeating: "f", count: 32) + "-" + String(repeating: "f", count: 16) + "-01"
        let agent = AgentAddress("\(id)/\(id)")!
        let number = 1 << 62
        var policy = Policy()
        for path in [\Policy.checkinDeadline, \.heartbeatInterval, \.offlineAfter, \.lostGrace, \.startupExtensionMax] {
            policy[keyPath: path] = DurationText(2_591_999_999, .milliseconds)
        }
        (policy.maxWakeAttempts, policy.onLapse) = (100, .offline)
        (policy.wakeRate, policy.heartbeatRate) = (Rate(perSecond: 1_000_000), Rate(perSecond: 1_000_000))
        let settings = Dictionary(
            uniqueKeysWithValues: PolicySetting.allCases.map { setting -> (PolicySetting, String?) in
                switch setting {
                case .maxWakeAttempts: (setting, "100")
                case .onLapse: (setting, "offline")
                case .wakeRate, .heartbeatRate: (setting, "1000000/s")
                default: (setting, "2591999999ms")
                }
            })
        let overrides = (try? PolicyPatch(settings).applied(to: PolicyOverrides())) ?? PolicyOverrides()

        var record = AgentRecord(
            address: agent, board: id, role: .worker, status: .provisioning, policy: policy, createdAt: time)
        (record.generation, record.wakeAttempts, record.revision) = (number, 100, number)
        (record.lastWakeSentAt, record.checkinDeadlineAt, record.lastSeenAt) = (time, time, time)
        (record.pausedUntil, record.provisionRequestedAt, record.updatedAt) = (time, time, time)
        record.wakeDelivery = .noSubscriber
        record.lastProvisionError = String(repeating: "\u{1}", count: 1_000)
        record.lastRejection = Rejection(
            reason: .unknownAgent, detail: String(repeating: "\u{1}", count: 300), at: time, count: number)
        record.reportedStatus = .degraded
        record.bootID = String(repeating: "\u{1}", count: 64)
        record.templatesDigest = "sha256:" + hex
        record.templatesDigestReported = String(repeating: "\u{1}", count: 256)
        record.policyOverrides = overrides
        record.variables = variables
        record.pausedBy = [.agent, .gateway, .board]
        record.provisionAction = .provision
        record.tokenID = hex
        let order = WakeOrder(
            agent: agent, generation: number, attempt: 100, publication: number, maxAttempts: 100, reason: .retrigger,
            checkinDeadline: policy.checkinDeadline, heartbeatInterval: policy.heartbeatInterval, resetSession: false,
            templatesDigest: "sha256:" + hex, role: .worker, board: id, variables: variables, traceparent: trace)
        var state = AgentState(record: record)
        (state.tokenDigest, state.previousToken) = (hex, PreviousToken(digest: hex, until: time))
        state.earlierTokens = Array(repeating: PreviousToken(digest: hex, until: time), count: 3)
        var cycle = Cycle(
            policy: policy, requestedAt: time, reason: .retrigger, resetSession: false, traceparent: trace)
        cycle.firstOrderedAt = time
        cycle.firstOrderedOn = MachineInstant(boot: String(repeating: "b", count: 36), nanoseconds: .max)
        (cycle.order, cycle.extensionUsed) = (order, 2_591_999_999)
        (state.cycle, state.publication, state.hostReturn) = (cycle, number, number)
        state.orphanedPublications = Array(repeating: number, count: 32)
        state.pauseEnds = ["agent": time, "gateway": time, "board": time]

        let request = PartitionRequest(
            id: hex + "/1023", digest: hex, isKeyed: false,
            command: .addGateway(id, policy: PolicyPatch(settings)), minted: MintedToken(digest: hex, id: hex),
            rendered: nil, traceparent: trace, provisioner: id)
        var gateway = GatewayState(gateway: id)
        (gateway.connection, gateway.policyOverrides) = (.connected, overrides)
        (gateway.tokenDigest, gateway.tokenID, gateway.pausedUntil) = (hex, hex, time)
        let event = AgentEventEntry(
            id: "\(agent)!\(number).\(number)", event: .heartbeatRejected, agent: agent, reason: "unknown_agent",
            time: time,
            source: "rollcall/reconciler/\(id)", traceparent: trace)
        let gatewayEvent = GatewayEventEntry(
            id: "\(id)#\(number).\(number)", time: time, source: "rollcall/reconciler/\(id)",
            message: GatewayLifecycleMessage(event: .gatewayConnected, gateway: id, agents: number))
        var seen = SeenAgents()
        (seen.agents, seen.at) = (
            Array(repeating: agent.description, count: 500), Array(repeating: Int64.max, count: 500)
        )
        let rejected = LastSeenUpdate(agent: agent, lastSeenAt: time, lastRejection: record.lastRejection)
        let credential = CredentialChange(username: agent.description, change: .overlap(digest: hex, seconds: 600))
        let intent = StoreChange.intent(IntentRecord(request: request, count: number))
        let tombstone = Tombstone(agent: agent, generation: number, revision: number)
        let entries: [(String, [StoreChange])] = [
            ("state with its order", [.agent(Carried(state), nil), .order(Carried(order))]),
            ("state with its event", [.agent(Carried(state), event)]),
            ("pause with its intent record", [.agent(Carried(state), event), intent]),
            ("event", [.event(event)]),
            ("settled", [.settledOrder(agent)]),
            ("credential", [.credential(credential)]),
            (
                "erased",
                [
                    .removal(Carried(state), event, tombstone), .credential(credential),
                    answer(.record(record, minted: false)),
                ]
            ),
            ("gateway", [.gatewayEvent(gatewayEvent), .gateway(gateway), intent]),
            (
                "removed gateway",
                [.credential(credential), .removedGateway(id), answer(.gatewayRemoved(id, deletedAgents: number))]
            ),
            ("board", [.boardPause(BoardPause(board: id, until: time)), intent]),
            ("resumed board", [.resumedBoard(id)]),
            ("record", [answer(.record(record, minted: false))]),
            ("gateway's answer", [answer(.gateway(id, minted: false))]),
            ("render", [answer(.render(RenderInputs(role: .worker, board: id, variables: variables)))]),
            ("refused", [answer(.refused(Problem(member: "variables", String(repeating: "\u{1}", count: 500))))]),
            ("paused", [answer(.paused(number))]),
            ("seen", [.seen(seen)]),
            ("last-seen updates", [.lastSeen(Array(repeating: rejected, count: 500))]),
        ]
        return entries.map { ($0.0, StoreEntry($0.1)) }
    }

    /// Eighty small commands about agents with many variables come in one turn.
    @Test(arguments: [true, false])
    func answersWithManyVariablesAreDivided(isRendered: Bool) {
        let outcome: CommandOutcome =
            isRendered
            ? .record(FrameSizeTests.record(), minted: false)
            : .render(RenderInputs(role: .worker, board: "b", variables: FrameSizeTests.variables))
        var ledger = AcknowledgementTracker()
        for _ in 0..<80 {
            ledger.add(StoreEntry(FrameSizeTests.answer(outcome)))
            ledger.endStep(1)
        }
        var sent = 0
        _ = ledger.flush { entries in
            sent += entries.count
            #expect(JSON.bytes(StoreFrame(partition: 0, epoch: 1, entries: entries)).count < Limits.messageBytesMax)
            return 1
        }
        #expect(sent == 80)
    }
}
