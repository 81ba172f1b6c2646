internal import API
internal import Model
internal import Wire

/// The whole fleet as one table (`GET /api/v1/fleet`): a pure value.
///
/// A table is made of pages of `list`, one under way at a time; whoever asks for the same one meanwhile, or within `freshFor`,
/// gets the same. It is not of one moment: its position is that of the newest event before its first page, and what is behind
/// it (`/api/v1/events?after=`) brings every row up to date. It is told whole or, when a page is refused, not at all.
struct FleetTables {
    static let freshFor = TimeSpan.seconds(1)
    /// For one page, as for any command.
    static let answerLimit = ControlAPICore.commandLimit
    /// Tables that are being made or are fresh; whoever wants another one comes again.
    static let tablesMax = 8
    /// About 500,000 agents.
    static let bytesMax = 67_108_864

    private struct Table {
        var pages: ListPages
        let at: Timestamp
        var askers: [HTTPRequest]
        /// What is asked for it now, and until when.
        var question: Int
        var deadline: Instant
        var position: Int64?
        /// With commas between them.
        var rows: [UInt8] = []
        var whole: Whole?
    }

    private struct Whole {
        let body: [UInt8]
        /// Of the rows alone: weak, since the moment is another one each time.
        let tag: String
        let freshUntil: Instant
    }

    private let sha256: @Sendable ([UInt8]) -> String
    /// By their filters.
    private var tables: [String: Table] = [:]
    /// Below zero: those above number the requests of others.
    private var lastNumber = 0

    init(sha256: @escaping @Sendable ([UInt8]) -> String) {
        self.sha256 = sha256
    }

    mutating func open(
        _ request: HTTPRequest, now: Instant, wallTime: Timestamp, _ actions: inout [ControlAPIAction]
    ) throws(HTTPRefusal) {
        let filter = try CommandMembers.of(request, .query, [:])
        for member in ["after", "limit"] where filter[member] != nil {
            throw HTTPRefusal(Problem(member: member, "a table has all rows"))
        }
        let key = JSON.text(JSONValue.object(filter))
        tables = tables.filter { $0.value.whole.map { now < $0.freshUntil } ?? true }
        if let whole = tables[key]?.whole { return actions.append(FleetTables.answer(request, whole)) }
        if tables[key] != nil {
            tables[key]?.askers.append(request)
            return
        }
        if tables.count >= FleetTables.tablesMax { tables = tables.filter { $0.value.whole == nil } }
        guard tables.count < FleetTables.tablesMax else {
            throw HTTPRefusal(Problem(.tooManyRequests, "\(FleetTables.tablesMax) tables are being made"))
        }
        lastNumber -= 1
        tables[key] = Table(
            pages: ListPages(filter), at: wallTime, askers: [request], question: lastNumber,
            deadline: now + FleetTables.answerLimit)
        actions.append(.askEvents(EventQuestion(after: nil), number: lastNumber))
    }

    /// A table for nobody is not made.
    mutating func cancelled(_ id: Int) {
        for key in tables.keys { tables[key]?.askers.removeAll { $0.id == id } }
        tables = tables.filter { $0.value.whole != nil || !$0.value.askers.isEmpty }
    }

    mutating func disconnected(_ actions: inout [ControlAPIAction]) {
        for key in tables.keys.sorted() { refuse(key, .unavailable("the connection to the broker was lost"), &actions) }
    }

    mutating func ticked(now: Instant, _ actions: inout [ControlAPIAction]) {
        for (key, table) in tables.sorted(by: { $0.key < $1.key }) {
            if let whole = table.whole {
                if whole.freshUntil <= now { tables[key] = nil }
            } else if table.deadline <= now {
                refuse(key, .unavailable("nobody answered in time"), &actions)
            }
        }
    }

    mutating func refused(_ number: Int, _ reason: String, _ actions: inout [ControlAPIAction]) {
        guard let key = key(number) else { return }
        refuse(key, .unavailable(reason), &actions)
    }

    mutating func received(_ page: EventPage, number: Int, now: Instant, _ actions: inout [ControlAPIAction]) {
        guard let key = key(number) else { return }
        tables[key]?.position = page.last
        ask(key, now, &actions)
    }

    mutating func answered(
        _ number: Int, _ payload: [UInt8], isProblem: Bool, now: Instant, _ actions: inout [ControlAPIAction]
    ) {
        guard let key = key(number) else { return }
        guard !isProblem else { return refuse(key, CommandAnswer.problem(payload), &actions) }
        guard let page = try? JSON.read(payload), let records = page["records"]?.array else {
            return refuse(key, .unavailable("a page cannot be read"), &actions)
        }
        append(records, to: key)
        guard let table = tables[key], table.rows.count <= FleetTables.bytesMax else {
            let detail = "the table has more than \(FleetTables.bytesMax) bytes; a filter makes it smaller"
            return refuse(key, HTTPRefusal(Problem(.tooLarge, detail)), &actions)
        }
        guard tables[key]?.pages.advance(to: page["next"]?.string) ?? false else {
            return finish(key, table, now, &actions)
        }
        ask(key, now, &actions)
    }

    // MARK: Inside

    private func key(_ number: Int) -> String? {
        tables.first { $0.value.question == number && $0.value.whole == nil }?.key
    }

    private mutating func ask(_ key: String, _ now: Instant, _ actions: inout [ControlAPIAction]) {
        guard let members = tables[key]?.pages.request else { return }
        lastNumber -= 1
        tables[key]?.question = lastNumber
        tables[key]?.deadline = now + FleetTables.answerLimit
        actions.append(
            .command(
                verb: Verb.list.rawValue, payload: JSON.bytes(JSONValue.object(members)), number: lastNumber,
                idempotencyKey: nil, traceparent: nil))
    }

    private mutating func append(_ records: [JSONValue], to key: String) {
        guard !records.isEmpty else { return }
        if tables[key]?.rows.isEmpty == false { tables[key]?.rows.append(UInt8(ascii: ",")) }
        tables[key]?.rows += JSON.bytes(records.map(FleetColumn.row)).dropFirst().dropLast()
    }

    private mutating func finish(
        _ key: String, _ table: Table, _ now: Instant, _ actions: inout [ControlAPIAction]
    ) {
        let columns = JSON.text(FleetColumn.all.map(\.name))
        let head = #"{"at":"\#(table.at)","columns":\#(columns),"position":\#(table.position ?? 0),"rows":["#
        let whole = Whole(
            body: Array(head.utf8) + table.rows + Array("]}".utf8), tag: "W/\"\(sha256(table.rows))\"",
            freshUntil: now + FleetTables.freshFor)
        for request in table.askers { actions.append(FleetTables.answer(request, whole)) }
        tables[key]?.askers = []
        tables[key]?.rows = []
        tables[key]?.whole = whole
    }

    private static func answer(_ request: HTTPRequest, _ whole: Whole) -> ControlAPIAction {
        let tag = [HTTPResponse.Header("ETag", whole.tag)]
        // Compared weakly: what `matches` compares has no `W/`.
        if let known = request.header("if-none-match"), CommandAnswer.matches(known, String(whole.tag.dropFirst(2))) {
            return .respond(id: request.id, HTTPResponse(304, headers: tag))
        }
        return .respond(id: request.id, .json(whole.body, headers: tag))
    }

    private mutating func refuse(_ key: String, _ refusal: HTTPRefusal, _ actions: inout [ControlAPIAction]) {
        refuse(key, refusal.response, &actions)
    }

    private mutating func refuse(_ key: String, _ response: HTTPResponse, _ actions: inout [ControlAPIAction]) {
        guard let table = tables.removeValue(forKey: key) else { return }
        for request in table.askers { actions.append(.respond(id: request.id, response)) }
    }
}

/// What a table says of each agent, in this order; clients go by the names.
private struct FleetColumn {
    let name: String
    let value: @Sendable (JSONValue) -> JSONValue?

    /// - Parameter member: of the record; `nil`: it has the column's name.
    init(_ name: String, _ member: String? = nil) {
        self.init(name) { $0[member ?? name] }
    }

    init(_ name: String, _ value: @escaping @Sendable (JSONValue) -> JSONValue?) {
        self.name = name
        self.value = value
    }

    /// Milliseconds since 1970: half as long as text, and nothing that a table sorts by needs to be read first.
    private static func time(_ name: String) -> FleetColumn {
        FleetColumn(name) { record in
            record[name]?.string.flatMap { Timestamp($0) }.map { .integer($0.millisecondsSince1970) }
        }
    }

    static let all = [
        FleetColumn("gateway", "gateway_id"), FleetColumn("agent", "agent_id"), FleetColumn("board", "board_id"),
        FleetColumn("role"), FleetColumn("status"), FleetColumn("offline_reason"), FleetColumn("wake_attempts"),
        FleetColumn("max_wake_attempts") { $0["policy"]?["max_wake_attempts"] }, time("checkin_deadline_at"),
        time("last_seen_at"), FleetColumn("last_provision_error"),
        FleetColumn("last_rejection") { $0["last_rejection"]?["reason"] }, FleetColumn("paused"),
        FleetColumn("stale_templates") { record in
            guard let wanted = record["templates_digest"]?.string,
                let reported = record["templates_digest_reported"]?.string
            else { return .bool(false) }
            return .bool(wanted != reported)
        }, time("updated_at"), FleetColumn("revision"),
    ]

    static func row(_ record: JSONValue) -> [JSONValue] { all.map { $0.value(record) ?? .null } }
}
