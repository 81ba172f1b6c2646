internal import API
internal import Model
internal import Storage
internal import Wire

/// One lookup that is being answered in steps, each of about a millisecond: commits come in between. What it gathers is
/// committed, and of each agent or gateway as it was when its step came.
struct LookupRun {
    /// Rows of records or events read in a step, and agents looked at for them.
    private static let rowsPerStep = 25
    private static let scannedPerStep = 500
    private static let gatewaysPerStep = 50

    let request: LookupRequest
    private let lookup: Lookup
    private var after: AgentAddress?
    private var before: Int64?
    private var lastGateway: String?
    private var items: [[UInt8]] = []
    /// Of each item, where the page behind it begins.
    private var cursors: [String] = []
    private var bytes = 0
    private var summary = LookupAnswer.Summary()

    /// - Throws: the refusal of a request that is none; `nil` for a verb that is no lookup.
    init?(_ request: LookupRequest) throws(Problem) {
        guard let lookup = try Lookup.parse(request.verb, request.payload) else { return nil }
        self.request = request
        self.lookup = lookup
        switch lookup {
        case .list(_, let after, _): self.after = after
        case .history(_, _, let before, _): self.before = before
        case .get, .summary, .listGateways: break
        }
    }

    /// Does a step; the answer, once it is there.
    mutating func step(_ database: any StatusDatabase) throws(StorageError) -> Result<[UInt8], Problem>? {
        let found = try find(database)
        return found?.flatMap { LookupAnswer.fitting($0, to: lookup, bytesMax: request.answerBytesMax) }
    }

    private mutating func find(_ database: any StatusDatabase) throws(StorageError) -> Result<[UInt8], Problem>? {
        switch lookup {
        case .get(let agent):
            guard let record = try database.record(of: agent) else { return .failure(.unknownAgent(agent)) }
            return .success(LookupAnswer.record(record.bytes))
        case .list(let filter, _, let limit): return try list(filter, limit, database)
        case .history(let subject, let since, _, let limit): return try history(subject, since, limit, database)
        case .summary(let gateway?):
            guard let stored = try database.gateway(gateway) else { return .failure(.unknownGateway(gateway)) }
            summary.add(stored.counts, gateway: gateway)
            return .success(summary.bytes)
        case .summary(nil):
            let page = try nextGateways(database)
            for gateway in page { summary.add(gateway.counts, gateway: gateway.gateway) }
            let isLast = page.count < LookupRun.gatewaysPerStep || summary.count > request.answerBytesMax
            return isLast ? .success(summary.bytes) : nil
        case .listGateways:
            let page = try nextGateways(database)
            for gateway in page {
                let state = try gateway.state.decoded()
                gather(JSON.bytes(LookupAnswer.Gateway(state, agents: gateway.agents)), "")
            }
            guard page.count < LookupRun.gatewaysPerStep || bytes > request.answerBytesMax else { return nil }
            return .success(LookupAnswer.gateways(items))
        }
    }

    private mutating func list(
        _ filter: Lookup.AgentFilter, _ limit: Int, _ database: any StatusDatabase
    ) throws(StorageError) -> Result<[UInt8], Problem>? {
        if items.isEmpty, let gateway = filter.gateway, try !database.hasGateway(gateway) {
            return .failure(.unknownGateway(gateway))
        }
        let (records, end) = try database.records(
            filter, after: after, limit: min(LookupRun.rowsPerStep, limit + 1 - items.count),
            scanning: LookupRun.scannedPerStep)
        for record in records { gather(record.record.bytes, record.agent.description) }
        after = end
        guard end == nil || isFull(limit) else { return nil }
        return .success(LookupAnswer.page("records", items, limit: limit) { cursors[$0] })
    }

    private mutating func history(
        _ subject: Lookup.HistorySubject, _ since: Timestamp?, _ limit: Int, _ database: any StatusDatabase
    ) throws(StorageError) -> Result<[UInt8], Problem>? {
        if items.isEmpty, let problem = try LookupRun.unknown(subject, in: database) { return .failure(problem) }
        let wanted = min(LookupRun.rowsPerStep, limit + 1 - items.count)
        let events = try database.history(of: subject, since: since, before: before, limit: wanted)
        // It is the history of agents; the stream of events has those of gateways, too.
        for event in events where !event.agent.hasSuffix("/") { gather(event.event.bytes, String(event.sequence)) }
        before = events.last?.sequence
        guard events.count < wanted || isFull(limit) else { return nil }
        return .success(LookupAnswer.page("events", items, limit: limit) { cursors[$0] })
    }

    /// Why there is no such history. A gateway that was removed has what happened to its agents.
    private static func unknown(
        _ subject: Lookup.HistorySubject, in database: any StatusDatabase
    ) throws(StorageError) -> Problem? {
        switch subject {
        case .everybody: return nil
        case .agent(let agent): return try database.hasKnown(agent) ? nil : .unknownAgent(agent)
        case .gateway(let gateway):
            if try database.hasGateway(gateway) { return nil }
            let isKnown = try !database.history(of: subject, since: nil, before: nil, limit: 1).isEmpty
            return isKnown ? nil : .unknownGateway(gateway)
        }
    }

    private mutating func nextGateways(_ database: any StatusDatabase) throws(StorageError) -> [StoredGateway] {
        let page = try database.gateways(after: lastGateway, limit: LookupRun.gatewaysPerStep)
        lastGateway = page.last?.gateway ?? lastGateway
        return page
    }

    private mutating func gather(_ item: [UInt8], _ cursor: String) {
        items.append(item)
        cursors.append(cursor)
        bytes += item.count + 1
    }

    private func isFull(_ limit: Int) -> Bool { items.count > limit || bytes > Limits.messageBytesMax }
}
