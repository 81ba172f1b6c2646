internal import API
internal import Lifecycle
internal import Model

// The broker and the services.
extension DoctorCheck {
    private static let everyService = ofServices.map(\.id)
    /// Messages that are under way at a busy moment are fewer.
    private static let backlogMax: Int64 = 10_000
    /// A presence that is retained may be as old as it may become.
    private static let clockAheadMax: Int64 = 2_000
    private static let clockBehindMax = Int64(Presence.expirySeconds) * 1_000 + clockAheadMax
    private static let everyAgent = (ofGateways + ofAgents).map(\.id)
    /// All that needs a broker that lets us in.
    private static let everything =
        ["broker.not_ours", "broker.backlog", "broker.dropping"] + everyService + everyAgent

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
        DoctorCheck("broker.backlog") { snapshot in
            guard let all = snapshot.counters["store/messages/count"] else { return [] }
            let waiting = all - (snapshot.counters["retained messages/count"] ?? 0)
            guard waiting > DoctorCheck.backlogMax else { return [] }
            return [
                Finding(
                    "broker.backlog", .warning, subject: "broker", "the broker holds \(waiting) messages for others",
                    cause: "somebody reads slowly, or left a session behind for which all is kept",
                    evidence: [
                        .init("\(all) messages, retained ones among them", "$SYS/broker/store/messages/count")
                    ],
                    actions: [.init("end what subscribes widely and does not read")])
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
        ["service.unanswered", "partition.unowned", "ingest.deaf", "judging.blind", "stream.behind"]
        + ofAgents.map(\.id)

    static let ofServices = ofPresences + ServiceWarning.Kind.allCases.map(warnings)

    private static let ofPresences: [DoctorCheck] = [
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
                        actions: [
                            .init("load libRollcallBrokerAccess.so in mosquitto.conf, then restart the broker")
                        ])
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
        DoctorCheck("service.unanswered", explains: ["stream.behind"] + ofAgents.map(\.id)) { snapshot in
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
                    evidence: [
                        .init("they took turns \(changes) times within five minutes", "presence.incarnation")
                    ],
                    actions: [.init("give each its own --instance and identity, or end one")])
            }
        },
        DoctorCheck("service.config_mismatch") { snapshot in
            let running = snapshot.services.filter { $0.state == .running }
            let digests = Set(
                running.map { $0.configDigest.split(separator: ":").prefix(2).joined(separator: ":") })
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
        DoctorCheck("partition.unowned", explains: ["stream.behind"]) { snapshot in
            guard let count = snapshot.services.compactMap(\.partitionCount).first else { return [] }
            let owned = Set(snapshot.owned.map(\.partition))
            let missing = (0..<count).filter { !owned.contains($0) }
            guard !missing.isEmpty else { return [] }
            return [
                Finding(
                    "partition.unowned", subject: "reconciler",
                    "\(missing.count) of \(count) partitions have no owner",
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
                    subject: "heartbeat-ingest/\($0.instance)",
                    "heartbeat-ingest/\($0.instance) takes no heartbeats",
                    cause:
                        "it waits after unclean ends, an owner is missing, or the broker refused its subscription",
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
        DoctorCheck("clock.skew") { snapshot in
            let wrong = snapshot.services.compactMap { presence -> (name: String, ahead: Int64)? in
                guard presence.state == .running, let ahead = snapshot.clocks[presence.name],
                    ahead > clockAheadMax || ahead < -clockBehindMax
                else { return nil }
                return (presence.name, ahead)
            }
            guard let first = wrong.first else { return [] }
            return [
                Finding(
                    "clock.skew", .warning, subject: wrong.count == 1 ? first.name : "services",
                    wrong.count == 1
                        ? "the clock of \(first.name) is \(offset(first.ahead)) this host's"
                        : "the clocks of \(wrong.count) services are not this host's",
                    cause: "one of the hosts does not keep its time: records and events mix the times of both",
                    evidence: wrong.prefix(3).map { .init("\($0.name) is \(offset($0.ahead))", "presence.time") },
                    actions: [.init("let all hosts follow one time server", "timedatectl")])
            ]
        },
        DoctorCheck("store.dead_letters") { snapshot in
            snapshot.running(.statusStore).compactMap { presence in
                guard let kept = presence.deadLetters?.kept, kept > 0 else { return nil }
                return Finding(
                    "store.dead_letters", .warning, subject: "status-store",
                    "\(kept) changes could never be committed",
                    cause: "the database refused them for good: a defect",
                    evidence: [.init("\(kept) are kept", "presence.dead_letters")],
                    actions: [.init("read and report them", "rollcall status --dead-letters")])
            }
        },
    ]

    private static func offset(_ ahead: Int64) -> String {
        "\(abs(ahead) / 1_000) s \(ahead < 0 ? "behind" : "ahead of")"
    }

    private static func warnings(_ kind: ServiceWarning.Kind) -> DoctorCheck {
        DoctorCheck(kind.rawValue) { snapshot in
            snapshot.services.filter { $0.state == .running }.flatMap { presence in
                (presence.warnings ?? []).filter { $0.kind == kind }.map { warning in
                    let (cause, todo) = told(kind)
                    return Finding(
                        kind.rawValue, .warning, subject: presence.name, "\(presence.name) warns: \(warning.detail)",
                        cause: cause, evidence: [.init(warning.detail, "presence.warnings")], actions: [todo])
                }
            }
        }
    }

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
        case .streamBehind:
            (
                "who receives it is short of processor time, or its disk or network is slow",
                .init("compare the load of the hosts", "rollcall status")
            )
        case .outboxOld:
            (
                "the broker takes it slowly, or not: what is committed is not seen yet",
                .init("look at the broker's load and log")
            )
        case .budgetExceeded:
            (
                "they send or ask more than the limits allow: a loop without a pause, mostly",
                .init("slow them down; agents are told apart by", "rollcall agents")
            )
        case .historyFull:
            (
                "the oldest events go before their days are over, and what-if sees less of the past",
                .init("give the status store more by --history-mib, or keep fewer days by --history-days")
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
}
