import API
import Lifecycle
import Model
import Testing
import Wire

@testable import ControlAPICore

/// What is wrong, over HTTP: the lookups of `rollcall doctor`, one after the other.
struct DiagnosisTests {
    private static let look = ["authorization": "Bearer look"]
    private static let gateways = #"{"gateways":[]}"#
    private var handler = ControlAPICoreTests.Subject()

    private mutating func ask(_ path: String = "") -> [String] {
        handler.ask("GET", "/api/v1/doctor" + path, Self.look)
    }

    @Test mutating func ofTheSystem() {
        #expect(ask() == ["list-gateways 1 {}"])
        let unwell = #"{"limit":500,"status":["offline","provisioning","updating"]}"#
        #expect(handler.answer(1, Self.gateways) == ["list 2 \(unwell)"])
        let stale = #"{"limit":500,"stale_templates":true,"status":"online"}"#
        #expect(handler.answer(2, #"{"next":null,"records":[]}"#) == ["list 3 \(stale)"])
        let online = #"{"limit":500,"stale_templates":false,"status":"online"}"#
        #expect(handler.answer(3, #"{"next":null,"records":[]}"#) == ["list 4 \(online)"])
        let answer = handler.answer(4, #"{"next":null,"records":[]}"#)
        #expect(answer.count == 1)
        #expect(answer.first?.hasPrefix(#"1: 200 {"checked_at":"1970-01-01T00:00:00.002Z","checks":["#) == true)
        // Nobody has announced itself to this handler.
        #expect(answer.first?.contains(#""id":"broker.not_ours","severity":"error""#) == true)
    }

    @Test mutating func ofAnAgentThatIsNotThere() {
        #expect(ask("/g/a") == ["list-gateways 1 {}"])
        #expect(handler.answer(1, Self.gateways) == [#"get 2 {"agent":"g/a"}"#])
        #expect(handler.answer(2, JSON.text(Problem.unknownAgent("g/a")), isProblem: true) == ["1: 404 unknown-agent"])
    }

    @Test mutating func aSilentStoreIsAFinding() {
        _ = ask()
        handler.now = handler.now + .seconds(5)
        #expect(handler.handle(.ticked).first?.hasPrefix("1: 200") == true)
        _ = ask()
        #expect(
            handler.answer(2, JSON.text(Problem(.unavailable, "no")), isProblem: true).first?.hasPrefix("2: 200")
                == true)
        _ = ask()
        let lost = handler.handle(.disconnected)
        #expect(lost.count == 1)
        #expect(lost.first?.contains(#""id":"broker.unreachable","severity""#) == true)
        #expect(ask().first?.contains(#""id":"broker.unreachable","severity""#) == true)
    }

    @Test mutating func onlySomeAreMadeAtOnce() {
        for _ in 0..<ControlAPICore.diagnosesMax { _ = ask() }
        #expect(ask() == ["9: 429 Retry-After=1 too-many-requests"])
        _ = handler.handle(.requestCancelled(id: 1))
        #expect(ask() == ["list-gateways 9 {}"])
    }

    private func announced(_ service: ServiceName, _ state: Presence.State = .running) -> ControlAPIInput {
        .presenceReceived(
            Presence(
                service: service, instance: "1", state: state, startedAt: Timestamp(millisecondsSince1970: 2),
                configDigest: "1:r",
                incarnation: "i"))
    }

    private mutating func services() -> String {
        handler.ask("GET", "/api/v1/services", Self.look).joined().components(of: #""service":""#).joined(
            separator: " ")
    }

    @Test mutating func whoIsSilentIsForgotten() {
        _ = handler.handle(announced(.statusStore))
        _ = handler.handle(announced(.provisioner, .lost))
        handler.now = handler.now + .seconds(6)
        _ = handler.handle(announced(.reconciler))
        _ = handler.handle(.ticked)
        #expect(services() == "provisioner reconciler status-store")
        handler.now = handler.now + .seconds(4)
        _ = handler.handle(.ticked)
        #expect(services() == "provisioner reconciler")
        _ = handler.handle(.presenceCleared("provisioner/1"))
        #expect(services() == "reconciler")
    }

    @Test mutating func whoStartsAgainAndAgainIsTold() {
        for incarnation in ["a", "b", "c", "d"] {
            var presence = Presence(
                service: .provisioner, instance: "1", state: .running, startedAt: Timestamp(millisecondsSince1970: 2),
                configDigest: "1:r",
                incarnation: incarnation)
            _ = handler.handle(.presenceReceived(presence))
            presence.state = .lost
            _ = handler.handle(.presenceReceived(presence))
        }
        _ = ask()
        let refused = handler.answer(1, JSON.text(Problem(.unavailable, "no")), isProblem: true)
        #expect(refused.first?.contains(#""id":"service.restarting","severity":"error""#) == true)
    }
}

extension String {
    /// What follows each mark, up to the next quotation mark.
    fileprivate func components(of mark: String) -> [Substring] {
        var list: [Substring] = []
        var rest = self[...]
        while let range = rest.firstRange(of: mark) {
            rest = rest[range.upperBound...]
            list.append(rest.prefix { $0 != "\"" })
        }
        return list
    }
}
