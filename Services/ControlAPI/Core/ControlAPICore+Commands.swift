internal import API
internal import Doctor
internal import Model

/// Operators' requests as commands on the bus, and all that waits for an answer from there.
extension ControlAPICore {
    mutating func command(
        _ verb: Verb, _ source: Route.Source, _ request: HTTPRequest, _ route: Route, _ path: [String: String],
        _ token: OperatorToken, _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        let members = try CommandMembers.of(request, source, path)
        let payload = JSON.bytes(JSONValue.object(members))
        guard payload.count <= Limits.commandBytesMax else {
            throw HTTPRefusal(Problem(.tooLarge, "the request has more than \(Limits.commandBytesMax) bytes"))
        }
        guard isServing else { throw .unavailable("the broker is not connected") }
        // Keys belong to their operator, whatever instance of this service is asked.
        let key = try CommandMembers.key(request).map { "\(token.name):\($0)" }
        var pending = PendingCommand(verb: verb, asker: token.name, payload: payload, key: key)
        if verb != .get, path["agent"] != nil, let condition = request.header("if-match"), condition != "*" {
            pending.revisions = CommandAnswer.revisions(condition)
            guard pending.revisions != "" else { throw .precondition }
        }
        guard turns.underWay(token.name) < CommandTurns.underWayMax else {
            throw HTTPRefusal(
                Problem(.tooManyRequests, "\(CommandTurns.underWayMax) requests of '\(token.name)' are under way"))
        }
        let limit = verb.isLookup ? ControlAPICore.lookupLimit : ControlAPICore.commandLimit
        let number = wait(request, route, path, for: limit, pending)
        if turns.take(number, of: token.name) { ask(number, pending, request, &actions) }
    }

    mutating func takeTurns(_ actions: inout [ControlAPIAction]) {
        while let number = turns.next() {
            guard let request = waiting[number], let command = request.command else { continue }
            ask(number, command, request.request, &actions)
        }
    }

    private func ask(
        _ number: Int, _ pending: PendingCommand, _ request: HTTPRequest, _ actions: inout [ControlAPIAction]
    ) {
        actions.append(
            .command(
                verb: pending.verb.rawValue, payload: pending.payload, number: number, idempotencyKey: pending.key,
                traceparent: request.header("traceparent").flatMap { CommandMembers.isVisible($0) ? $0 : nil },
                ifMatch: pending.revisions))
    }

    mutating func answered(
        _ number: Int, _ payload: [UInt8], isProblem: Bool, _ actions: inout [ControlAPIAction]
    ) {
        guard let request = remove(number) else { return }
        if let gathering = request.gathering {
            return gathered(request, gathering, payload, isProblem: isProblem, &actions)
        }
        let response: HTTPResponse
        if isProblem, request.command?.revisions != nil, CommandAnswer.isOfCondition(payload) {
            return refuse(request.id, .precondition, &actions)
        } else if isProblem {
            response = CommandAnswer.problem(payload)
        } else {
            response = CommandAnswer.response(payload, to: request.route, request.request)
        }
        if response.status >= 400 { refused += 1 }
        actions.append(.respond(id: request.id, response))
    }

    // MARK: Waiting

    /// Nobody has answered: a diagnosis says so, all else is refused.
    mutating func unanswered(_ request: Waiting, _ reason: String, _ actions: inout [ControlAPIAction]) {
        guard var gathering = request.gathering else { return refuse(request.id, .unavailable(reason), &actions) }
        gathering.unanswered()
        conclude(request.id, gathering, &actions)
    }

    mutating func wait(
        _ request: HTTPRequest, _ route: Route, _ path: [String: String], for limit: TimeSpan,
        _ command: PendingCommand? = nil
    ) -> Int {
        nextNumber += 1
        waiting[nextNumber] = Waiting(
            id: request.id, route: route, path: path, request: request, deadline: now + limit, command: command)
        return nextNumber
    }

    mutating func expire(
        where isOver: (Waiting) -> Bool, _ reason: String, _ actions: inout [ControlAPIAction]
    ) {
        for number in waiting.filter({ isOver($0.value) }).keys.sorted() {
            guard let request = remove(number) else { continue }
            unanswered(request, reason, &actions)
        }
    }

    /// - Returns: `nil` also of one whose sender has gone.
    mutating func remove(_ number: Int) -> Waiting? {
        guard let request = waiting.removeValue(forKey: number) else { return nil }
        if let asker = request.command?.asker { turns.ended(number, of: asker) }
        return request.isGone ? nil : request
    }

    /// What the services work on keeps its sender's turn until they have answered: who goes and comes again wins nothing.
    mutating func cancel(_ id: Int) {
        guard let (number, request) = waiting.first(where: { $0.value.id == id }) else { return }
        if let asker = request.command?.asker, turns.isInWork(number, of: asker) {
            waiting[number]?.isGone = true
        } else {
            _ = remove(number)
        }
    }
}
