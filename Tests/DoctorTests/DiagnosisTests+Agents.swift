import API
import Lifecycle
import Model
import Testing

@testable import Doctor

// Gateways and agents.
extension DiagnosisTests {
    @Test(arguments: [GatewayState.Connection.lost, .stopped, .never])
    func aGatewayExplainsItsAgents(state: GatewayState.Connection) {
        let gateway = Snapshot.Gateway(name: "g", state: state, agents: 2)
        func told(_ subject: String? = nil, _ records: AgentRecord...) -> [String] {
            diagnosis(subject: subject) {
                $0.gateways = [gateway]
                $0.records = records
            }.findings.map { "\($0.severity) \($0.id) \($0.subject)" }
        }
        let (unheard, here) = (record { $0.wakeDelivery = .noSubscriber }, record { $0.status = .online })
        #expect(
            told(nil, unheard, record("g/b") { $0.wakeDelivery = .noSubscriber }) == [
                "error gateway.\(state.rawValue) g"
            ])
        #expect(told("g/a", unheard) == ["error gateway.\(state.rawValue) g"])
        // One that is lost is missed by all; agents that connect by themselves need none.
        let lost = state == .lost ? ["warning gateway.lost g"] : []
        #expect(told() == lost)
        #expect(told("g/a", here) == lost)
    }

    @Test func anAgentWithItsOwnRuntimeSpeaksForItself() {
        let cases: [(String, (inout AgentRecord) -> Void)] = [
            (
                "heartbeat.rejected",
                { $0.lastRejection = Rejection(reason: .badToken, detail: nil, at: Self.seconds(101), count: 3) }
            ),
            (
                "agent.crashed",
                {
                    $0.lastExitStatus = 3
                    $0.lastProvisionError = "max wake attempts reached: it exited with status 3"
                }
            ), ("agent.lapsed", { $0.offlineReason = .lapsed }), ("agent.silent", { _ in }),
        ]
        for (id, change) in cases {
            #expect(
                found {
                    $0.gateways = [Snapshot.Gateway(name: "g", state: .never, agents: 1)]
                    $0.records = [record("g/a", change)]
                } == ["\(id) g/a"])
        }
    }

    @Test func aGatewayCountsWhoIsDown() {
        let lost = diagnosis {
            $0.gateways = [Snapshot.Gateway(name: "g", state: .lost, agents: 3)]
            $0.records = [record()]
        }
        #expect(lost.findings.map(\.summary) == ["gateway g is lost, and 1 of its 3 agents with it"])
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
            (
                "agent.crashed",
                {
                    $0.lastExitStatus = 3
                    $0.lastProvisionError = "max wake attempts reached: it exited with status 3"
                }
            ),
            (
                "agent.crashed",
                {
                    $0.lastExitStatus = 3
                    $0.status = .updating
                    $0.provisionAction = .recover
                    $0.reportedStatus = .stopping
                }
            ),
            (
                "heartbeat.old_generation",
                {
                    $0.lastProvisionError = "max wake attempts reached: it still runs generation 1"
                    $0.generationReported = 1
                }
            ),
            (
                "heartbeat.old_generation",
                {
                    $0.status = .updating
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
                    $0.generationReported = 1
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
        let later = record {
            ($0.lastExitStatus, $0.generationReported, $0.lastSeenAt) = (7, 1, Self.seconds(101))
        }
        #expect(found { $0.records = [later] } == ["agent.silent g/a"])
        let goodbye = record { ($0.lastExitStatus, $0.reportedStatus, $0.offlineReason) = (7, .stopping, .goodbye) }
        #expect(found(subject: "g/a") { $0.records = [goodbye] } == ["agent.goodbye g/a"])
    }

    @Test func whoIsThereMayBeUnwell() {
        let rejection = Rejection(reason: .rateLimited, detail: nil, at: Self.seconds(110), count: 3)
        let cases: [(String?, (inout AgentRecord) -> Void)] = [
            ("heartbeat.rejected", { ($0.lastRejection, $0.lastSeenAt) = (rejection, Self.seconds(109)) }),
            (nil, { ($0.lastRejection, $0.lastSeenAt) = (rejection, Self.seconds(111)) }),
            ("agent.crashed", { ($0.lastExitStatus, $0.recoveries) = (3, 3) }),
            (nil, { ($0.lastExitStatus, $0.recoveries) = (3, 2) }),
            ("heartbeat.old_generation", { $0.generationReported = 1 }),
            // What lived through a recovery goes on as it was.
            (nil, { ($0.generationReported, $0.provisionAction) = (1, .recover) }),
        ]
        for (id, change) in cases {
            let there = record {
                ($0.status, $0.offlineReason) = (.online, nil)
                change(&$0)
            }
            #expect(found { $0.records = [there] } == (id.map { ["\($0) g/a"] } ?? []))
        }
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
        func rejected(_ name: String, _ reason: RejectionReason) -> AgentRecord {
            record(name) { $0.lastRejection = Rejection(reason: reason, detail: nil, at: Self.seconds(101), count: 2) }
        }
        let told = diagnosis {
            $0.records = [rejected("g/a", .badToken), rejected("g/b", .malformed), rejected("g/c", .badToken)]
        }
        #expect(
            told.findings.map(\.summary) == [
                "2 agents are offline (g/a, g/c): their heartbeats arrive and are rejected, bad_token ×4",
                "g/b is offline: its heartbeats arrive and are rejected, malformed ×2",
            ])
    }

    @Test func aPauseIsEndedWhereItWasMade() {
        let paused = diagnosis(subject: "g/a") { snapshot in
            snapshot.records = [
                record {
                    $0.board = "b"
                    $0.pausedBy = [.gateway, .board]
                }
            ]
        }
        #expect(
            paused.findings.first?.actions.map(\.command) == [
                "rollcall resume --gateway g", "rollcall resume --board b",
            ])
    }

    @Test func aWakeThatFailedSaysWhy() {
        let failed = diagnosis(subject: "g/a") { snapshot in
            snapshot.records = [
                record {
                    $0.wakeDelivery = nil
                    $0.lastProvisionError = "max wake attempts reached: templates are stale"
                }
            ]
            snapshot.events = [
                Snapshot.Event(event: "offline", at: Self.seconds(3)),
                Snapshot.Event(event: "provision_failed", at: Self.seconds(2), error: "unknown variable 'x'"),
            ]
        }
        #expect(
            failed.findings.map(\.summary) == ["g/a is offline: its wake could not be sent: unknown variable 'x'"])
    }

    @Test func aTightPolicy() {
        let tight = record { record in
            record.status = .online
            record.policy.offlineAfter = DurationText(90, .seconds)
        }
        #expect(found { $0.records = [tight] } == ["policy.tight g/a"])
    }
}
