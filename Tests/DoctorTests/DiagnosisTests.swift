import API
import Lifecycle
import Model
import Testing

@testable import Doctor

/// What a snapshot is found to be: the first cause of each trouble, and what it explains.
struct DiagnosisTests {
    private static let now = Timestamp(millisecondsSince1970: 1_000_000)

    private static func seconds(_ count: Int64) -> Timestamp { Timestamp(millisecondsSince1970: count * 1_000) }

    /// A system where nothing is wrong, then changed.
    private func found(
        subject: String? = nil, _ change: (inout Snapshot) -> Void = { _ in }
    ) -> [String] {
        var snapshot = Snapshot(at: Self.now, broker: .reached)
        snapshot.services = ServiceName.allCases.map { name in
            var presence = Presence(
                service: name, instance: "1", state: .running, startedAt: Self.now, configDigest: "1:r",
                incarnation: "i")
            if name == .statusStore { presence.partitionCount = 2 }
            if name == .reconciler { presence.partitions = ["0": 1, "1": 1] }
            if name == .heartbeatIngest { presence.heartbeatSession = 1 }
            return presence
        }
        snapshot.isAnswered = true
        snapshot.gateways = [Snapshot.Gateway(name: "g", state: .connected, agents: 1)]
        snapshot.subject = subject.flatMap { AgentAddress($0) }
        change(&snapshot)
        return Diagnosis(of: snapshot).findings.map { "\($0.id) \($0.subject)" }
    }

    private func change(
        _ service: ServiceName, _ body: @escaping (inout Presence) -> Void
    ) -> (inout Snapshot) -> Void {
        { snapshot in
            for index in snapshot.services.indices where snapshot.services[index].service == service.rawValue {
                body(&snapshot.services[index])
            }
        }
    }

    /// An agent that was woken at 100 s and has not checked in.
    private func record(_ name: String = "g/a", _ change: (inout AgentRecord) -> Void = { _ in }) -> AgentRecord {
        var record = AgentRecord(
            address: AgentAddress(name)!, board: nil, role: .main, status: .offline, policy: Policy(),
            createdAt: Self.seconds(0))
        record.generation = 2
        record.isWanted = true
        record.wakeAttempts = 3
        record.lastWakeSentAt = Self.seconds(100)
        record.wakeDelivery = .accepted
        record.offlineReason = .checkinMissed
        change(&record)
        return record
    }

    @Test func aHealthySystem() {
        #expect(found() == [])
    }

    @Test func lowerLayersHideWhatTheyExplain() {
        let unreachable = Diagnosis(of: Snapshot(at: Self.now, broker: .unreachable("refused")))
        #expect(unreachable.findings.map(\.id) == ["broker.unreachable"])
        #expect(unreachable.checks.filter { $0.result == .skipped }.allSatisfy { $0.because != nil })
        #expect(Diagnosis(of: Snapshot(at: Self.now, broker: .refused("no"))).findings.map(\.id) == ["broker.refused"])
        #expect(found { $0.services = [] } == ["broker.not_ours broker"])
        #expect(
            found {
                $0.services.removeAll { $0.service == "status-store" }
                $0.isAnswered = false
                $0.records = [record()]
            } == ["service.missing status-store"])
        #expect(
            found {
                $0.isAnswered = false
                $0.records = [record()]
            } == ["service.unanswered status-store"])
    }

    @Test func services() {
        #expect(found(change(.provisioner) { $0.state = .lost }) == ["service.missing provisioner"])
        #expect(found(change(.reconciler) { $0.partitions = ["0": 1] }) == ["partition.unowned reconciler"])
        #expect(found(change(.reconciler) { $0.configDigest = "1:x" }) == ["service.config_mismatch services"])
        #expect(found(change(.reconciler) { $0.suspended = "why" }) == ["judging.blind reconciler/1"])
        #expect(found(change(.heartbeatIngest) { $0.heartbeatSession = nil }) == ["ingest.deaf heartbeat-ingest/1"])
        #expect(found(change(.statusStore) { $0.trouble = "full" }) == ["store.trouble status-store"])
        #expect(found(change(.statusStore) { $0.unserved = "no plugin" }) == ["store.unserved status-store"])
        #expect(
            found { snapshot in
                var second = snapshot.services.first { $0.service == "reconciler" }!
                second.instance = "2"
                second.partitions = ["1": 2]
                snapshot.services.append(second)
            } == ["partition.owned_twice reconciler"])
        #expect(
            found {
                $0.observedFor = .seconds(12)
                $0.countersBefore = ["publish/messages/dropped": 1]
                $0.counters = ["publish/messages/dropped": 5]
            } == ["broker.dropping broker"])
    }

    @Test(arguments: [GatewayState.Connection.lost, .stopped, .never])
    func aGatewayExplainsItsAgents(state: GatewayState.Connection) {
        let gateway = Snapshot.Gateway(name: "g", state: state, agents: 2)
        #expect(
            found {
                $0.gateways = [gateway]
                $0.records = [record(), record("g/b")]
            } == ["gateway.\(state.rawValue) g"])
        // Agents that connect by themselves need none.
        #expect(found { $0.gateways = [gateway] } == [])
    }

    @Test func eachAgentHasOneCause() {
        let cases: [(String, (inout AgentRecord) -> Void)] = [
            (
                "heartbeat.rejected",
                { $0.lastRejection = Rejection(reason: .badToken, detail: nil, at: Self.seconds(101), count: 3) }
            ),
            (
                "wake.failed",
                {
                    $0.wakeDelivery = nil
                    $0.lastProvisionError = "no such variable"
                }
            ),
            ("agent.crashed", { $0.lastExitStatus = 3 }),
            (
                "heartbeat.old_generation",
                {
                    $0.lastSeenAt = Self.seconds(101)
                    $0.generationReported = 1
                }
            ),
            ("wake.no_subscriber", { $0.wakeDelivery = .noSubscriber }),
            (
                "agent.starting",
                {
                    $0.reportedStatus = .starting
                    $0.lastSeenAt = Self.seconds(101)
                }
            ),
            ("agent.silent", { _ in }),
            ("agent.lapsed", { $0.offlineReason = .lapsed }),
            (
                "templates.stale",
                {
                    $0.status = .online
                    $0.templatesDigest = "a"
                    $0.templatesDigestReported = "b"
                }
            ),
        ]
        for (id, change) in cases { #expect(found { $0.records = [record("g/a", change)] } == ["\(id) g/a"]) }
        // What lies before the newest wake explains nothing.
        let old = Rejection(reason: .badToken, detail: nil, at: Self.seconds(99), count: 3)
        #expect(found { $0.records = [record { $0.lastRejection = old }] } == ["agent.silent g/a"])
    }

    @Test func whatIsIntendedIsToldToWhoAsks() {
        let cases: [(String, (inout AgentRecord) -> Void)] = [
            ("agent.paused", { $0.pausedBy = [.agent] }), ("agent.goodbye", { $0.offlineReason = .goodbye }),
            ("agent.never_woken", { $0.offlineReason = .neverWoken }), ("agent.waiting", { $0.status = .updating }),
        ]
        for (id, change) in cases {
            #expect(found(subject: "g/a") { $0.records = [record("g/a", change)] } == ["\(id) g/a"])
            #expect(found { $0.records = [record("g/a", change)] } == [])
        }
    }

    @Test func manyOfOneCauseAreOneFinding() {
        #expect(found { $0.records = (0..<5).map { record("g/a\($0)") } } == ["agent.silent 5 agents"])
    }

    @Test func aTightPolicy() {
        let tight = record { record in
            record.status = .online
            record.policy.offlineAfter = DurationText(90, .seconds)
        }
        #expect(found { $0.records = [tight] } == ["policy.tight g/a"])
    }
}
