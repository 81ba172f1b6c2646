internal import API
internal import Model

// Each asker has so many requests in work; the others wait for their turn.
extension CommandHandler {
    /// Carries a request out, unless nobody waits for it any more.
    mutating func start(_ use: Use, _ now: Instant, _ directives: inout [Directive]) {
        guard var request = pending[use], !request.isStarted else { return }
        request.isStarted = true
        request.rendered = firstGuess(request.command)
        request.forwardedAt = now
        pending[use] = request
        if request.isKeyed, !request.isClaimed {
            claiming.append(use)
            claim(use, &directives)
        } else {
            forward(use.id, request, &directives)
        }
    }

    /// Carries out what waits of those who have had an answer.
    mutating func takeTurns(_ now: Instant, _ directives: inout [Directive]) {
        while let asker = turns.popFirst() {
            while let use = askers.next(of: asker) {
                if pending[use]?.isStarted == false {
                    start(use, now, &directives)
                } else {
                    askers.worked(asker)
                }
            }
        }
    }

    /// A gateway has one more for each agent of which none is under way.
    func mayAskForCredentials(of agent: AgentAddress, _ asker: String) -> Bool {
        askers.underWay(asker) < Limits.agentRequestsUnderWayMax || credentialsUnderWay[agent] == nil
    }

    mutating func noteCredentials(_ request: Pending, _ change: Int) {
        guard request.isCredentialsRequest, let agent = request.command.mintedAgent else { return }
        let count = credentialsUnderWay[agent, default: 0] + change
        credentialsUnderWay[agent] = count > 0 ? count : nil
    }
}
