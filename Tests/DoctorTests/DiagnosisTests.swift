import API
import Lifecycle
import Model
import Testing

@testable import Doctor

/// What a snapshot is found to be: the first cause of each trouble, and what it explains.
struct DiagnosisTests {
    static let now = Timestamp(millisecondsSince1970: 1_000_000)

    static func seconds(_ count: Int64) -> Timestamp { Timestamp(millisecondsSince1970: count * 1_000) }

    /// A system where nothing is wrong, then changed.
    func found(
        subject: String? = nil, _ change: (inout Snapshot) -> Void = { _ in }
    ) -> [String] {
        diagnosis(subject: subject, change).findings.map { "\($0.id) \($0.subject)" }
    }

    func diagnosis(subject: String? = nil, _ change: (inout Snapshot) -> Void) -> Diagnosis {
        Diagnosis(of: snapshot(subject: subject, change))
    }

    func snapshot(subject: String? = nil, _ change: (inout Snapshot) -> Void) -> Snapshot {
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
        return snapshot
    }

    func change(
        _ service: ServiceName, _ body: @escaping (inout Presence) -> Void
    ) -> (inout Snapshot) -> Void {
        { snapshot in
            for index in snapshot.services.indices where snapshot.services[index].service == service.rawValue {
                body(&snapshot.services[index])
            }
        }
    }

    /// An agent that was woken at 100 s and has not checked in.
    func record(_ name: String = "g/a", _ change: (inout AgentRecord) -> Void = { _ in }) -> AgentRecord {
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

    @Test func aStoreInTroubleExplainsWhoWaitsForIt() {
        for (trouble, unserved, id) in [("full", nil, "store.trouble"), (nil, "no plugin", "store.unserved")] {
            #expect(
                found { snapshot in
                    change(.statusStore) { ($0.trouble, $0.unserved) = (trouble, unserved) }(&snapshot)
                    change(.reconciler) { ($0.partitions, $0.suspended) = ([:], "the store does not commit") }(
                        &snapshot)
                    change(.heartbeatIngest) { $0.heartbeatSession = nil }(&snapshot)
                    snapshot.isAnswered = false
                    snapshot.records = [record()]
                } == ["\(id) status-store"])
        }
    }

    @Test func whoIsMissingExplainsItsOwn() {
        func without(_ service: ServiceName) -> [String] {
            found { snapshot in
                snapshot.services.removeAll { $0.service == service.rawValue }
                change(.reconciler) { $0.suspended = "no ingest" }(&snapshot)
                change(.heartbeatIngest) { $0.heartbeatSession = nil }(&snapshot)
                snapshot.isAnswered = false
            }
        }
        #expect(
            without(.reconciler) == ["service.missing reconciler", "service.unanswered status-store"])
        #expect(without(.heartbeatIngest) == ["service.missing heartbeat-ingest", "service.unanswered status-store"])
        #expect(
            without(.provisioner) == ["service.missing provisioner", "ingest.deaf heartbeat-ingest/1"])
    }

    @Test func anInstanceIsMissed() {
        let found = diagnosis { snapshot in
            change(.controlAPI) { $0.state = .lost }(&snapshot)
            var second = snapshot.services.first { $0.service == "provisioner" }!
            (second.instance, second.state) = ("2", .lost)
            snapshot.services.append(second)
            snapshot.records = [record()]
        }
        // Nobody's work lies idle: it explains nothing.
        #expect(
            found.findings.map { "\($0.severity) \($0.id) \($0.subject)" } == [
                "warning service.missing control-api/1", "warning service.missing provisioner/2",
                "error agent.silent g/a",
            ])
        // Who stopped on purpose, or was never there, is not missed.
        #expect(self.found(change(.controlAPI) { $0.state = .stopped }) == [])
        #expect(self.found { $0.services.removeAll { $0.service == "control-api" } } == [])
        let silent = diagnosis { $0.services.removeAll { $0.service == "reconciler" } }
        #expect(silent.findings.first?.cause == "it is silent, or was never started here")
    }

    /// Processes that announced themselves as `reconciler/1`, one a second.
    private func announced(_ incarnations: String, ticking seconds: Int64 = 0) -> [String] {
        var heard = Incarnations()
        var now = Instant(nanoseconds: 0)
        for letter in incarnations {
            var presence = Presence(
                service: .reconciler, instance: "1", state: .running, startedAt: Self.now, configDigest: "1:r",
                incarnation: String(letter))
            heard.heard(presence, now: now)
            presence.state = .lost
            heard.heard(presence, now: now)
            now = now + .seconds(1)
        }
        heard.ticked(now: now + .seconds(seconds))
        return found { $0.incarnations = heard }
    }

    @Test func aServiceThatEndsAgainAndAgain() {
        #expect(announced("aaab") == [])
        #expect(announced("abc") == [], "a deployment, and its undoing")
        #expect(announced("abcd") == ["service.restarting reconciler/1"])
        #expect(announced("aba") == ["service.duplicate_instance reconciler/1"])
        #expect(announced("abcd", ticking: 300) == [])
    }

    @Test func whatServicesWarnOf() {
        let warned = diagnosis(
            change(.controlAPI) { $0.warnings = [ServiceWarning(.alertUndelivered, "ops has taken nothing for 2 min")] }
        )
        #expect(warned.findings.map(\.id) == ["alert.undelivered"])
        #expect(warned.findings.map(\.summary) == ["control-api/1 warns: ops has taken nothing for 2 min"])
        #expect(!warned.isInterrupted)
    }

    @Test func eachWarningIsAFindingOfItsOwn() {
        for kind in ServiceWarning.Kind.allCases {
            let warned = change(.statusStore) { $0.warn(ServiceWarning(kind, "what")) }
            #expect(found(warned) == ["\(kind.rawValue) status-store/1"])
        }
        // Who waits for a store that does not answer is no trouble of his own.
        for cause in ["service.unanswered status-store", "partition.unowned reconciler"] {
            #expect(
                found { snapshot in
                    change(.provisioner) { $0.warn(ServiceWarning(.streamBehind, "what")) }(&snapshot)
                    if cause.hasPrefix("partition") {
                        change(.reconciler) { $0.partitions = ["0": 1] }(&snapshot)
                    } else {
                        snapshot.isAnswered = false
                    }
                } == [cause])
        }
    }

    @Test func clocksThatDiffer() {
        func skewed(_ clocks: [String: Int64]) -> [String] {
            diagnosis { $0.clocks = clocks }.findings.map { "\($0.id) \($0.subject): \($0.summary)" }
        }
        #expect(skewed(["reconciler/1": 1_900, "provisioner/1": -11_000]) == [], "a retained presence is old")
        #expect(
            skewed(["reconciler/1": 41_000])
                == ["clock.skew reconciler/1: the clock of reconciler/1 is 41 s ahead of this host's"])
        #expect(
            skewed(["reconciler/1": -41_000])
                == ["clock.skew reconciler/1: the clock of reconciler/1 is 41 s behind this host's"])
        #expect(
            skewed(["reconciler/1": 3_000, "provisioner/1": 4_000])
                == ["clock.skew services: the clocks of 2 services are not this host's"])
        #expect(skewed(["somebody/1": 3_000]) == [])
    }

    @Test func aBrokerThatHoldsTooMuch() {
        func held(_ all: Int64, retained: Int64) -> [String] {
            found { $0.counters = ["store/messages/count": all, "retained messages/count": retained] }
        }
        #expect(held(60_000, retained: 55_000) == [], "the state of fifty thousand agents")
        #expect(held(60_000, retained: 10) == ["broker.backlog broker"])
    }

    @Test func theServicesAloneAreChecked() {
        let unwell = snapshot { $0.records = [record()] }
        #expect(Diagnosis(of: unwell).isHealthy == false)
        #expect(Diagnosis(ofServicesOf: unwell).isHealthy)
        func isInterrupted(_ change: (inout Snapshot) -> Void) -> Bool {
            Diagnosis(ofServicesOf: snapshot(change)).isInterrupted
        }
        #expect(!isInterrupted { _ in })
        #expect(isInterrupted(change(.controlAPI) { $0.state = .lost }))
        #expect(isInterrupted(change(.reconciler) { $0.partitions = [:] }))
        #expect(isInterrupted(change(.reconciler) { $0.suspended = "why" }))
        #expect(isInterrupted(change(.statusStore) { $0.trouble = "full" }))
        #expect(isInterrupted { $0.isAnswered = false })
        #expect(!isInterrupted(change(.reconciler) { $0.version = "0.0.0" }), "an upgrade is no outage")
    }
}
