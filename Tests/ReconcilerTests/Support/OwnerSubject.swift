import API
import Lifecycle
import Model
import Testing
import Wire

@testable import ReconcilerCore

/// The owner of a partition with its clocks. Every input answers with a transcript: a line a directive, logs left out.
struct OwnerSubject {
    var owner: PartitionOwner
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var wallTime = Timestamp("2026-01-31T09:00:00.000Z")!
    var orders: [WakeOrder] = []
    /// The newest committed state of each agent, and what else a snapshot has.
    var states: [AgentAddress: AgentState] = [:]
    var gateways: [String: GatewayState] = [:]
    var tombstones: [AgentAddress: Tombstone] = [:]
    var boardPauses: [String: BoardPause] = [:]
    var remembered: [RememberedRequest] = []
    var logs: [LifecycleLog] = []
    private var requestCount = 0
    private var epoch = 1

    /// - Parameter isObservable: whether heartbeats are seen from the start.
    init(_ settings: [PolicySetting: String] = [:], isObservable: Bool = true) {
        owner = PartitionOwner(
            partition: 0, epoch: 1, instance: "r1",
            systemPolicy: Policy().overridden(by: OwnerSubject.overrides(settings)))
        if isObservable { _ = handle(.observabilityRestored) }
    }

    static func overrides(_ settings: [PolicySetting: String]) -> PolicyOverrides {
        do {
            return try PolicyPatch(settings.mapValues { $0 }).applied(to: PolicyOverrides())
        } catch {
            preconditionFailure("a test's policy is wrong: \(error)")
        }
    }

    static func patch(_ settings: [PolicySetting: String?]) -> PolicyPatch { PolicyPatch(settings) }

    func record(_ agent: String) -> AgentRecord? {
        AgentAddress(agent).flatMap { owner.index(of: $0) }.map { owner.record($0) }
    }

    // MARK: Inputs

    /// Handles an input and then, in as many slices as it takes, whatever there is to be done; with `slices` at most so
    /// many.
    mutating func handle(_ event: PartitionEvent, slices: Int = .max) -> [String] {
        var directives: [PartitionDirective] = []
        owner.handle(event, now: now, wallTime: wallTime, into: &directives)
        var left = slices
        while left > 0, let due = owner.nextWork, due <= now {
            owner.handle(.roomCame, now: now, wallTime: wallTime, into: &directives)
            left -= 1
        }
        logs = []
        var lines: [String] = []
        for directive in directives {
            switch directive {
            case .commit(let entry):
                keep(entry)
                lines += OwnerSubject.lines(entry)
                let read = try? WireFormat.decode(StoreEntry.self, from: WireFormat.bytes(entry))
                #expect(read.map(OwnerSubject.lines) == OwnerSubject.lines(entry), "the store reads it in this order")
            case .log(let log, _, _): logs.append(log)
            case .logMissing(let agent): lines.append("missing \(agent)")
            case .answer(let answer):
                let outcome = answer.rejected.map { "\($0.rawValue) \(answer.detail ?? "-")" } ?? "taken"
                lines.append("answer \(answer.asker.name) \(answer.asker.number): \(outcome)")
            }
        }
        return lines
    }

    mutating func pass(_ milliseconds: Int64) -> [String] {
        now = now + TimeSpan(milliseconds: milliseconds)
        wallTime = wallTime + TimeSpan(milliseconds: milliseconds)
        return handle(.timePassed) + handle(.barrierPassed(asOf: now))
    }

    /// A request; the id is new unless one is given.
    mutating func ask(
        _ command: Command, id: String? = nil, digest: String? = nil, token: String? = "token", keyed: Bool = true,
        slices: Int = .max
    ) -> [String] {
        requestCount += 1
        return handle(
            .requestReceived(
                PartitionRequest(
                    id: id ?? "q\(requestCount)", digest: digest ?? JSON.text(command), isKeyed: keyed,
                    command: command,
                    minted: token.map { MintedToken(digest: $0, id: "id-of-\($0)") },
                    rendered: OwnerSubject.rendered(command, self), traceparent: nil, provisioner: "p1")),
            slices: slices)
    }

    /// What a provisioner would have rendered after the owner's question.
    private static func rendered(_ command: Command, _ subject: OwnerSubject) -> RenderedTemplates? {
        switch command {
        case .provision(let change), .update(let change):
            let record = subject.record(change.agent.description)
            guard let role = change.role ?? record?.role else { return nil }
            var variables = record?.variables ?? [:]
            for (name, value) in change.variables { variables[name] = value }
            let board = role.needsBoard ? change.board ?? record?.board : change.board
            return RenderedTemplates(
                inputs: RenderInputs(role: role, board: board, variables: variables), digest: "templates")
        default: return nil
        }
    }

    mutating func addGateway(_ gateway: String = "gw", _ policy: [PolicySetting: String?] = [:]) -> [String] {
        ask(.addGateway(gateway, policy: PolicyPatch(policy)), token: "secret-of-\(gateway)")
    }

    mutating func provision(
        _ agent: String, role: Role? = .worker, board: String? = "b1", policy: [PolicySetting: String?] = [:],
        wake: Bool = true, id: String? = nil, token: String? = "token"
    ) -> [String] {
        ask(.provision(OwnerSubject.change(agent, role, board, policy, [:], wake)), id: id, token: token)
    }

    mutating func update(
        _ agent: String, role: Role? = nil, board: String? = nil, policy: [PolicySetting: String?] = [:],
        variables: [String: String?] = [:], wake: Bool = true
    ) -> [String] {
        ask(.update(OwnerSubject.change(agent, role, board, policy, variables, wake)))
    }

    static func change(
        _ agent: String, _ role: Role?, _ board: String?, _ policy: [PolicySetting: String?],
        _ variables: [String: String?], _ wake: Bool
    ) -> ProvisionRequest {
        ProvisionRequest(
            agent: AgentAddress(agent)!, role: role, board: board, policy: PolicyPatch(policy), variables: variables,
            wake: wake)
    }

    /// The newest order of an agent was published just now.
    mutating func woken(_ agent: String, frameAge: Int64 = 0) -> [String] {
        guard let order = orders.last(where: { $0.agent.description == agent }) else { return ["no order"] }
        let report = WakeReport(
            order,
            outcome: .woken(
                sentAt: wallTime, deadlineAt: wallTime + order.checkinDeadline.span, delivery: .accepted), age: 0)
        return handle(.reportReceived(report, frameAge: TimeSpan(milliseconds: frameAge)))
    }

    /// Plain heartbeats of agents of one gateway.
    mutating func beat(
        _ gateway: String, _ names: [String], age: Int64 = 0, frameAge: Int64 = 0, slices: Int = .max
    ) -> [String] {
        let segment = HeartbeatBatch.Segment(
            at: wallTime.millisecondsSince1970 - age - frameAge, age: age, gateway: gateway, names: NameRun(names),
            detail: nil
        )
        return handle(
            .batchReceived(HeartbeatBatch(segments: [segment]), frameAge: TimeSpan(milliseconds: frameAge)),
            slices: slices)
    }

    mutating func beat(_ detail: HeartbeatDetail, age: Int64 = 0) -> [String] {
        let segment = HeartbeatBatch.Segment(
            at: wallTime.millisecondsSince1970 - age, age: age, gateway: nil, names: NameRun(), detail: detail)
        return handle(.batchReceived(HeartbeatBatch(segments: [segment]), frameAge: .zero))
    }

    /// A gateway with agents that are online.
    static func online(_ names: [String], _ settings: [PolicySetting: String] = [:]) -> OwnerSubject {
        var subject = OwnerSubject(settings)
        _ = subject.addGateway()
        for name in names {
            _ = subject.provision("gw/\(name)", token: "token-of-\(name)")
            _ = subject.pass(1_000)
            _ = subject.woken("gw/\(name)")
        }
        _ = subject.beat("gw", names)
        return subject
    }

    // MARK: Another owner

    /// Another owner takes over with what was committed.
    mutating func replaceOwner(_ settings: [PolicySetting: String] = [:]) -> [String] {
        epoch += 1
        owner = PartitionOwner(
            partition: 0, epoch: epoch, instance: "r2",
            systemPolicy: Policy().overridden(by: OwnerSubject.overrides(settings)))
        var chunk = GrantChunk(partition: 0, epoch: epoch, incarnation: "i", index: 0, isLast: true)
        chunk.gateways = gateways.values.sorted { $0.gateway < $1.gateway }
        chunk.agents = states.values.sorted { $0.record.address < $1.record.address }
        chunk.tombstones = Array(tombstones.values)
        chunk.boardPauses = Array(boardPauses.values)
        chunk.requests = remembered
        return handle(.granted(chunk))
    }

    private mutating func keep(_ entry: StoreEntry) {
        for change in entry.changes { keep(change) }
    }

    private mutating func keep(_ change: StoreChange) {
        switch change {
        case .agent(let state, _): if let state = state.value { states[state.record.address] = state }
        case .removal(_, _, let tombstone):
            tombstones[tombstone.agent] = tombstone
            states[tombstone.agent] = nil
        case .order(let order): if let order = order.value { orders.append(order) }
        case .gateway(let gateway): gateways[gateway.gateway] = gateway
        case .removedGateway(let gateway): gateways[gateway] = nil
        case .boardPause(let pause): boardPauses[pause.board] = pause
        case .resumedBoard(let board): boardPauses[board] = nil
        case .answer(let answer): keep(answer)
        case .event, .lastSeen, .seen, .settledOrder, .gatewayEvent, .credential, .intent: break
        }
    }

    private mutating func keep(_ answer: AnswerEntry) {
        guard answer.isFinal, answer.outcome != nil else { return }
        var mintedFor: String?
        if case .record(let record, true) = answer.outcome { mintedFor = record.address.description }
        if case .gateway(let gateway, true) = answer.outcome { mintedFor = gateway }
        remembered.append(
            RememberedRequest(
                id: answer.requestID, digest: answer.requestDigest,
                until: wallTime + .seconds(answer.isKeyed ? 86_400 : 600),
                mintedFor: mintedFor))
    }

    // MARK: Transcript

    static func lines(_ entry: StoreEntry) -> [String] { entry.changes.flatMap(lines) }

    private static func lines(_ change: StoreChange) -> [String] {
        switch change {
        case .agent(_, let event): event.map { [line($0)] } ?? []
        case .event(let event): [line(event)]
        case .removal(_, let event, let tombstone):
            [line(event), "\(tombstone.agent) tombstone \(tombstone.generation) r\(tombstone.revision)"]
        case .order(let order):
            order.value.map { ["\($0.agent) order \($0.generation).\($0.attempt)#\($0.publication)"] } ?? []
        case .settledOrder(let agent): ["\(agent) settle"]
        case .credential(let credential): ["\(credential.username) credential \(text(credential.change))"]
        case .gatewayEvent(let event):
            ["\(event.message.gateway) \(event.message.event.rawValue) \(event.message.agents)"]
        case .gateway(let gateway): ["\(gateway.gateway) is \(gateway.connection.rawValue)"]
        case .removedGateway(let gateway): ["\(gateway) is removed"]
        case .boardPause(let pause): ["board \(pause.board) is paused"]
        case .resumedBoard(let board): ["board \(board) is resumed"]
        case .seen(let seen): ["seen " + seen.agents.joined(separator: " ")]
        case .lastSeen(let updates):
            ["rejected " + updates.map { "\($0.agent) ×\($0.lastRejection?.count ?? 0)" }.joined(separator: " ")]
        case .answer(let answer): ["\(answer.requestID): \(text(answer))"]
        case .intent: []
        }
    }

    private static func line(_ event: AgentEventEntry) -> String {
        "\(event.agent) \(event.event.rawValue)" + (event.reason.map { " (\($0))" } ?? "")
    }

    private static func text(_ change: CredentialChange.Change) -> String {
        switch change {
        case .set(let digest): digest
        case .overlap(let digest, let seconds): "\(digest) beside the old one for \(seconds)"
        case .remove: "removed"
        }
    }

    private static func text(_ answer: AnswerEntry) -> String {
        guard let outcome = answer.outcome else { return "as before" + (answer.mintedToken != nil ? ", minted" : "") }
        return switch outcome {
        case .record(let record, let minted): "\(record.status.rawValue)" + (minted ? ", minted" : "")
        case .paused(let count): "paused \(count)"
        case .gateway(let gateway, let minted): gateway + (minted ? ", minted" : "")
        case .gatewayRemoved(let gateway, let agents): "\(gateway) removed with \(agents)"
        case .members(let names): "members " + names.joined(separator: " ")
        case .templatesSynced(let role, let isChanged): "\(role.rawValue) synced" + (isChanged ? "" : ", as before")
        case .refused(let problem): "\(problem.type.rawValue) \(problem.errors.map(\.member).joined(separator: " "))"
        case .render(let inputs): "render \(inputs.role.rawValue) \(inputs.board ?? "-") \(inputs.variables.count)"
        }
    }
}

extension GatewayStatusMessage {
    static let connected = GatewayStatusMessage(state: .connected)
    static let lost = GatewayStatusMessage(state: .lost)
    static let stopped = GatewayStatusMessage(state: .stopped)
}
