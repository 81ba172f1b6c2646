import Contract
import Lifecycle
import Testing

@testable import Alerts

struct AlertCoreTests {
    private var desk = Desk()

    @Test mutating func tellsWhoIsOfflineAndWhoIsBack() {
        #expect(desk.tick() == [])
        desk.commit("woken", "g/a", status: "updating")
        desk.commit("offline", "g/a", error: "Agent did not check in")
        #expect(desk.settle() == ["g: 1 agent offline | g/a: Agent did not check in | offline now: checkin_missed 1"])
        #expect(desk.position() == 1, "what is not delivered is not kept")
        #expect(desk.answer(200) == [])
        #expect(desk.position() == 2)
        desk.commit("online", "g/a")
        #expect(desk.settle() == ["g: 1 agent online again | g/a: online again | none offline now"])
        #expect(desk.answer(204) == [])
        desk.commit("online", "g/a")
        #expect(desk.settle() == [], "nobody was told that it was away")
        #expect(desk.position() == 4)
    }

    @Test mutating func whatEndsOnPurposeIsNoAlert() {
        _ = desk.tick()
        desk.commit("offline", "g/a", cause: "goodbye")
        #expect(desk.settle() == [])
        #expect(desk.position() == 1)
    }

    @Test mutating func groupsByGateway() {
        desk = Desk("slack", "")
        _ = desk.tick()
        for number in 0..<12 { desk.commit("offline", "g/a\(number)") }
        desk.commit("offline", "h/a", cause: "lapsed")
        for _ in 0..<25 { #expect(desk.tick() == []) }
        let names = (0..<10).map { "g/a\($0): checkin_missed" }.joined(separator: " | ")
        #expect(desk.tick() == ["g: 12 agents offline | \(names) | and 2 more | offline now: checkin_missed 12"])
        #expect(desk.answer(200) == ["h: 1 agent offline | h/a: lapsed | offline now: lapsed 1"])
        #expect(desk.answer(200) == [])
        desk.commit("offline", "g/b")
        for _ in 0..<299 { #expect(desk.tick() == [], "a minute lies between two messages") }
        #expect(desk.settle().count == 1)
    }

    @Test mutating func triesAgainAndAgain() {
        _ = desk.tick()
        desk.commit("offline", "g/a")
        #expect(desk.settle().count == 1)
        let first = desk.request?.id
        #expect(desk.answer(500) == [#"log failing(reason: "answered 500")"#])
        for seconds: Int64 in [1, 5, 15, 60, 120, 240, 480, 900, 900] {
            #expect(desk.pass(seconds - 1) == [], "\(seconds)")
            #expect(desk.pass(1).count == 1, "\(seconds)")
            #expect(desk.request?.id == first)
            #expect(desk.answer(302) == [])
        }
        #expect(desk.position() == 0)
    }

    @Test mutating func waitsAsLongAsItIsTold() {
        _ = desk.tick()
        desk.commit("offline", "g/a")
        #expect(desk.settle().count == 1)
        #expect(desk.answer(429, retryAfter: .seconds(3)).count == 1)
        for _ in 0..<14 { #expect(desk.tick() == []) }
        #expect(desk.tick().count == 1)
        #expect(desk.answer(200) == ["log delivering"])
        #expect(desk.position() == 1)
    }

    @Test mutating func restsWhenItsReceiverWantsNoMore() {
        _ = desk.tick()
        desk.commit("offline", "g/a")
        _ = desk.settle()
        #expect(desk.answer(410) == ["log stopped"])
        desk.commit("offline", "g/b")
        #expect(desk.settle() == [])
    }

    @Test mutating func givesUpAfterDays() {
        _ = desk.tick()
        desk.commit("offline", "g/a")
        _ = desk.settle()
        _ = desk.answer(500)
        for _ in 0..<100_000 {
            _ = desk.tick(after: 3_000)
            guard desk.request != nil else { continue }
            let told = desk.answer(500)
            guard told.isEmpty else {
                #expect(told == [#"log givenUp(reason: "answered 500")"#])
                #expect(desk.position() == 1)
                return
            }
        }
        Issue.record("it was never given up")
    }

    /// A sink that nobody serves, this process included, for longer than a lease may have changed hands.
    @Test mutating func beginsAgainBehindWhatWasDelivered() {
        _ = desk.tick()
        desk.commit("offline", "g/a")
        #expect(desk.settle().count == 1)
        let first = desk.request?.id
        #expect(desk.tick(after: 4_100, isAnswered: false) == [])
        #expect(desk.answer(200) == [], "whose answer it is nobody knows")
        #expect(desk.position() == 0)
        #expect(desk.request?.id == first, "its receiver knows it")
    }

    @Test mutating func knowsWhoWasOfflineBefore() {
        desk = Desk("slack", #""group_wait": "0s", "group_interval": "0s", "repeat_interval": "10m""#)
        desk.records = ["a", "b"].map {
            .object([
                "agent": .string("g/\($0)"), "status": .string("offline"), "paused": .bool($0 == "b"),
                "updated_at": .string("2026-01-01T00:00:00.000Z"), "offline_reason": .string("lapsed"),
            ])
        }
        #expect(desk.settle() == [], "they were told of")
        #expect(desk.pass(601) == ["g: 1 agent still offline | offline now: lapsed 1"])
        _ = desk.answer(200)
        desk.commit("online", "g/a")
        desk.commit("online", "g/b")
        #expect(desk.settle() == ["g: 1 agent online again | g/a: online again | none offline now"])
    }

    @Test mutating func anOutageOfTheGatewayIsToldOnce() {
        _ = desk.tick()
        _ = desk.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayLost, gateway: "g", agents: 2)))
        #expect(desk.settle() == ["gateway g is lost | none offline now"])
        _ = desk.answer(200)
        for agent in ["g/a", "g/b"] {
            desk.commit("offline", agent, error: "Agent did not check in: gateway g is lost")
        }
        desk.commit("offline", "g/c", error: "Agent did not check in: it exited with status 3")
        #expect(
            desk.settle() == [
                "g: 1 agent offline; 2 agents of g offline with it | "
                    + "g/c: Agent did not check in: it exited with status 3 | offline now: checkin_missed 3"
            ])
        _ = desk.answer(200)
        #expect(desk.position() == 3)
        _ = desk.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayConnected, gateway: "g", agents: 2)))
        #expect(desk.settle() == ["gateway g is connected again | offline now: checkin_missed 3"])
    }

    @Test mutating func aLossThatNobodySawIsToldByWhatItCaused() {
        _ = desk.tick()
        desk.commit("offline", "g/a", error: "Agent did not check in: gateway g is lost")
        #expect(
            desk.settle() == ["gateway g is lost; 1 agent of g offline with it | offline now: checkin_missed 1"])
        #expect(desk.position() == 0, "it is owed until it is told")
        _ = desk.answer(200)
        #expect(desk.position() == 1)
    }

    @Test mutating func repeatsUntilItIsOver() {
        desk = Desk("slack", #""group_wait": "0s", "group_interval": "0s", "repeat_interval": "10m""#)
        _ = desk.tick()
        desk.commit("offline", "g/a")
        desk.commit("offline", "g/b")
        _ = desk.settle()
        _ = desk.answer(200)
        #expect(desk.pass(601) == ["g: 2 agents still offline | offline now: checkin_missed 2"])
        _ = desk.answer(200)
        #expect(desk.position() == 2, "what is told again moves nothing")
        desk.commit("paused", "g/a", isPaused: true)
        #expect(desk.pass(601) == ["g: 1 agent still offline | offline now: checkin_missed 1"])
        _ = desk.answer(200)
        desk.commit("paused", "g/b", isPaused: true)
        #expect(desk.pass(601) == [], "nobody waits for them")
        desk.commit("resumed", "g/b", cause: "checkin_missed")
        #expect(desk.pass(601) == ["g: 1 agent still offline | offline now: checkin_missed 1"])
        _ = desk.answer(200)
        desk.commit("deleted", "g/b", status: "deleting")
        #expect(desk.pass(601) == [])
    }

    @Test mutating func flappingIsToldOnce() {
        _ = desk.tick()
        var told: [String] = []
        for _ in 0..<8 {
            for event in ["offline", "online"] {
                desk.commit(event, "g/a")
                for text in desk.settle() {
                    told.append(String(text.prefix { $0 != "|" }))
                    _ = desk.answer(200)
                }
            }
        }
        let pair = ["g: 1 agent offline ", "g: 1 agent online again "]
        #expect(told == Array(repeating: pair, count: 5).flatMap { $0 } + ["g: 1 agent flapping "])
        #expect(desk.position() == 16)
        desk.now = desk.now + .seconds(3_600)
        _ = desk.tick(after: 0)
        desk.commit("offline", "g/a")
        #expect(
            desk.settle() == ["g: 1 agent offline | g/a: checkin_missed | offline now: checkin_missed 1"])
    }

    @Test mutating func choosesByBoardAndCause() {
        desk = Desk("slack", #""group_wait": "0s", "boards": ["b"], "causes": ["lapsed", "goodbye"]"#)
        _ = desk.tick()
        desk.commit("offline", "g/a")
        desk.commit("offline", "g/b", cause: "goodbye", board: "other")
        #expect(desk.settle() == [])
        desk.commit("offline", "g/c", cause: "goodbye")
        #expect(desk.settle() == ["g: 1 agent offline | g/c: goodbye | offline now: goodbye 1"])
    }
}
