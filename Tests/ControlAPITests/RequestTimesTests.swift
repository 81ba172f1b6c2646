import API
import Lifecycle
import Model
import Testing
import Wire

@testable import ControlAPICore

/// How long requests take, told by a bounded number of labels.
struct RequestTimesTests {
    private var subject = ControlAPICoreTests.Subject()

    /// What was counted, as `METHOD ROUTE STATUS COUNT`.
    private var counted: [String] {
        subject.core.times.byKind.map {
            "\($0.method) \($0.route) \($0.status) \($1.counts.reduce(0, +))"
        }.sorted()
    }

    @Test mutating func areToldByRouteMethodAndStatus() {
        _ = subject.ask("GET", "/healthz", [:])
        _ = subject.ask("HEAD", "/healthz", [:])
        _ = subject.ask("BREW", "/healthz", [:])
        _ = subject.ask("BREW", "/api/v1/pots", [:])
        _ = subject.ask("GET", "/api/v1/agents/g/a", [:])
        _ = subject.ask("GET", "/api/v1/agents/h/b", [:])
        #expect(
            counted == [
                "GET /api/v1/agents/{gateway}/{agent} 401 2", "GET /healthz 200 2", "other /healthz 405 1",
                "other none 404 1",
            ])
    }

    @Test mutating func endWithTheAnswer() {
        _ = subject.ask("GET", "/api/v1/agents/g/a", ["authorization": "Bearer look"])
        #expect(counted == [])
        subject.now = subject.now + .seconds(2)
        _ = subject.handle(.commandAnswered(number: 1, payload: Array("{}".utf8), isProblem: false))
        #expect(counted == ["GET /api/v1/agents/{gateway}/{agent} 200 1"])
        #expect(subject.core.times.byKind.values.map(\.sum) == [2])
        _ = subject.ask("GET", "/api/v1/events", ["authorization": "Bearer look"])
        #expect(counted.count == 1, "a stream ends when its client wants")
    }
}
