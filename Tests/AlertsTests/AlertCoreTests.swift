import API
import Model
import Testing

@testable import Alerts

struct AlertCoreTests {
    private var subject = AlertSubject()

    @Test mutating func tellsWhoIsOfflineAndWhoIsBack() {
        #expect(subject.tick() == [])
        subject.commit("woken", "g/a", status: "updating")
        subject.commit("offline", "g/a", error: "Agent did not check in")
        #expect(
            subject.settle() == ["g: 1 agent offline | g/a: Agent did not check in | offline now: checkin_missed 1"])
        #expect(subject.position() == 1, "what is not delivered is not kept")
        #expect(subject.answer(200) == [])
        #expect(subject.position() == 2)
        subject.commit("online", "g/a")
        #expect(subject.settle() == ["g: 1 agent online again | g/a: online again | none offline now"])
        #expect(subject.answer(204) == [])
        subject.commit("online", "g/a")
        #expect(subject.settle() == [], "nobody was told that it was away")
        #expect(subject.position() == 4)
    }

    @Test mutating func whatEndsOnPurposeIsNoAlert() {
        _ = subject.tick()
        subject.commit("offline", "g/a", cause: "goodbye")
        #expect(subject.settle() == [])
        #expect(subject.position() == 1)
    }

    @Test mutating func groupsByGateway() {
        subject = AlertSubject("slack", "")
        _ = subject.tick()
        for number in 0..<12 { subject.commit("offline", "g/a\(number)") }
        subject.commit("offline", "h/a", cause: "lapsed")
        for _ in 0..<25 { #expect(subject.tick() == []) }
        let names = (0..<10).map { "g/a\($0): checkin_missed" }.joined(separator: " | ")
        #expect(subject.tick() == ["g: 12 agents offline | \(names) | and 2 more | offline now: checkin_missed 12"])
        #expect(subject.answer(200) == ["h: 1 agent offline | h/a: lapsed | offline now: lapsed 1"])
        #expect(subject.answer(200) == [])
        subject.commit("offline", "g/b")
        for _ in 0..<299 { #expect(subject.tick() == [], "a minute lies between two messages") }
        #expect(subject.settle().count == 1)
    }

    @Test mutating func triesAgainAndAgain() {
        _ = subject.tick()
        subject.commit("offline", "g/a")
        #expect(subject.settle().count == 1)
        let first = subject.request?.id
        #expect(subject.answer(500) == [#"log failing(reason: "answered 500")"#])
        for seconds: Int64 in [1, 5, 15, 60, 120, 240, 480, 900, 900] {
            #expect(subject.pass(seconds - 1) == [], "\(seconds)")
            #expect(subject.pass(1).count == 1, "\(seconds)")
            #expect(subject.request?.id == first)
            #expect(subject.answer(302) == [])
        }
        #expect(subject.position() == 0)
    }

    @Test mutating func waitsAsLongAsItIsTold() {
        _ = subject.tick()
        subject.commit("offline", "g/a")
        #expect(subject.settle().count == 1)
        #expect(subject.answer(429, retryAfter: .seconds(3)).count == 1)
        for _ in 0..<14 { #expect(subject.tick() == []) }
        #expect(subject.tick().count == 1)
        #expect(subject.answer(200) == ["log delivering"])
        #expect(subject.position() == 1)
    }

    @Test mutating func restsWhenItsReceiverWantsNoMore() {
        _ = subject.tick()
        subject.commit("offline", "g/a")
        _ = subject.settle()
        #expect(subject.core.warnings(now: subject.now) == [])
        #expect(
            subject.core.warnings(now: subject.now + .seconds(60)).map(\.detail) == ["ops has taken nothing for 1 min"])
        #expect(subject.answer(410) == ["log stopped"])
        #expect(subject.core.warnings(now: subject.now).map(\.detail) == ["ops answered 410, and is told no more"])
        subject.commit("offline", "g/b")
        #expect(subject.settle() == [])
        #expect(subject.core.metrics(now: subject.now + .seconds(60))[1].samples.map(\.value) == [0], "nothing is due")
    }

    /// A page has 50 events and makes one message here.
    @Test mutating func readsNoMoreThanItMayOwe() {
        subject = AlertSubject(owedMax: 100)
        _ = subject.tick()
        for number in 0..<175 { subject.commit("offline", "g/a\(number)") }
        #expect(subject.settle().count == 1)
        #expect(subject.answer(200).count == 1)
        #expect(subject.answer(200) == [], "two pages were owed, and a third was not read")
        #expect(subject.settle().count == 1)
        #expect(subject.answer(200).count == 1)
        #expect(subject.answer(200) == [])
        #expect(subject.position() == 175)
    }

    /// Offline at these seconds, then read again from some of them: how often within the hour before, and whether that is more than 2.
    @Test(arguments: [
        ([0, 10, 20], 0, 1, false), ([0, 10, 20], 10, 2, false), ([0, 10, 20], 20, 3, true),
        ([0, 10, 3_600], 3_600, 2, false),
    ])
    func flaps(_ seconds: [Int64], _ again: Int64, _ count: Int, _ isFlapping: Bool) {
        var meter = FlapMeter()
        let times = seconds.map { Timestamp(millisecondsSince1970: $0 * 1_000) }
        for time in times { _ = meter.wentOffline("g/a", at: time) }
        let time = Timestamp(millisecondsSince1970: again * 1_000)
        #expect(meter.wentOffline("g/a", at: time) == count)
        #expect(meter.isFlapping("g/a", at: time, limit: 2) == isFlapping)
    }

    @Test mutating func givesUpAfterDays() {
        _ = subject.tick()
        subject.commit("offline", "g/a")
        _ = subject.settle()
        _ = subject.answer(500)
        for _ in 0..<100_000 {
            _ = subject.tick(after: 3_000)
            guard subject.request != nil else { continue }
            let told = subject.answer(500)
            guard told.isEmpty else {
                #expect(told == [#"log givenUp(reason: "answered 500")"#])
                #expect(subject.position() == 1)
                return
            }
        }
        Issue.record("it was never given up")
    }

    /// A sink that nobody serves, this process included, for longer than a lease may have changed hands.
    @Test mutating func beginsAgainBehindWhatWasDelivered() {
        _ = subject.tick()
        subject.commit("offline", "g/a")
        #expect(subject.settle().count == 1)
        let first = subject.request?.id
        #expect(subject.tick(after: 4_100, isAnswered: false) == [])
        #expect(subject.answer(200) == [], "whose answer it is nobody knows")
        #expect(subject.position() == 0)
        #expect(subject.request?.id == first, "its receiver knows it")
    }

    @Test mutating func knowsWhoWasOfflineBefore() {
        subject = AlertSubject("slack", #""group_wait": "0s", "group_interval": "0s", "repeat_interval": "10m""#)
        subject.records = ["a", "b"].map {
            .object([
                "agent": .string("g/\($0)"), "status": .string("offline"), "paused": .bool($0 == "b"),
                "updated_at": .string("2026-01-01T00:00:00.000Z"), "offline_reason": .string("lapsed"),
            ])
        }
        #expect(subject.settle() == [], "they were told of")
        #expect(subject.pass(601) == ["g: 1 agent still offline | offline now: lapsed 1"])
        _ = subject.answer(200)
        subject.commit("online", "g/a")
        subject.commit("online", "g/b")
        #expect(subject.settle() == ["g: 1 agent online again | g/a: online again | none offline now"])
    }

    @Test mutating func anOutageOfTheGatewayIsToldOnce() {
        _ = subject.tick()
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayLost, gateway: "g", agents: 2)))
        #expect(subject.settle() == ["gateway g is lost | none offline now"])
        _ = subject.answer(200)
        for agent in ["g/a", "g/b"] {
            subject.commit("offline", agent, error: "Agent did not check in: gateway g is lost")
        }
        subject.commit("offline", "g/c", error: "Agent did not check in: it exited with status 3")
        #expect(
            subject.settle() == [
                "g: 1 agent offline; 2 agents of g offline with it | "
                    + "g/c: Agent did not check in: it exited with status 3 | offline now: checkin_missed 3"
            ])
        _ = subject.answer(200)
        #expect(subject.position() == 3)
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayConnected, gateway: "g", agents: 2)))
        #expect(subject.settle() == ["gateway g is connected again | offline now: checkin_missed 3"])
    }

    @Test mutating func aLossThatNobodySawIsToldByWhatItCaused() {
        _ = subject.tick()
        subject.commit("offline", "g/a", error: "Agent did not check in: gateway g is lost")
        #expect(
            subject.settle() == ["gateway g is lost; 1 agent of g offline with it | offline now: checkin_missed 1"])
        #expect(subject.position() == 0, "it is owed until it is told")
        _ = subject.answer(200)
        #expect(subject.position() == 1)
    }

    @Test mutating func whoIsBackSaysThatItsGatewayIs() {
        _ = subject.tick()
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayLost, gateway: "g", agents: 1)))
        _ = subject.settle()
        _ = subject.answer(200)
        subject.commit("online", "g/a")
        #expect(subject.settle() == ["gateway g is connected again | none offline now"])
        _ = subject.answer(200)
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayConnected, gateway: "g", agents: 1)))
        #expect(subject.settle() == [], "it was told")
    }

    @Test mutating func repeatsUntilItIsOver() {
        subject = AlertSubject("slack", #""group_wait": "0s", "group_interval": "0s", "repeat_interval": "10m""#)
        _ = subject.tick()
        subject.commit("offline", "g/a")
        subject.commit("offline", "g/b")
        _ = subject.settle()
        _ = subject.answer(200)
        #expect(subject.pass(601) == ["g: 2 agents still offline | offline now: checkin_missed 2"])
        _ = subject.answer(200)
        #expect(subject.position() == 2, "what is told again moves nothing")
        subject.commit("paused", "g/a", isPaused: true)
        #expect(
            subject.settle() == [
                "g: 1 agent paused or deleted | g/a: paused or deleted | offline now: checkin_missed 1"
            ])
        _ = subject.answer(200)
        #expect(subject.pass(601) == ["g: 1 agent still offline | offline now: checkin_missed 1"])
        _ = subject.answer(200)
        subject.commit("paused", "g/b", isPaused: true)
        #expect(subject.settle() == ["g: 1 agent paused or deleted | g/b: paused or deleted | none offline now"])
        _ = subject.answer(200)
        #expect(subject.pass(601) == [], "nobody waits for them")
        subject.commit("resumed", "g/b", cause: "checkin_missed")
        #expect(subject.settle() == ["g: 1 agent offline | g/b: checkin_missed | offline now: checkin_missed 1"])
        _ = subject.answer(200)
        subject.commit("deleted", "g/b", status: "deleting")
        #expect(subject.settle() == ["g: 1 agent paused or deleted | g/b: paused or deleted | none offline now"])
        _ = subject.answer(200)
        subject.commit("paused", "g/c", isPaused: true)
        #expect(subject.pass(601) == [], "nobody was told of it")
    }

    /// Whoever was called by an alert is told that it is over.
    @Test(arguments: ["paused", "deleted"])
    mutating func anIncidentEnds(event: String) throws {
        for form in ["webhook", "alertmanager"] {
            subject = AlertSubject(form)
            _ = subject.tick()
            subject.commit("offline", "g/a")
            #expect(subject.settle().count == 1)
            _ = subject.answer(200)
            subject.commit(event, "g/a", isPaused: event == "paused")
            #expect(subject.settle().count == 1)
            let body = try JSON.read(#require(subject.request?.body))
            if form == "webhook" {
                #expect(body["data"]?["state"]?.string == "resolved")
                #expect(body["data"]?["events"]?.array?.first?["change"]?.string == "silenced")
            } else {
                let alert = body.array?.first
                #expect(alert?["startsAt"] == nil)
                #expect(alert?["annotations"]?["summary"]?.string == "g/a is paused or deleted")
            }
        }
    }

    @Test mutating func aLostGatewayThatIsStoppedIsOver() {
        _ = subject.tick()
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayStopped, gateway: "g", agents: 2)))
        #expect(subject.settle() == [])
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayLost, gateway: "g", agents: 2)))
        #expect(subject.settle() == ["gateway g is lost | none offline now"])
        _ = subject.answer(200)
        _ = subject.handle(.gatewayChanged(GatewayLifecycleMessage(event: .gatewayStopped, gateway: "g", agents: 2)))
        #expect(subject.settle() == ["gateway g is stopped on purpose | none offline now"])
    }

    @Test mutating func flappingIsToldOnce() {
        _ = subject.tick()
        var told: [String] = []
        for _ in 0..<8 {
            for event in ["offline", "online"] {
                subject.commit(event, "g/a")
                for text in subject.settle() {
                    told.append(String(text.prefix { $0 != "|" }))
                    _ = subject.answer(200)
                }
            }
        }
        let pair = ["g: 1 agent offline ", "g: 1 agent online again "]
        #expect(told == Array(repeating: pair, count: 5).flatMap { $0 } + ["g: 1 agent flapping "])
        #expect(subject.position() == 16)
        subject.now = subject.now + .seconds(3_600)
        _ = subject.tick(after: 0)
        subject.commit("offline", "g/a")
        #expect(
            subject.settle() == ["g: 1 agent offline | g/a: checkin_missed | offline now: checkin_missed 1"])
    }

    @Test mutating func choosesByBoardAndCause() {
        subject = AlertSubject("slack", #""group_wait": "0s", "boards": ["b"], "causes": ["lapsed", "goodbye"]"#)
        _ = subject.tick()
        subject.commit("offline", "g/a")
        subject.commit("offline", "g/b", cause: "goodbye", board: "other")
        #expect(subject.settle() == [])
        subject.commit("offline", "g/c", cause: "goodbye")
        #expect(subject.settle() == ["g: 1 agent offline | g/c: goodbye | offline now: goodbye 1"])
    }
}
