internal import API
internal import Lifecycle
internal import Model

// The broker, the services and the gateways.
extension DoctorCheck {
    private static let everyService = ofServices.map(\.id)
    private static let everyAgent = (ofGateways + ofAgents).map(\.id)
    /// All that needs a broker that lets us in.
    private static let everything = ["broker.not_ours", "broker.dropping"] + everyService + everyAgent

    static let ofBroker: [DoctorCheck] = [
        DoctorCheck("broker.unreachable", explains: ["broker.refused"] + everything) { snapshot in
            guard case .unreachable(let reason) = snapshot.broker else { return [] }
            return [
                Finding(
                    "broker.unreachable", subject: "broker", "the broker cannot be reached",
                    cause: "it does not run, or the address or the network is wrong",
                    evidence: [.init(reason, "connection")],
                    actions: [
                        .init("start it, or give its address", "rollcall up"),
                        .init("see where this shell looks", "printenv ROLLCALL_BROKER"),
                    ])
            ]
        },
        DoctorCheck("broker.refused", explains: everything) { snapshot in
            guard case .refused(let reason) = snapshot.broker else { return [] }
            return [
                Finding(
                    "broker.refused", subject: "broker", "the broker does not let this operator in",
                    cause: "the name or the password is not one that the broker knows",
                    evidence: [.init(reason, "connection")],
                    actions: [.init("become the operator of a system here", ". .rollcall/operator.env")])
            ]
        },
        DoctorCheck("broker.not_ours", explains: Array(everything.dropFirst())) { snapshot in
            guard snapshot.services.isEmpty else { return [] }
            return [
                Finding(
                    "broker.not_ours", subject: "broker", "no service announces itself here",
                    cause: "it is another broker, another --topic-root, or nothing runs",
                    actions: [.init("compare the topic root", "rollcall status --topic-root ROOT")])
            ]
        },
        DoctorCheck("broker.dropping", unmadeWithoutObservation: "it needs two readings: --observe 12s") { snapshot in
            let key = "publish/messages/dropped"
            guard let now = snapshot.counters[key], let before = snapshot.countersBefore[key], now > before else {
                return []
            }
            return [
                Finding(
                    "broker.dropping", .warning, subject: "broker", "the broker drops messages",
                    cause: "somebody reads more slowly than others send",
                    evidence: [
                        .init("\(now - before) more were dropped while this was looked at", "$SYS/broker/\(key)")
                    ],
                    actions: [.init("end what subscribes widely and does not read")])
            ]
        },
    ]

    /// What a store that serves nobody brings with it.
    private static let ofStore =
        ["service.unanswered", "partition.unowned", "ingest.deaf", "judging.blind"] + ofAgents.map(\.id)

    static let ofServices: [DoctorCheck] = [
        DoctorCheck("service.missing") { snapshot in
            let running = Set(snapshot.services.filter { $0.state == .running }.map(\.service))
            let missing = ServiceName.allCases.filter { $0 != .controlAPI && !running.contains($0.rawValue) }
            // An instance that is missed: others do its work, or nobody needs it to look after agents.
            let lost = snapshot.services.filter { presence in
                presence.state == .lost && !missing.contains { $0.rawValue == presence.service }
            }
            return missing.map { DoctorCheck.missing($0, snapshot) }
                + lost.map {
                    Finding(
                        "service.missing", .warning, subject: $0.name,
                        "\($0.name) is not there",
                        cause: "its connection ended without a goodbye: it was killed, or cut off",
                        evidence: [.init("its last word was 'lost'", "presence", at: $0.startedAt)],
                        actions: [.init("start it; who is wanted no more is ended by SIGTERM, and says goodbye")])
                }
        },
        DoctorCheck("store.unserved", explains: ofStore) { snapshot in
            snapshot.running(.statusStore).compactMap { presence in
                presence.unserved.map {
                    Finding(
                        "store.unserved", subject: "status-store", "the status store serves nobody: \($0)",
                        cause: "the broker runs without Rollcall's access plugin: its rights would not hold",
                        evidence: [.init($0, "presence.unserved")],
                        actions: [.init("load libRollcallBrokerAccess.so in mosquitto.conf, then restart the broker")])
                }
            }
        },
        DoctorCheck("store.trouble", explains: ofStore) { snapshot in
            snapshot.running(.statusStore).compactMap { presence in
                presence.trouble.map {
                    Finding(
                        "store.trouble", subject: "status-store", "the status store can commit nothing: \($0)",
                        cause: "the disk is full or read-only, or another program holds the database",
                        evidence: [.init($0, "presence.trouble")],
                        actions: [.init("free space or end who holds the file; it goes on by itself", "df -h")])
                }
            }
        },
        DoctorCheck("service.unanswered", explains: ofAgents.map(\.id)) { snapshot in
            guard snapshot.isAnswered == false else { return [] }
            return [
                Finding(
                    "service.unanswered", subject: "status-store", "the services run and do not answer",
                    cause: "the store is stopped, overloaded or cut off",
                    evidence: [.init("a lookup was not answered in time", "commands/summary")],
                    actions: [.init("look at its log for service.stalled and store.commit_failed")])
            ]
        },
        DoctorCheck("service.restarting") { snapshot in
            snapshot.incarnations.restarting.map { name, changes in
                Finding(
                    "service.restarting", subject: name, "\(name) was started anew \(changes) times of late",
                    cause: "it ends soon after each start, and somebody starts it again",
                    evidence: [.init("\(changes + 1) processes within five minutes", "presence.incarnation")],
                    actions: [.init("look at its last lines before it ended: service.failed, or a signal")])
            }
        },
        DoctorCheck("service.duplicate_instance") { snapshot in
            snapshot.incarnations.doubled.map { name, changes in
                Finding(
                    "service.duplicate_instance", subject: name, "two processes run as \(name)",
                    cause: "they take the connection from each other",
                    evidence: [.init("they took turns \(changes) times within five minutes", "presence.incarnation")],
                    actions: [.init("give each its own --instance and identity, or end one")])
            }
        },
        DoctorCheck("service.config_mismatch") { snapshot in
            let running = snapshot.services.filter { $0.state == .running }
            let digests = Set(running.map { $0.configDigest.split(separator: ":").prefix(2).joined(separator: ":") })
            let versions = Set(running.map(\.version))
            guard digests.count > 1 || versions.count > 1 else { return [] }
            return [
                Finding(
                    "service.config_mismatch", versions.count > 1 ? .warning : .error, subject: "services",
                    "the services are not set alike",
                    cause: digests.count > 1 ? "topic root or contract version differ" : "their versions differ",
                    evidence: running.map {
                        .init("\($0.name): \($0.configDigest), version \($0.version)", "presence")
                    }, actions: [.init("give all the same --topic-root and one version")])
            ]
        },
        DoctorCheck("partition.unowned") { snapshot in
            guard let count = snapshot.services.compactMap(\.partitionCount).first else { return [] }
            let owned = Set(snapshot.owned.map(\.partition))
            let missing = (0..<count).filter { !owned.contains($0) }
            guard !missing.isEmpty else { return [] }
            return [
                Finding(
                    "partition.unowned", subject: "reconciler", "\(missing.count) of \(count) partitions have no owner",
                    cause: "their reconciler ended, and the store has not granted them anew yet; or it cannot",
                    evidence: [
                        .init("without owner: \(missing.map(String.init).joined(separator: ", "))", "presence")
                    ], actions: [.init("look again in ten seconds; then start a reconciler", "rollcall doctor")])
            ]
        },
        DoctorCheck("partition.owned_twice") { snapshot in
            let twice = Dictionary(grouping: snapshot.owned, by: \.partition).filter { $0.value.count > 1 }
            guard !twice.isEmpty else { return [] }
            return [
                Finding(
                    "partition.owned_twice", .warning, subject: "reconciler",
                    "\(twice.count) partitions are claimed by two reconcilers",
                    cause:
                        "one of them has not heard of the other yet: the higher epoch counts, the store refuses the other",
                    evidence: twice.sorted { $0.key < $1.key }.map {
                        .init("partition \($0.key): \($0.value.map(\.owner).joined(separator: ", "))", "presence")
                    }, actions: [.init("look again in ten seconds", "rollcall doctor")])
            ]
        },
        DoctorCheck("ingest.deaf", explains: ["judging.blind"]) { snapshot in
            let ingests = snapshot.running(.heartbeatIngest)
            let unsubscribed = ingests.filter { $0.heartbeatSession == nil }
            guard !unsubscribed.isEmpty else { return [] }
            return unsubscribed.map {
                Finding(
                    "ingest.deaf", unsubscribed.count == ingests.count ? .error : .warning,
                    subject: "heartbeat-ingest/\($0.instance)", "heartbeat-ingest/\($0.instance) takes no heartbeats",
                    cause: "it waits after unclean ends, an owner is missing, or the broker refused its subscription",
                    evidence: [.init("it has no subscription to heartbeats", "presence.heartbeat_session")],
                    actions: [.init("look for heartbeat.subscription_delayed and heartbeat.line_ended in its log")])
            }
        },
        DoctorCheck("judging.blind") { snapshot in
            snapshot.running(.reconciler).compactMap { presence in
                presence.suspended.map {
                    Finding(
                        "judging.blind", subject: "reconciler/\(presence.instance)",
                        "reconciler/\(presence.instance) judges nobody: \($0)",
                        cause: "check-ins cannot arrive or be counted; nobody turns offline meanwhile",
                        evidence: [.init($0, "presence.blind", at: presence.suspendedSince)],
                        actions: [.init("mend what the reason names; it goes on by itself")])
                }
            }
        },
        DoctorCheck("service.warning") { snapshot in
            snapshot.services.filter { $0.state == .running }.flatMap { presence in
                (presence.warnings ?? []).map { warning in
                    let (cause, todo) = DoctorCheck.told(warning.kind)
                    return Finding(
                        warning.kind.rawValue, .warning, subject: presence.name,
                        "\(presence.name) warns: \(warning.detail)", cause: cause,
                        evidence: [.init(warning.detail, "presence.warnings")], actions: [todo])
                }
            }
        },
        DoctorCheck("store.dead_letters") { snapshot in
            snapshot.running(.statusStore).compactMap { presence in
                guard let kept = presence.deadLetters?.kept, kept > 0 else { return nil }
                return Finding(
                    "store.dead_letters", .warning, subject: "status-store", "\(kept) changes could never be committed",
                    cause: "the database refused them for good: a defect",
                    evidence: [.init("\(kept) are kept", "presence.dead_letters")],
                    actions: [.init("read and report them", "rollcall status --dead-letters")])
            }
        },
    ]

    private static func told(_ warning: ServiceWarning.Kind) -> (cause: String, todo: Finding.Action) {
        switch warning {
        case .alertUndelivered:
            (
                "a receiver of alerts does not answer 2xx: it is down, or its address or secret is wrong",
                .init("see what it answers", "rollcall alerts test SINK --alerts FILE")
            )
        case .tokensUnreadable:
            ("the file was edited by hand, or damaged", .init("mend the lines", "rollcall token list"))
        case .certificateExpiring:
            ("browsers and agents refuse a certificate that has ended", .init("renew it, and start control-api anew"))
        case .templatesUnreadable:
            (
                "agents are woken with the templates of before",
                .init("mend the directory, then", "rollcall sync-templates GATEWAY")
            )
        }
    }

    private static func missing(_ service: ServiceName, _ snapshot: Snapshot) -> Finding {
        let last = snapshot.services.first { $0.service == service.rawValue }
        let (effect, explains) =
            switch service {
            case .statusStore: ("nothing can be committed or looked up", ofStore)
            case .reconciler: ("nobody is woken or judged", ["partition.unowned", "ingest.deaf"])
            case .heartbeatIngest: ("no heartbeat is taken, and nobody is judged", ["judging.blind"])
            case .provisioner: ("no command is answered, and no wake is sent", ["service.unanswered"])
            case .controlAPI: ("nothing is served over HTTP", [])
            }
        var finding = Finding(
            "service.missing", subject: service.rawValue, "\(service.rawValue) does not run: \(effect)",
            cause: last.map { "its last word was '\($0.state.rawValue)'" } ?? "it is silent, or was never started here",
            evidence: [.init("no instance of it is running", "presence", at: last?.startedAt)],
            actions: [.init("start it and look at its last lines", "rollcall-\(service.rawValue) --broker …")])
        finding.explains = explains + ofAgents.map(\.id)
        return finding
    }

    static let ofGateways: [DoctorCheck] = [
        DoctorCheck("gateway.lost") { gateways($0, .lost, "its connection ended without a goodbye (Last Will)") },
        DoctorCheck("gateway.stopped") { gateways($0, .stopped, "it was stopped on purpose") },
        DoctorCheck("gateway.never") { gateways($0, .never, "it was added and has never connected") },
    ]

    private static func gateways(
        _ snapshot: Snapshot, _ state: GatewayState.Connection, _ cause: String
    ) -> [Finding] {
        snapshot.gateways.filter {
            $0.state == state && $0.agents > 0 && (snapshot.subject.map(\.gateway) ?? $0.name) == $0.name
                && (state == .lost || snapshot.needsGateway($0.name))
        }.map { gateway in
            let down = snapshot.dependents(of: gateway.name).count
            let effect =
                if down == 0 {
                    "nobody is down yet"
                } else if let subject = snapshot.subject {
                    "\(subject) with it"
                } else {
                    gateway.agents == 1 ? "its agent with it" : "\(down) of its \(gateway.agents) agents with it"
                }
            return Finding(
                "gateway.\(state.rawValue)", down == 0 ? .warning : .error, subject: gateway.name,
                "gateway \(gateway.name) is \(state == .never ? "not there" : state.rawValue), and \(effect)",
                cause: cause, evidence: [.init("state \(state.rawValue)", "gateways/\(gateway.name)/status")],
                actions: [
                    .init(
                        "start it; its agents are then woken by themselves",
                        "rollcall gateway \(gateway.name) --on-wake CMD")
                ])
        }
    }
}

extension Snapshot {
    func running(_ service: ServiceName) -> [Presence] {
        services.filter { $0.service == service.rawValue && $0.state == .running }
    }

    var owned: [(partition: Int, owner: String)] {
        running(.reconciler).flatMap { presence in
            (presence.partitions ?? [:]).compactMap { number, epoch in
                Int(number).map { ($0, "reconciler/\(presence.instance) under \(epoch)") }
            }
        }
    }

    func state(of gateway: String) -> GatewayState.Connection? { gateways.first { $0.name == gateway }?.state }

    /// Whether some of its agents are not well for want of it.
    func needsGateway(_ name: String) -> Bool { !dependents(of: name).isEmpty }

    /// Its agents that are not there and wanted; of a gateway that never was there those that it alone could have started:
    /// agents that connect by themselves need none.
    func dependents(of name: String) -> [AgentRecord] {
        let state = state(of: name)
        return records.filter { record in
            guard record.address.gateway == name, record.status != .online, !record.isPaused, record.isWanted else {
                return false
            }
            return state != .never || Cause(of: record)?.isOfHost(record, state) ?? false
        }
    }

    /// Why the newest wake of the agent that is asked about could not be sent.
    var failure: String? { events.lazy.compactMap(\.error).first }
}
