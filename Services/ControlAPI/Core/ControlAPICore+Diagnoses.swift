internal import API
internal import Doctor
internal import Model

// What `rollcall doctor` finds, over HTTP: the same lookups, one after the other, and the services as they announce themselves.
extension ControlAPICore {
    mutating func diagnose(
        _ request: HTTPRequest, _ route: Route, _ path: [String: String], _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        _ = try CommandMembers.of(request, .nothing, [:])
        var subject: AgentAddress?
        if let gateway = path["gateway"], let agent = path["agent"] {
            subject = AgentAddress("\(gateway)/\(agent)")
            guard subject != nil else { throw HTTPRefusal(.unknownAgent("\(gateway)/\(agent)")) }
        }
        guard waiting.values.count(where: { $0.gathering != nil }) < ControlAPICore.diagnosesMax else {
            throw HTTPRefusal(Problem(.tooManyRequests, "\(ControlAPICore.diagnosesMax) diagnoses are being made"))
        }
        let gathering = Gathering(at: wallTime, subject: subject)
        goOn(Waiting(id: request.id, route: route, path: path, request: request, deadline: now), gathering, &actions)
    }

    /// Asks the next question, or says what all answers come to.
    private mutating func goOn(_ request: Waiting, _ gathering: Gathering, _ actions: inout [ControlAPIAction]) {
        guard isServing, let question = gathering.question else { return conclude(request.id, gathering, &actions) }
        let number = wait(request.request, request.route, request.path, for: Gathering.answerLimit)
        waiting[number]?.gathering = gathering
        actions.append(
            .command(
                verb: question.verb.rawValue, payload: JSON.bytes(JSONValue.object(question.members)), number: number,
                idempotencyKey: nil, traceparent: nil))
    }

    mutating func gathered(
        _ request: Waiting, _ gathering: Gathering, _ payload: [UInt8], isProblem: Bool,
        _ actions: inout [ControlAPIAction]
    ) {
        var gathering = gathering
        if isProblem {
            let problem = CommandAnswer.problem(payload)
            // No such agent is nothing that ails the system.
            guard problem.status == Problem.Kind.unavailable.status else {
                refused += 1
                return actions.append(.respond(id: request.id, problem))
            }
            gathering.unanswered()
        } else {
            do {
                try gathering.answered(payload)
            } catch {
                return refuse(request.id, .unavailable("an answer cannot be read"), &actions)
            }
        }
        goOn(request, gathering, &actions)
    }

    func conclude(_ id: Int, _ gathering: Gathering, _ actions: inout [ControlAPIAction]) {
        var snapshot = gathering.snapshot
        if !isServing { snapshot.broker = .unreachable("control-api is not connected") }
        snapshot.services = presences.all
        snapshot.incarnations = presences.incarnations
        snapshot.clocks = presences.clocks
        snapshot.countersBefore = broker.earlier
        snapshot.counters = broker.newest
        snapshot.observedFor = broker.observed(now: now)
        actions.append(.respond(id: id, .json(Diagnosis(of: snapshot))))
    }
}
