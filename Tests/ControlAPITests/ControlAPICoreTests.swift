import API
import Model
import Testing
import Wire

@testable import ControlAPICore

/// What control-api makes of requests, and of the answers that come over the bus.
struct ControlAPICoreTests {
    /// The core with its clock. Every input answers with a transcript, a line an action.
    struct Subject {
        var core = ControlAPICore(asker: "1", hosts: ["roll.example"]) {
            "sha(\(String(decoding: $0, as: UTF8.self)))"
        }
        var now = Instant(nanoseconds: 1_000_000_000_000)
        private var requests = 0

        init(isConnected: Bool = true) {
            handle(
                .tokensRead([
                    OperatorToken(name: "eve", scope: .admin, digest: "sha(all)", expires: nil),
                    OperatorToken(name: "bob", scope: .operate, digest: "sha(some)", expires: nil),
                    OperatorToken(name: "ann", scope: .read, digest: "sha(look)", expires: nil),
                    OperatorToken(
                        name: "old", scope: .admin, digest: "sha(old)", expires: Timestamp(millisecondsSince1970: 1)),
                ]))
            guard isConnected else { return }
            handle(.connected)
            handle(.subscribed)
        }

        @discardableResult
        mutating func handle(_ input: ControlAPIInput) -> [String] {
            var actions: [ControlAPIAction] = []
            core.handle(input, now: now, wallTime: Timestamp(millisecondsSince1970: 2), into: &actions)
            return actions.map { action in
                switch action {
                case .subscribe: return "subscribe"
                case .respond(let id, let response):
                    let headers = response.headers.filter { $0.name != "Content-Type" }.map {
                        " \($0.name)=\($0.value)"
                    }
                    let body = try? JSON.read(response.body)
                    let text = body?["type"]?.string ?? String(decoding: response.body, as: UTF8.self)
                    return "\(id): \(response.status)\(headers.joined()) \(text)"
                case .openStream(let id, let headers):
                    return "\(id): open \(headers.map(\.value).joined(separator: " "))"
                case .write(let id, let bytes):
                    return "\(id): " + String(decoding: bytes, as: UTF8.self).replacing("\n", with: "|")
                case .endStream(let id): return "\(id): end"
                case .askEvents(let question, let number):
                    return "ask \(number) after \(question.after.map { "\($0)" } ?? "now")"
                case .handIn(let agent, let token, let payload, let asker):
                    return
                        "\(asker.wish.rawValue) \(agent) \(token) \(asker.number) \(String(decoding: payload, as: UTF8.self))"
                case .command(let verb, let payload, let number, let key, _, let ifMatch):
                    let text = String(decoding: payload, as: UTF8.self)
                    let condition = ifMatch.map { " if \($0)" } ?? ""
                    return "\(verb) \(number)\(key.map { " key \($0)" } ?? "")\(condition) \(text)"
                }
            }
        }

        /// A request; its target may hold a query.
        mutating func ask(
            _ method: String, _ target: String, _ headers: [String: String] = [:], body: String = ""
        ) -> [String] {
            requests += 1
            let parts = target.split(separator: "?", maxSplits: 1)
            let query = (parts.count > 1 ? parts[1].split(separator: "&") : []).map { pair in
                let halves = pair.split(separator: "=", omittingEmptySubsequences: false)
                return (name: String(halves[0]), value: String(halves[1]))
            }
            var all = ["host": "127.0.0.1:18080"]
            all.merge(headers) { $1 }
            return handle(
                .requestReceived(
                    HTTPRequest(
                        id: requests, method: method,
                        path: parts[0].split(separator: "/").map(String.init), query: query,
                        headers: all.map { (name: $0.key, value: $0.value) }, body: Array(body.utf8))))
        }

        mutating func answer(_ number: Int, _ text: String, isProblem: Bool = false) -> [String] {
            handle(.commandAnswered(number: number, payload: Array(text.utf8), isProblem: isProblem))
        }
    }

    private static let all = ["authorization": "Bearer all"]
    private static let some = ["authorization": "Bearer some"]
    private static let look = ["authorization": "Bearer look"]
    private static let token = ["x-agent-token": "rc1:g/a.1.s"]
    private static let agent = "/api/v1/agents/g/a"

    private static let blanks = String(repeating: " ", count: 4_096)

    private var handler = Subject()

    // MARK: Who asks

    @Test mutating func anybodyMayAskWhetherItRuns() {
        #expect(handler.ask("GET", "/healthz") == [#"1: 200 {"ok":true}"#])
        #expect(handler.ask("GET", "/readyz") == ["2: 503 Retry-After=1 unavailable"])
        #expect(handler.ask("GET", "/openapi.json").first?.hasPrefix("3: 200") == true)
    }

    @Test(arguments: [
        ("GET", "/api/v1/agents", [:], "401 WWW-Authenticate=Bearer unauthorized"),
        ("GET", "/api/v1/agents", ["authorization": "Bearer none"], "401 WWW-Authenticate=Bearer unauthorized"),
        ("GET", "/api/v1/agents", ["authorization": "Bearer old"], "401 WWW-Authenticate=Bearer unauthorized"),
        ("GET", "/api/v1/agents", ["authorization": "Basic all"], "401 WWW-Authenticate=Bearer unauthorized"),
        ("POST", "/api/v1/agents/g/a/wake", look, "403 not-authorized"),
        ("DELETE", "/api/v1/agents/g/a", some, "403 not-authorized"),
        ("POST", "/api/v1/agent/heartbeat", all, "401 WWW-Authenticate=Bearer unauthorized"),
        ("POST", "/api/v1/agent/heartbeat", ["x-agent-token": "rc1:g.s"], "401 WWW-Authenticate=Bearer unauthorized"),
        ("GET", "/nothing", all, "404 not-found"),
        ("PUT", "/api/v1/agents", all, "405 Allow=GET, HEAD, POST method-not-allowed"),
        ("POST", "/healthz", [:], "405 Allow=GET, HEAD method-not-allowed"),
        ("GET", "/healthz", ["host": "evil.example"], "421 misdirected-request"),
        ("GET", "/healthz", ["host": "[::1]evil.example"], "421 misdirected-request"),
        ("GET", "/healthz", ["host": "[::1].evil.example:80"], "421 misdirected-request"),
        ("GET", "/healthz", ["host": "localhost:80:evil"], "421 misdirected-request"),
        ("GET", "/healthz", ["host": "localhost:abc"], "421 misdirected-request"),
        ("GET", "/healthz", ["host": "localhost:123456"], "421 misdirected-request"),
    ])
    mutating func isRefused(method: String, target: String, headers: [String: String], expected: String) {
        #expect(handler.ask(method, target, headers) == ["1: \(expected)"])
    }

    @Test(arguments: ["localhost", "LOCALHOST:1", "[::1]:80", "roll.example:443", "127.0.0.1"])
    mutating func itsOwnNamesAreServed(host: String) {
        #expect(handler.ask("GET", "/healthz", ["host": host]) == [#"1: 200 {"ok":true}"#])
    }

    // MARK: Agents

    @Test mutating func aHeartbeatIsHandedInAndAnsweredByTheOwner() {
        #expect(handler.ask("POST", "/api/v1/agent/heartbeat", Self.token) == ["heartbeat g/a.1 rc1:g/a.1.s 1 "])
        var record = AgentRecord(
            address: AgentAddress("g/a.1")!, board: "b", role: .worker, status: .online, policy: Policy(),
            createdAt: Timestamp(millisecondsSince1970: 0))
        record.revision = 7
        let asker = HeartbeatAsker(name: "1", number: 1, wish: .heartbeat)
        let answer = HeartbeatAnswer(asker: asker, rejected: nil, detail: nil, record: record)
        #expect(handler.handle(.heartbeatAnswered(answer)) == ["1: 200 {\"record\":\(JSON.text(record))}"])
        #expect(handler.handle(.heartbeatAnswered(answer)) == [])
    }

    @Test(arguments: [
        (RejectionReason.badToken, "401 WWW-Authenticate=Bearer unauthorized"),
        (.unknownAgent, "401 WWW-Authenticate=Bearer unauthorized"), (.tooLarge, "413 too-large"),
        (.malformed, "422 invalid-request"), (.deleting, "409 conflict"),
        (.rateLimited, "429 Retry-After=1 too-many-requests"),
    ])
    mutating func aRejectionIsARefusal(reason: RejectionReason, expected: String) {
        _ = handler.ask("POST", "/api/v1/agent/heartbeat", Self.token)
        let asker = HeartbeatAsker(name: "1", number: 1, wish: .heartbeat)
        #expect(
            handler.handle(
                .heartbeatAnswered(HeartbeatAnswer(asker: asker, rejected: reason, detail: "d", record: nil)))
                == ["1: \(expected)"])
    }

    @Test(arguments: [
        (#"{"name":"x","board_id":"b","status":"online"}"#, #"{"board_id":"b","name":"x","status":"ok"}"#),
        (#"{"status":"degraded"}"#, #"{"status":"degraded"}"#), ("no JSON", "no JSON"), ("", ""),
        // Its size counts as it came.
        (#"{"status":"online"}"# + blanks, #"{"status":"online"}"# + blanks),
    ])
    mutating func onlineIsAnotherWordForOk(body: String, handedIn: String) {
        #expect(
            handler.ask("POST", "/api/v1/agent/heartbeat", Self.token, body: body)
                == ["heartbeat g/a.1 rc1:g/a.1.s 1 \(handedIn)"])
    }

    @Test mutating func nobodyAnswers() {
        _ = handler.ask("POST", "/api/v1/agent/heartbeat", Self.token)
        _ = handler.ask("GET", Self.agent, Self.look)
        _ = handler.ask("POST", Self.agent + "/wake", Self.some)
        handler.now = handler.now + .seconds(5)
        #expect(
            handler.handle(.ticked) == ["1: 503 Retry-After=1 unavailable", "2: 503 Retry-After=1 unavailable"])
        handler.now = handler.now + .seconds(10)
        #expect(handler.handle(.ticked) == ["3: 503 Retry-After=1 unavailable"])
        #expect(handler.answer(3, "{}") == [])
    }

    @Test mutating func whoIsMissingIsNamed() throws {
        _ = handler.ask("GET", Self.agent, Self.look)
        var actions: [ControlAPIAction] = []
        handler.core.handle(
            .ticked, now: handler.now + .seconds(5), wallTime: Timestamp(millisecondsSince1970: 2), into: &actions)
        guard case .respond(_, let response) = try #require(actions.first) else { return }
        #expect(String(decoding: response.body, as: UTF8.self).contains("not running: provisioner"))
    }

    @Test mutating func withoutABrokerNothingIsServed() {
        _ = handler.ask("POST", "/api/v1/agent/heartbeat", Self.token)
        #expect(handler.handle(.disconnected) == ["1: 503 Retry-After=1 unavailable"])
        #expect(handler.ask("POST", "/api/v1/agent/heartbeat", Self.token) == ["2: 503 Retry-After=1 unavailable"])
        #expect(handler.ask("GET", Self.agent, Self.look) == ["3: 503 Retry-After=1 unavailable"])
    }

    @Test mutating func whoHasGoneIsNotAnswered() {
        _ = handler.ask("GET", Self.agent, Self.look)
        #expect(handler.handle(.requestCancelled(id: 1)) == [])
        #expect(handler.answer(1, "{}") == [])
    }

    @Test mutating func nobodyWaitsForAnothersBacklog() {
        for _ in 1...8 { #expect(handler.ask("GET", Self.agent, Self.look).count == 1) }
        for _ in 9...1_000 { #expect(handler.ask("GET", Self.agent, Self.look).isEmpty) }
        #expect(handler.ask("GET", Self.agent, Self.look) == ["1001: 429 Retry-After=1 too-many-requests"])
        #expect(handler.ask("GET", Self.agent, Self.some) == [#"get 1001 {"agent":"g/a"}"#])
        #expect(handler.answer(3, "{}") == ["3: 200 {}", #"get 9 {"agent":"g/a"}"#])
        // Who goes while the services work on it keeps the turn; who goes before gives it up.
        #expect(handler.handle(.requestCancelled(id: 9)) == [])
        #expect(handler.handle(.requestCancelled(id: 10)) == [])
        #expect(handler.answer(9, "{}") == [#"get 11 {"agent":"g/a"}"#])
        handler.now = handler.now + .seconds(5)
        #expect(handler.handle(.ticked).allSatisfy { $0.contains("503") })
        #expect(handler.ask("GET", Self.agent, Self.look) == [#"get 1002 {"agent":"g/a"}"#])
    }

    // MARK: Operators

    @Test(arguments: [
        (
            "GET", "/api/v1/agents?status=online,offline&limit=5", "",
            #"list 1 {"limit":5,"status":["online","offline"]}"#
        ),
        ("GET", "/api/v1/agents?stale_templates=true", "", #"list 1 {"stale_templates":true}"#),
        ("POST", "/api/v1/agents", #"{"agent":"g/a","role":"main"}"#, #"provision 1 {"agent":"g/a","role":"main"}"#),
        ("GET", agent, "", #"get 1 {"agent":"g/a"}"#), ("DELETE", agent, "", #"delete 1 {"agent":"g/a"}"#),
        ("PATCH", agent, #"{"board":"c"}"#, #"update 1 {"agent":"g/a","board":"c"}"#),
        ("POST", agent + "/wake", "", #"wake 1 {"agent":"g/a"}"#),
        ("POST", agent + "/rotate-token", #"{"now":true}"#, #"rotate-token 1 {"agent":"g/a","now":true}"#),
        ("GET", agent + "/history?limit=2", "", #"history 1 {"agent":"g/a","limit":2}"#),
        (
            "GET", "/api/v1/history?gateway=g&since=2026-01-31T09:05:07Z&before=7", "",
            #"history 1 {"before":"7","gateway":"g","since":"2026-01-31T09:05:07Z"}"#
        ),
        ("POST", "/api/v1/gateways/g/pause", "", #"pause 1 {"gateway":"g"}"#),
        ("POST", "/api/v1/boards/b/resume", "", #"resume 1 {"board":"b"}"#),
        ("DELETE", "/api/v1/gateways/g?force=true", "", #"remove-gateway 1 {"force":true,"gateway":"g"}"#),
        (
            "POST", "/api/v1/gateways/g/templates/sync?wake=true", "", #"sync-templates 1 {"gateway":"g","wake":true}"#
        ),
        (
            "POST", "/api/v1/gateways/g/templates/sync", #"{"board":"b"}"#,
            #"sync-templates 1 {"board":"b","gateway":"g"}"#
        ),
    ])
    mutating func aRequestBecomesACommand(method: String, target: String, body: String, expected: String) {
        #expect(handler.ask(method, target, Self.all, body: body) == [expected])
    }

    @Test(arguments: [
        ("POST", agent + "/wake", #"{"agent":"g/b"}"#), ("POST", agent + "/wake", "[]"),
        ("POST", agent + "/wake", "{,}"),
        ("POST", agent + "/wake?x=1", ""), ("GET", "/api/v1/agents?limit=x", ""),
        ("GET", "/api/v1/agents?stale_templates=1", ""), ("GET", "/api/v1/agents?limit=1&limit=2", ""),
    ])
    mutating func whatIsWrongIsSaidBeforeAnybodyIsAsked(method: String, target: String, body: String) {
        #expect(handler.ask(method, target, Self.all, body: body) == ["1: 422 invalid-request"])
    }

    @Test mutating func keysBelongToTheirOperator() {
        let headers = Self.some.merging(["idempotency-key": "k"]) { $1 }
        #expect(handler.ask("POST", Self.agent + "/wake", headers) == [#"wake 1 key bob:k {"agent":"g/a"}"#])
    }

    @Test mutating func twoKeysAreRefused() {
        let keys = ["a", "b"].map { (name: "idempotency-key", value: $0) }
        let request = HTTPRequest(
            id: 1, method: "POST", path: ["api", "v1", "agents", "g", "a", "wake"],
            headers: [(name: "host", value: "localhost"), (name: "authorization", value: "Bearer some")] + keys)
        #expect(handler.handle(.requestReceived(request)) == ["1: 422 invalid-request"])
    }

    @Test(arguments: ["", "a\u{1}b", "\u{e9}", String(repeating: "k", count: 129)])
    mutating func aKeyThatTheBusDoesNotCarryIsRefused(key: String) {
        let headers = Self.some.merging(["idempotency-key": key]) { $1 }
        #expect(handler.ask("POST", Self.agent + "/wake", headers) == ["1: 422 invalid-request"])
    }

    @Test mutating func aRecordHasItsRevisionAsTag() {
        let record = #"{"record":{"revision":3}}"#
        _ = handler.ask("GET", Self.agent, Self.look)
        #expect(handler.answer(1, record) == ["1: 200 ETag=\"3\" \(record)"])
        _ = handler.ask("GET", Self.agent, Self.look.merging(["if-none-match": "W/\"2\", \"3\""]) { $1 })
        #expect(handler.answer(2, record) == ["2: 304 ETag=\"3\" "])
        _ = handler.ask("HEAD", Self.agent, Self.look.merging(["if-none-match": "\"3\""]) { $1 })
        #expect(handler.answer(3, record) == ["3: 304 ETag=\"3\" "])
    }

    @Test mutating func aChangeMayDependOnTheRevision() {
        let headers = Self.some.merging(["if-match": "\"3\", W/\"7\" ,\"4\""]) { $1 }
        let update = #" {"agent":"g/a","board":"c"}"#
        #expect(handler.ask("PATCH", Self.agent, headers, body: #"{"board":"c"}"#) == ["update 1 if 3,4" + update])
        #expect(handler.answer(1, #"{"record":{"revision":5}}"#) == [#"1: 200 ETag="5" {"record":{"revision":5}}"#])
        #expect(handler.ask("PATCH", Self.agent, headers, body: #"{"board":"c"}"#) == ["update 2 if 3,4" + update])
        let other = Problem(member: "if-match", "the record has revision 5", kind: .conflict)
        #expect(handler.answer(2, JSON.text(other), isProblem: true) == ["2: 412 precondition-failed"])
        // A weak tag promises less than a change needs.
        let weak = Self.some.merging(["if-match": "W/\"4\""]) { $1 }
        #expect(handler.ask("PATCH", Self.agent, weak, body: #"{"board":"c"}"#) == ["3: 412 precondition-failed"])
        let any = Self.some.merging(["if-match": "*"]) { $1 }
        #expect(handler.ask("PATCH", Self.agent, any, body: #"{"board":"c"}"#) == ["update 3" + update])
    }

    @Test mutating func pagesNameTheNextOne() {
        _ = handler.ask("GET", "/api/v1/agents?board=b&after=g/a", Self.look)
        let page = #"{"next":"g/é","records":[]}"#
        #expect(
            handler.answer(1, page)
                == ["1: 200 Link=</api/v1/agents?board=b&after=g%2F%C3%A9>; rel=\"next\" \(page)"])
    }

    @Test mutating func whatIsMadeIsCreated() {
        _ = handler.ask("POST", "/api/v1/gateways", Self.all, body: #"{"gateway":"g"}"#)
        #expect(handler.answer(1, #"{"gateway":"g","token":"t"}"#) == [#"1: 201 {"gateway":"g","token":"t"}"#])
        _ = handler.ask("POST", "/api/v1/gateways", Self.all, body: #"{"gateway":"g"}"#)
        #expect(handler.answer(2, #"{"gateway":"g","token":null}"#) == [#"2: 200 {"gateway":"g","token":null}"#])
    }

    @Test mutating func problemsKeepTheirStatus() {
        _ = handler.ask("GET", Self.agent, Self.look)
        #expect(handler.answer(1, JSON.text(Problem.unknownAgent("g/a")), isProblem: true) == ["1: 404 unknown-agent"])
    }
}
