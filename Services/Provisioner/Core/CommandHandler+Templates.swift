internal import API
internal import Model
internal import Wire

/// How far a `sync-templates` has come.
struct TemplatesProgress: Sendable {
    private let sync: TemplatesSync
    /// The templates are being read.
    var isReading = true
    /// Agents that are not settled, of those that the owner has named.
    var underWay = 0
    /// The last that it named.
    var after: String?
    private(set) var answer: SyncAnswer

    /// `nil` for another command.
    init?(_ command: Command) {
        guard case .syncTemplates(let sync, _) = command else { return nil }
        self.sync = sync
        answer = SyncAnswer(gateway: sync.gateway)
    }

    /// Who is next?
    var question: Command { .syncTemplates(sync, after: after) }

    func command(_ name: String) -> Command? {
        AgentAddress(gateway: sync.gateway, agent: name).map { .syncAgent($0, sync) }
    }

    /// - Parameter use: of the whole; a repeat of it by another provisioner has the same.
    func message(_ agent: AgentAddress, _ digest: String, of use: CommandHandler.Use) -> TemplatesMessage {
        // A wake that is to reset the session says so itself.
        TemplatesMessage(
            agent: agent, templatesDigest: digest, overwrite: sync.overwrites,
            resetSession: sync.resetsSessions && !sync.wakes, rotateToken: sync.rotatesTokens ? use.id : nil)
    }

    mutating func note(_ agent: AgentAddress, _ result: Result<CommandOutcome, Problem>) {
        switch result {
        case .success(.templatesSynced(.main, let isChanged)): answer.mainUpdated = answer.mainUpdated || isChanged
        case .success(.templatesSynced(_, isChanged: true)): answer.agentsUpdated += 1
        case .success(.templatesSynced(_, isChanged: false)): answer.agentsSkipped += 1
        // Deleted since it was named.
        case .failure(let problem) where problem.type == .unknownAgent: break
        case .failure(let problem): answer.errors.append(.init(agent: agent, message: problem.detail))
        case .success:
            answer.errors.append(.init(agent: agent, message: "the owner's answer is not one to this request"))
        }
    }
}

// Templates are read, then the owner names the agents that are meant, some at a time, then each is a request of its own: its
// owner alone knows its variables. All of them are one asker's, so that the work is paced and nobody waits for it.
extension CommandHandler {
    /// Templates were read, or there is something wrong with them.
    mutating func templatesCame(_ problem: Problem?, _ directives: inout [Directive]) {
        for (use, request) in pending
        where request.isStarted && (!request.isKeyed || request.isClaimed) && request.sync?.isReading ?? false {
            if let problem {
                finish(use, .failure(problem), minted: false, &directives)
                continue
            }
            pending[use]?.sync?.isReading = false
            if let next = pending[use] { forward(use.id, next, &directives) }
        }
    }

    /// The owner has named the next ones.
    mutating func syncMembers(_ use: Use, _ names: [String], _ directives: inout [Directive]) {
        // A repeat of what it has named.
        guard var whole = pending[use], var sync = whole.sync, sync.underWay == 0,
            names.allSatisfy({ name in sync.after.map { $0 < name } ?? true })
        else { return }
        guard let last = names.last else {
            return finish(use, .success(.members([])), minted: false, &directives)
        }
        sync.after = last
        sync.underWay = names.count
        whole.sync = sync
        whole.extend(now + CommandHandler.answerLimit)
        pending[use] = whole
        let asker = "/\(use.id)"
        for name in names {
            guard let command = sync.command(name) else { continue }
            var request = Pending(
                command: command, isCredentialsRequest: false, digest: use.digest, isKeyed: whole.isKeyed, token: nil,
                traceparent: whole.traceparent,
                waiters: [Waiter(reply: nil, asker: asker, deadline: now + CommandHandler.answerLimit)], asker: asker,
                awaited: [])
            // With the key of the whole.
            request.isClaimed = true
            request.whole = use
            do {
                try begin("\(use.id):\(name)", request, now, &directives)
            } catch {
                settleMember(request, .failure(error), &directives)
            }
        }
    }

    /// One of the agents is done; behind the last of those that were named the owner is asked for the next.
    mutating func settleMember(
        _ request: Pending, _ result: Result<CommandOutcome, Problem>, _ directives: inout [Directive]
    ) {
        guard let use = request.whole, var whole = pending[use], let agent = request.command.renderedAgent else {
            return
        }
        whole.sync?.note(agent, result)
        if case .success = result, let digest = request.rendered?.digest, let sync = whole.sync {
            directives.append(.tellTemplates(sync.message(agent, digest, of: use)))
        }
        whole.sync?.underWay -= 1
        whole.extend(now + CommandHandler.answerLimit)
        whole.forwardedAt = now
        pending[use] = whole
        if whole.sync?.underWay == 0 { forward(use.id, whole, &directives) }
    }
}

extension CommandHandler {
    /// An answer of the owner may have been lost, and nobody but us repeats what is asked for a sync.
    mutating func askAgain(_ directives: inout [Directive]) {
        guard hasRoom else { return }
        let unanswered = pending.filter { _, request in
            request.isStarted && now >= request.forwardedAt + CommandHandler.syncAsksAgainAfter
                && (request.whole != nil || request.sync.map { !$0.isReading && $0.underWay == 0 } ?? false)
        }
        for (use, request) in unanswered.sorted(by: { $0.key.id < $1.key.id }) {
            pending[use]?.forwardedAt = now
            forward(use.id, request, &directives)
        }
    }
}

extension CommandHandler.Pending {
    /// It goes on: whoever waits, waits longer.
    fileprivate mutating func extend(_ deadline: Instant) {
        for index in waiters.indices { waiters[index].deadline = deadline }
    }
}
