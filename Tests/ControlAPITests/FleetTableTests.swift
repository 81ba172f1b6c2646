import API
import Model
import Testing
import Wire

@testable import ControlAPICore

/// The table of the whole fleet: whole or refused, and made once for all who ask for it at once.
struct FleetTableTests {
    private static let look = ["authorization": "Bearer look"]
    private static let begun = ["ask -1 after now"]
    private static let columns = [
        "gateway", "agent", "board", "role", "status", "offline_reason", "wake_attempts", "max_wake_attempts",
        "checkin_deadline_at", "last_seen_at", "last_provision_error", "last_rejection", "paused", "stale_templates",
        "updated_at", "revision",
    ]
    private var handler = ControlAPICoreTests.Subject()

    private mutating func ask(_ query: String = "", _ headers: [String: String] = [:]) -> [String] {
        handler.ask("GET", "/api/v1/fleet" + query, Self.look.merging(headers) { $1 })
    }

    private mutating func position(_ number: Int, _ last: Int64) -> [String] {
        handler.handle(.eventsAnswered(number: number, EventPage(oldest: 1, last: last, [])))
    }

    private func page(_ records: [AgentRecord], next: String? = nil) -> String {
        let list = records.map { JSON.text($0) }.joined(separator: ",")
        return #"{"next":\#(next.map { "\"\($0)\"" } ?? "null"),"records":[\#(list)]}"#
    }

    private func record(_ name: String) -> AgentRecord {
        AgentRecord(
            address: AgentAddress(name)!, board: "b", role: .worker, status: .online, policy: Policy(),
            createdAt: Timestamp(millisecondsSince1970: 5))
    }

    private func row(_ agent: String) -> String {
        #"["g","\#(agent)","b","worker","online",null,0,3,null,null,null,null,false,false,5,0]"#
    }

    private func table(_ id: Int, _ position: Int, _ rows: String) -> String {
        let columns = JSON.text(Self.columns)
        return "\(id): 200 ETag=W/\"sha(\(rows))\" "
            + #"{"at":"1970-01-01T00:00:00.002Z","columns":\#(columns),"position":\#(position),"rows":[\#(rows)]}"#
    }

    @Test mutating func isMadePageByPage() {
        #expect(ask() == Self.begun)
        #expect(position(-1, 7) == [#"list -2 {"limit":500}"#])
        #expect(
            handler.answer(-2, page([record("g/a"), record("g/b")], next: "g/b"))
                == [#"list -3 {"after":"g/b","limit":500}"#])
        #expect(
            handler.answer(-3, page([record("g/c")])) == [
                table(1, 7, [row("a"), row("b"), row("c")].joined(separator: ","))
            ]
        )
        // A page that comes twice is nobody's.
        #expect(handler.answer(-3, page([record("g/c")])) == [])
    }

    @Test mutating func saysWhatIsWrongWithAnAgent() {
        var record = record("g/a")
        record.status = .offline
        record.offlineReason = .checkinMissed
        record.wakeAttempts = 3
        record.checkinDeadlineAt = Timestamp(millisecondsSince1970: 8)
        record.lastSeenAt = Timestamp(millisecondsSince1970: 9)
        record.lastProvisionError = "no \"answer\""
        record.lastRejection = Rejection(reason: .badToken, at: Timestamp(millisecondsSince1970: 1), count: 2)
        record.pausedBy = [.board]
        record.templatesDigest = "x"
        record.templatesDigestReported = "y"
        record.revision = 12
        _ = ask()
        _ = position(-1, 7)
        let row =
            #"["g","a","b","worker","offline","checkin_missed",3,3,8,9,"no \"answer\"","bad_token",true,true,5,12]"#
        #expect(handler.answer(-2, page([record])) == [table(1, 7, row)])
    }

    @Test mutating func isMadeOnceForAllWhoAskForIt() {
        #expect(ask() == Self.begun)
        #expect(ask() == [])
        #expect(ask("?status=offline,updating&board=b") == ["ask -2 after now"])
        #expect(position(-2, 8) == [#"list -3 {"board":"b","limit":500,"status":["offline","updating"]}"#])
        #expect(position(-1, 7) == [#"list -4 {"limit":500}"#])
        #expect(handler.answer(-3, page([])) == [table(3, 8, "")])
        #expect(handler.answer(-4, page([record("g/a")])) == [table(1, 7, row("a")), table(2, 7, row("a"))])
        handler.now = handler.now + TimeSpan(milliseconds: 999)
        #expect(ask() == [table(4, 7, row("a"))])
        handler.now = handler.now + TimeSpan(milliseconds: 1)
        #expect(ask() == ["ask -5 after now"])
    }

    @Test mutating func isNotToldAgainToWhoHasIt() {
        _ = ask()
        _ = position(-1, 7)
        _ = handler.answer(-2, page([]))
        #expect(ask("", ["if-none-match": "W/\"sha()\""]) == ["2: 304 ETag=W/\"sha()\" "])
        #expect(ask("", ["if-none-match": "W/\"sha(other)\""]) == [table(3, 7, "")])
    }

    @Test mutating func aRefusedPageRefusesTheTable() {
        _ = ask()
        _ = ask()
        _ = position(-1, 7)
        _ = handler.answer(-2, page([record("g/a")], next: "g/a"))
        let problem = JSON.text(Problem(.unavailable, "the store is away"))
        #expect(
            handler.answer(-3, problem, isProblem: true)
                == ["1: 503 Retry-After=1 unavailable", "2: 503 Retry-After=1 unavailable"])
        #expect(ask() == ["ask -4 after now"])
    }

    @Test mutating func isRefusedWhenNobodyAnswers() {
        _ = ask()
        handler.now = handler.now + .seconds(14)
        #expect(position(-1, 7) == [#"list -2 {"limit":500}"#])
        handler.now = handler.now + .seconds(14)
        #expect(handler.handle(.ticked) == [])
        handler.now = handler.now + .seconds(1)
        #expect(handler.handle(.ticked) == ["1: 503 Retry-After=1 unavailable"])
        #expect(handler.answer(-2, page([])) == [])
        _ = ask()
        #expect(handler.handle(.commandRefused(number: -3, reason: "full")) == ["2: 503 Retry-After=1 unavailable"])
        _ = ask()
        #expect(handler.handle(.disconnected) == ["3: 503 Retry-After=1 unavailable"])
        #expect(ask() == ["4: 503 Retry-After=1 unavailable"])
    }

    @Test mutating func isNotMadeForNobody() {
        _ = ask()
        #expect(handler.handle(.requestCancelled(id: 1)) == [])
        #expect(position(-1, 7) == [])
    }

    @Test mutating func onlySomeAreMadeAtOnce() {
        for number in 0..<FleetTables.tablesMax { _ = ask("?board=b\(number)") }
        #expect(ask("?board=c") == ["9: 429 Retry-After=1 too-many-requests"])
        _ = position(-1, 7)
        _ = handler.answer(-9, page([]))
        #expect(ask("?board=c") == ["ask -10 after now"])
    }

    @Test(arguments: ["?limit=5", "?after=g/a", "?stale_templates=x"])
    mutating func hasAllRows(query: String) {
        #expect(ask(query) == ["1: 422 invalid-request"])
    }
}
