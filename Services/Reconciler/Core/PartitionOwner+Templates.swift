internal import API
internal import Lifecycle
internal import Model
internal import Wire

// The templates that agents are to run.
extension PartitionOwner {
    /// Names in one answer: as many as are worked on within an answer's limit, also by a busy machine.
    static let membersMax = 100

    mutating func listMembers(
        _ sync: TemplatesSync, after: String?, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        guard let gateway = gateways[sync.gateway] else { throw Problem.unknownGateway(sync.gateway) }
        guard !gateway.isLeaving else {
            throw Problem(member: "gateway", "\(sync.gateway) is being removed", kind: .conflict)
        }
        let names = gateway.agents.values.compactMap { index in
            let record = record(index)
            let isMeant =
                after.map { $0 < record.address.agent } ?? true && !isLeaving(index)
                && sync.selects(record.role, board: record.board)
            return isMeant ? record.address.agent : nil
        }.sorted()
        answer(request, .members(Array(names.prefix(PartitionOwner.membersMax))), &turn)
    }

    /// Sets the digest that the agent is to run. Nobody's status changes by it, unless a wake is asked for.
    mutating func syncTemplates(
        _ agent: AgentAddress, _ sync: TemplatesSync, _ request: PartitionRequest, _ turn: inout Turn
    ) throws(Problem) {
        let index = try changeable(agent, &turn)
        let record = record(index)
        let inputs = RenderInputs(role: record.role, board: record.board, variables: record.variables)
        guard let digest = digest(of: inputs, request) else { return answer(request, .render(inputs), &turn) }
        let isChanged = record.templatesDigest != digest || sync.isForced
        if isChanged {
            drive(index, &turn, traceparent: request.traceparent) { machine, context, results in
                machine.syncTemplates(digest: digest, context, into: &results)
                guard sync.wakes else { return }
                machine.requestCycle(
                    .update, reason: .update, resetSession: sync.resetsSessions, traceparent: request.traceparent,
                    context, into: &results)
            }
        }
        answer(request, .templatesSynced(record.role, isChanged: isChanged), &turn)
    }
}
