internal import API
internal import Model
internal import Wire

extension CommandHandler.Pending {
    /// The answer that an outcome becomes for who asked for this.
    func reply(to address: ReplyAddress, _ outcome: CommandOutcome, minted: Bool) -> Reply {
        let text = minted ? token?.text : nil
        switch outcome {
        case .record(let record, _):
            if isCredentialsRequest { return credentials(to: address, record, text) }
            return command.mayMintFor != nil
                ? Reply(address, RecordTokenAnswer(record: record, token: text))
                : Reply(address, RecordAnswer(record: record))
        case .paused(let count): return Reply(address, PausedAnswer(paused: count))
        case .gateway(let gateway, _): return Reply(address, GatewayTokenAnswer(gateway: gateway, token: text))
        case .gatewayRemoved(let gateway, let count):
            return Reply(address, GatewayRemovedAnswer(gateway: gateway, deletedAgents: count))
        case .members where sync != nil: return Reply(address, sync?.answer)
        case .refused(let problem): return Reply(address, problem)
        case .render, .members, .templatesSynced:
            return Reply(address, Problem(.unavailable, "the answer is not one to this request"))
        }
    }

    private func credentials(to address: ReplyAddress, _ record: AgentRecord, _ text: String?) -> Reply {
        guard let text, let token else {
            return Reply(address, Problem(.unavailable, "no token was minted; ask again"))
        }
        return Reply(
            address,
            CredentialsAnswer(username: record.address.description, token: text, tokenID: record.tokenID ?? token.id))
    }
}

extension CommandHandler {
    /// Answers whoever waits for a request.
    mutating func finish(
        _ use: Use, _ result: Result<CommandOutcome, Problem>, minted: Bool, _ directives: inout [Directive]
    ) {
        guard let request = remove(use) else { return }
        settleMember(request, result, &directives)
        for waiter in request.waiters {
            askers.ended(waiter.asker)
            guard let address = waiter.reply else { continue }
            switch result {
            case .failure(let problem): directives.append(.answer(Reply(address, problem)))
            case .success(let outcome): directives.append(.answer(request.reply(to: address, outcome, minted: minted)))
            }
        }
    }

    mutating func expire(where isOver: (Instant) -> Bool, _ directives: inout [Directive]) {
        for (event, asker, _) in queued.filter({ isOver($0.deadline) }) {
            askers.ended(asker)
            let reply: ReplyAddress?
            switch event {
            case .commandReceived(let arrival): reply = arrival.reply
            case .credentialsRequested(_, let address, _): reply = address
            case .partitionsAnnounced, .claimed, .answered, .templatesRead, .templatesUnreadable, .timePassed, .stopped:
                reply = nil
            }
            if let reply { directives.append(.answer(Reply(reply, CommandHandler.noStore))) }
        }
        queued.removeAll { isOver($0.deadline) }
        for (use, request) in pending where request.waiters.contains(where: { isOver($0.deadline) }) {
            let who = request.isKeyed && !request.isClaimed ? "status store" : "owner of the agent"
            let problem = Problem(
                .unavailable, "the \(who) did not answer in time; it is safe to ask again with the same key")
            for waiter in request.waiters where isOver(waiter.deadline) {
                askers.ended(waiter.asker)
                if let address = waiter.reply { directives.append(.answer(Reply(address, problem))) }
            }
            pending[use]?.waiters.removeAll { isOver($0.deadline) }
            if pending[use]?.waiters.isEmpty ?? false { remove(use) }
            settleMember(request, .failure(problem), &directives)
        }
    }
}
