import API
import Model
import Testing

@testable import ControlAPICore

/// How the dashboard's files are served.
struct DashboardTests {
    private let dashboard = Dashboard([
        DashboardFile(path: "/", type: "text/html", bytes: Array("page".utf8)),
        DashboardFile(path: "/dashboard/app.js", type: "text/javascript", bytes: Array("code".utf8)),
    ]) { "sha(\(String(decoding: $0, as: UTF8.self)))" }

    private func ask(
        _ path: [String], method: String = "GET", known: String? = nil
    ) throws(HTTPRefusal) -> HTTPResponse? {
        let headers = known.map { [(name: "if-none-match", value: $0)] } ?? []
        return try dashboard.response(HTTPRequest(id: 1, method: method, path: path, headers: headers))
    }

    private func header(_ name: String, _ response: HTTPResponse?) -> String? {
        response?.headers.first { $0.name == name }?.value
    }

    @Test func filesAreServedByTheirPaths() throws {
        #expect(try ask([])?.body == Array("page".utf8))
        #expect(try header("Content-Type", ask([])) == "text/html")
        #expect(try ask(["dashboard", "app.js"], method: "HEAD")?.body == Array("code".utf8))
        #expect(try header("Content-Type", ask(["dashboard", "app.js"])) == "text/javascript")
        for path in [["dashboard"], ["dashboard", ""], ["dashboard/app.js", ""], ["app.js"], ["..", "app.js"]] {
            #expect(try ask(path) == nil)
        }
    }

    @Test func whatABrowserHasIsNotSentAgain() throws {
        #expect(try header("ETag", ask([])) == "\"sha(page)\"")
        #expect(try header("Cache-Control", ask([])) == "no-cache")
        let again = try ask([], known: "\"other\", W/\"sha(page)\"")
        #expect(again?.status == 304)
        #expect(again?.body == [])
        #expect(try ask([], known: "\"sha(code)\"")?.status == 200)
    }

    @Test func nothingOfOthersRunsInThePage() throws {
        let policy = try #require(try header("Content-Security-Policy", ask([])))
        #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; "))
        #expect(!policy.contains("unsafe"))
        #expect(try header("X-Content-Type-Options", ask([])) == "nosniff")
    }

    @Test func filesAreOnlyRead() {
        #expect { try ask([], method: "POST") } throws: { ($0 as? HTTPRefusal)?.response.status == 405 }
    }

    @Test func aForeignNameGetsNoPage() {
        var core = ControlAPICore(
            asker: "1", dashboard: [DashboardFile(path: "/", type: "text/html", bytes: [1])]
        ) { _ in "" }
        var statuses: [Int] = []
        for host in ["evil.example", "localhost:1"] {
            var actions: [ControlAPIAction] = []
            let request = HTTPRequest(id: 1, method: "GET", path: [], headers: [(name: "host", value: host)])
            core.handle(
                .requestReceived(request), now: .init(nanoseconds: 1), wallTime: .init(millisecondsSince1970: 1),
                into: &actions)
            if case .respond(_, let response) = actions.first { statuses.append(response.status) }
        }
        #expect(statuses == [421, 200])
    }
}
